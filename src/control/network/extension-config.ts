/**
 * The options of the extension backend: programs that the operator has put on the nodes, to be run
 * when the network starts, when a peer comes or goes, and at the end.
 *
 * The names are those of flannel `pkg/backend/extension`. What is not flannel's is how a command is
 * written: as its words, since no shell ever sees it. Its first word is a name, not a path: which
 * programs a node runs is decided on that node.
 *
 * @module
 */
import { isRecord } from "../kv/plain.ts";
import type { FieldIssue } from "./field-issue.ts";
import { type JsonObject, type JsonValue, showValue } from "./json.ts";

/** The name of a program, and its arguments. */
export type ExtensionCommand = readonly string[];

/** Every command there is. ShutdownCommand is in flannel's examples, where nothing runs it. */
export const EXTENSION_COMMANDS = [
  ...(["PreStartupCommand", "PostStartupCommand"] as const),
  ...(["SubnetAddCommand", "SubnetRemoveCommand", "ShutdownCommand"] as const),
];

export type ExtensionCommandName = (typeof EXTENSION_COMMANDS)[number];

/** What is run when; absent: nothing. */
export type ExtensionCommands = Readonly<Partial<Record<ExtensionCommandName, ExtensionCommand>>>;

/** Programs of the operator carry the packets. */
export interface ExtensionBackendConfig {
  readonly kind: "extension";
  readonly commands: ExtensionCommands;
  /** What PreStartupCommand printed on one node, which is no part of the config. */
  readonly data?: string;
}

/** Of one command, the program's name included. */
const WORDS_MAX = 64;
/** Of one word, characters. */
const WORD_LENGTH_MAX = 1024;
/** No path, no option, nothing hidden. */
const PROGRAM_PATTERN = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/;
const EXAMPLE = '["add-peer","--fast"]';

/** The backend that `options` describe. */
export function readExtension(options: JsonObject, issues: FieldIssue[]): ExtensionBackendConfig {
  const commands: Partial<Record<ExtensionCommandName, ExtensionCommand>> = {};
  for (const name of EXTENSION_COMMANDS) {
    const command = readCommand(options[name], `Backend.${name}`, issues);
    if (command !== undefined) commands[name] = command;
  }
  return { kind: "extension", commands };
}

function readCommand(
  given: JsonValue | undefined,
  path: string,
  issues: FieldIssue[],
): ExtensionCommand | undefined {
  // flannel's way to say that there is none.
  if (given === undefined || given === "") return undefined;
  const refuse = (message: string) => {
    issues.push({ path, message: `${path} ${message}` });
    return undefined;
  };
  if (typeof given === "string") {
    return refuse(
      `must be a list of words, such as ${EXAMPLE}: no shell runs it; put ${showValue(given)} into a program on every node, and name that`,
    );
  }
  const command = parseExtensionCommand(given);
  if (command === undefined) {
    return refuse(
      `must be a list of 1 to ${WORDS_MAX} words of at most ${WORD_LENGTH_MAX} characters, such as ${EXAMPLE}; got ${showValue(given)}`,
    );
  }
  if (!PROGRAM_PATTERN.test(command[0]!)) {
    return refuse(
      `must begin with the name of a program in the nodes' --extension-dir, such as ${EXAMPLE}; got ${showValue(command[0]!)}`,
    );
  }
  return command;
}

/** Commands as they were read, out of JSON; undefined for what no config can say. */
export function parseExtensionCommands(value: unknown): ExtensionCommands | undefined {
  if (!isRecord(value)) return undefined;
  const commands: Partial<Record<ExtensionCommandName, ExtensionCommand>> = {};
  for (const name of EXTENSION_COMMANDS) {
    if (value[name] === undefined) continue;
    const command = parseExtensionCommand(value[name]);
    if (command === undefined) return undefined;
    commands[name] = command;
  }
  return commands;
}

/** The words of one command, out of JSON; undefined when they are none, or too many. */
export function parseExtensionCommand(given: unknown): ExtensionCommand | undefined {
  if (!Array.isArray(given) || given.length === 0 || given.length > WORDS_MAX) return undefined;
  const words = given.flatMap((word: unknown) => (isWord(word) ? [word] : []));
  return words.length === given.length ? words : undefined;
}

function isWord(word: unknown): word is string {
  // The kernel ends a word at a NUL.
  return typeof word === "string" && word.length <= WORD_LENGTH_MAX && !word.includes("\0");
}
