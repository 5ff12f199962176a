/**
 * What all commands share: the terminal, the agent's address, exit codes and common options.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import type { ClientFailure } from "../admin/ask.ts";
import type { AdminClient } from "../admin/client.ts";
import type { Result } from "../base/result.ts";
import { EXIT_DONE, EXIT_USAGE } from "./exit-code.ts";
import { exitCodeOf, explainFailure } from "./failure.ts";
import { formatJson } from "./format.ts";
import type { Terminal } from "./terminal.ts";

const SOCKET_DEFAULT = "/run/overlay/overlay.sock";
const SOCKET_VARIABLE = "OVERLAY_SOCKET";
/** Longer than an election with its retries; a join has time limits of its own below it. */
const TIMEOUT_SECONDS_DEFAULT = 30;
const TIMEOUT_SECONDS_MAX = 3600;

/** Options of every command that asks the agent. */
export interface AgentOptions {
  readonly socket?: string;
  readonly timeout: number;
}

/** And of every command that prints data. */
export interface DataOptions extends AgentOptions {
  readonly json?: true;
}

/** One run of the program. */
export class Cli {
  readonly terminal: Terminal;
  /** Of the command that ran. */
  exitCode: number = EXIT_DONE;

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  /** A commander action that keeps the exit code which `handler` resolves to. */
  action<Args extends unknown[]>(
    handler: (...args: Args) => Promise<number>,
  ): (...args: Args) => Promise<void> {
    return async (...args) => {
      this.exitCode = await handler(...args);
    };
  }

  /** A client for the agent that the options name. */
  async client(options: AgentOptions): Promise<AdminClient> {
    const { createAdminClient } = await import("../admin/client.ts");
    const fromEnvironment = this.terminal.env[SOCKET_VARIABLE] || undefined;
    const path = options.socket ?? fromEnvironment ?? SOCKET_DEFAULT;
    return createAdminClient({ kind: "socket", path }, options.timeout * 1000);
  }

  /**
   * Prints an answer as JSON or as `format` words it, or tells the failure of `action`.
   * Resolves to the exit code.
   */
  async show<T>(
    action: string,
    answer: Result<T, ClientFailure>,
    options: DataOptions,
    format: (value: T) => string | Promise<string>,
  ): Promise<number> {
    if (!answer.ok) return this.fail(action, answer.error);
    const text = options.json === true ? formatJson(answer.value) : await format(answer.value);
    await this.terminal.print(text);
    return EXIT_DONE;
  }

  /** Tells why `action` ("set the network config") failed; resolves to the exit code. */
  async fail(action: string, failure: ClientFailure): Promise<number> {
    await this.terminal.tell(explainFailure(action, failure));
    return exitCodeOf(failure);
  }

  /** Tells of wrong usage; resolves to the exit code. */
  async refuse(message: string): Promise<number> {
    await this.terminal.tell(message);
    return EXIT_USAGE;
  }
}

/** Adds `--socket` and `--timeout`. */
export function withAgent(command: Command): Command {
  return command
    .option("--socket <path>", `admin socket (default: $${SOCKET_VARIABLE} or ${SOCKET_DEFAULT})`)
    .option("--timeout <seconds>", "give up after", parseTimeout, TIMEOUT_SECONDS_DEFAULT);
}

/** Adds `--json`, `--socket` and `--timeout`. */
export function withData(command: Command): Command {
  return withAgent(command.option("--json", "print JSON"));
}

/** Adds examples to the help. */
export function withExamples(command: Command, ...lines: string[]): Command {
  const title = lines.length === 1 ? "Example" : "Examples";
  return command.addHelpText("after", `\n${title}:\n${lines.map((at) => `  ${at}`).join("\n")}`);
}

/** A whole number from `min` to `max` out of an option's text. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}.`);
  };
}

function parseTimeout(text: string): number {
  const value = /^[0-9]{1,9}(\.[0-9]{1,3})?$/.test(text) ? Number(text) : 0;
  if (value > 0 && value <= TIMEOUT_SECONDS_MAX) return value;
  throw new InvalidArgumentError(`expected seconds, up to ${TIMEOUT_SECONDS_MAX}.`);
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Parses a time such as "90s", "24h" or "7d" into seconds. `words`: the range, and an example. */
export function timeSpan(
  range: { readonly minSeconds: number; readonly maxSeconds: number },
  words: string,
): (text: string) => number {
  return (text) => {
    const match = /^([0-9]{1,9})([smhd])$/.exec(text);
    const seconds = match === null ? 0 : Number(match[1]) * UNIT_SECONDS[match[2]!]!;
    if (seconds >= range.minSeconds && seconds <= range.maxSeconds) return seconds;
    throw new InvalidArgumentError(`expected a time ${words}.`);
  };
}
