/**
 * The commands of etcd-io/raft's interaction files.
 *
 * Each stanza runs one command in the environment of its file and returns what it printed.
 *
 * @module
 */
import { decodeIndex, decodeNodeId, type NodeId } from "../../src/base/ids.ts";
import { EMPTY_CONFIG, isVoter } from "../../src/control/raft/conf-change.ts";
import type { Raft } from "../../src/control/raft/raft.ts";
import type {
  ConfChange,
  ConfChangeSingle,
  ConfChangeTransition,
} from "../../src/control/raft/types.ts";
import {
  type Argument,
  bareNumbers,
  fail,
  firstNumber,
  type Stanza,
  toBoolean,
  toNumber,
} from "./datadriven.ts";
import {
  describeEntries,
  describeError,
  describeMessage,
  describeProgressMap,
  describeRole,
} from "./describe.ts";
import {
  type Bootstrap,
  CommandError,
  DEFAULT_SETTINGS,
  type EnvNode,
  InteractionEnv,
  type NodeSettings,
  type Recipient,
} from "./interaction-env.ts";
import { LEVELS } from "./output.ts";

type Command = (env: InteractionEnv, stanza: Stanza) => void;

/** A runner for the stanzas of one file, in order. */
export function createInteractionRunner(): (stanza: Stanza) => string {
  const env = new InteractionEnv();
  return (stanza) => {
    env.output.clear();
    const error = runCommand(env, stanza);
    if (error !== undefined) {
      if (env.output.quiet) return error;
      env.output.write(error);
    }
    return env.output.text === "" ? "ok" : env.output.text;
  };
}

/** The changes that `text` lists, as in `v1 l2 r3 u4`; those of node 0 mean nothing. */
export function parseChanges(text: string): ConfChangeSingle[] {
  const operations = { v: "add_voter", l: "add_learner", r: "remove", u: "update" } as const;
  const changes: ConfChangeSingle[] = [];
  for (const token of text.split(" ").filter((each) => each !== "")) {
    if (token.length < 2) throw new CommandError(`unknown token ${token}`);
    const operation = Object.entries(operations).find(([letter]) => letter === token[0])?.[1];
    if (operation === undefined) throw new CommandError(`unknown input: ${token}`);
    const id = toNumber(token.slice(1));
    if (id !== 0) changes.push({ operation, node: decodeNodeId(id) });
  }
  return changes;
}

/** Runs one command; what it says instead of finishing comes back. */
function runCommand(env: InteractionEnv, stanza: Stanza): string | undefined {
  try {
    const command = COMMANDS[stanza.command];
    if (command === undefined) return "unknown command";
    command(env, stanza);
    return undefined;
  } catch (error) {
    if (error instanceof CommandError) return error.message;
    throw error;
  }
}

const COMMANDS: Readonly<Record<string, Command>> = {
  _breakpoint: () => {},
  "add-nodes": addNodes,
  campaign: (env, { args }) => firstNode(env, args).raft.campaign(),
  compact,
  "deliver-msgs": deliverMessages,
  "process-ready": (env, { args }) =>
    forEachNode(env, args, "handling Ready", (node) => env.processReady(node)),
  "process-append-thread": (env, { args }) =>
    forEachNode(env, args, "processing append thread", (node) => env.processAppendThread(node)),
  "process-apply-thread": (env, { args }) =>
    forEachNode(env, args, "processing apply thread", (node) => env.processApplyThread(node)),
  "log-level": (env, { args }) => setLevel(env, args[0]?.key ?? ""),
  "raft-log": (env, { args }) => printLog(env, firstNode(env, args)),
  "raft-state": printStates,
  "set-randomized-election-timeout": (env, { args }) =>
    firstNode(env, args).raft.overrideElectionTimeout(toNumber(argumentOf(args, "timeout"))),
  stabilize,
  status: (env, { args }) => {
    const { progress } = firstNode(env, args).raft.status();
    env.output.write(describeProgressMap(progress ?? new Map()));
  },
  "tick-election": (env, { args }) => tick(firstNode(env, args), "electionTicks"),
  "tick-heartbeat": (env, { args }) => tick(firstNode(env, args), "heartbeatTicks"),
  "transfer-leadership": (env, { args }) => {
    const from = env.node(toNumber(argumentOf(args, "from")));
    from.raft.transferLeadership(decodeNodeId(toNumber(argumentOf(args, "to"))));
  },
  "forget-leader": (env, { args }) => firstNode(env, args).raft.forgetLeader(),
  "send-snapshot": sendSnapshot,
  propose,
  "propose-conf-change": proposeConfChange,
  "report-unreachable": (env, { args }) => {
    const [from, to] = twoNodes(env, args);
    from.raft.reportUnreachable(to.id);
  },
};

function addNodes(env: InteractionEnv, { args }: Stanza): void {
  let bootstrap: Bootstrap | undefined;
  let settings = DEFAULT_SETTINGS;
  for (const { key, values } of args.slice(1)) {
    const value = values.at(-1);
    if (value === undefined) continue;
    const base = bootstrap ?? { index: 0, confState: EMPTY_CONFIG, data: new Uint8Array(0) };
    const { confState } = base;
    if (key === "voters") {
      bootstrap = { ...base, confState: { ...confState, voters: toNodes(values) } };
    } else if (key === "learners") {
      bootstrap = { ...base, confState: { ...confState, learners: toNodes(values) } };
    } else if (key === "index") bootstrap = { ...base, index: toNumber(value) };
    else if (key === "content") bootstrap = { ...base, data: new TextEncoder().encode(value) };
    else settings = { ...settings, ...settingOf(key, value) };
  }
  env.addNodes(firstNumber(args), settings, bootstrap);
}

function settingOf(key: string, value: string): Partial<NodeSettings> {
  switch (key) {
    case "inflight":
      return { inflightCountMax: toNumber(value) };
    case "async-storage-writes":
      return { asyncStorageWrites: toBoolean(value) };
    case "prevote":
      return { preVote: toBoolean(value) };
    case "checkquorum":
      return { checkQuorum: toBoolean(value) };
    case "max-committed-size-per-ready":
      return { committedSizeMaxBytes: toNumber(value) };
    case "disable-conf-change-validation":
      return { validateConfChange: !toBoolean(value) };
    case "step-down-on-removal":
      return { stepDownOnRemoval: toBoolean(value) };
    case "read-only":
      if (value === "safe") return { readOnly: "safe" };
      if (value === "lease-based") return { readOnly: "lease_based" };
      throw new CommandError(`invalid read-only option "${value}"`);
    default:
      return {};
  }
}

function compact(env: InteractionEnv, { args }: Stanza): void {
  const node = firstNode(env, args);
  const [, index] = bareNumbers(args);
  const result = node.log.compact(decodeIndex(index ?? fail("compact needs an index")));
  if (!result.ok) throw new CommandError("requested index is unavailable due to compaction");
  printLog(env, node);
}

function deliverMessages(env: InteractionEnv, { args }: Stanza): void {
  const recipients: Recipient[] = [];
  let type: string | undefined;
  for (const { key, values } of args) {
    if (values.length === 0) recipients.push({ id: toNumber(key), drop: false });
    else if (key === "type") type = values.at(-1);
    else if (key === "drop") {
      for (const id of values.map(toNumber)) {
        if (recipients.some((each) => each.id === id)) fail(`both deliver and drop to ${id}`);
        recipients.push({ id, drop: true });
      }
    }
  }
  if (env.deliver(recipients, type) === 0) env.output.write("no messages\n");
}

function setLevel(env: InteractionEnv, name: string): void {
  const level = LEVELS.find((each) => each === name.toUpperCase());
  if (level === undefined) {
    throw new CommandError(`log levels must be either of [${LEVELS.join(" ")}]`);
  }
  env.output.level = level;
}

function printLog(env: InteractionEnv, { log }: EnvNode): void {
  const first = log.firstIndex();
  const last = log.lastIndex();
  if (last < first) {
    env.output.write(`log is empty: first index=${first}, last index=${last}`);
    return;
  }
  const entries = log.entries(first, decodeIndex(last + 1), Number.POSITIVE_INFINITY);
  env.output.write(describeEntries(entries ?? []));
}

function printStates(env: InteractionEnv): void {
  for (const { raft } of env.nodes) {
    const { id, role, config, term, leader } = raft.status();
    const voter = isVoter(config, id) ? "(Voter)" : "(Non-Voter)";
    env.output.write(`${id}: ${describeRole(role)} ${voter} Term:${term} Lead:${leader ?? 0}\n`);
  }
}

function stabilize(env: InteractionEnv, { args }: Stanza): void {
  const before = env.output.level;
  const level = args.find((arg) => arg.key === "log-level")?.values.at(-1);
  if (level !== undefined) setLevel(env, level);
  const ids = bareNumbers(args);
  try {
    env.stabilize(ids.length === 0 ? env.nodes : ids.map((id) => env.node(id)));
  } finally {
    env.output.level = before;
  }
}

function tick({ raft, config }: EnvNode, interval: "electionTicks" | "heartbeatTicks"): void {
  for (let i = 0; i < config[interval]; i++) raft.tick();
}

function sendSnapshot(env: InteractionEnv, { args }: Stanza): void {
  const [from, to] = twoNodes(env, args);
  const snapshot = from.log.snapshot() ?? fail("there is no snapshot");
  const { term } = from.raft.status();
  const message = { kind: "snapshot_request", to: to.id, from: from.id, term, snapshot } as const;
  env.enqueue(message);
  env.output.write(describeMessage({ node: from.id, message }));
}

function propose(env: InteractionEnv, { args }: Stanza): void {
  const data = new TextEncoder().encode(args[1]?.key ?? fail("propose needs data"));
  check(firstNode(env, args).raft.propose([{ kind: "normal", data }]));
}

function proposeConfChange(env: InteractionEnv, { args, input }: Stanza): void {
  let version: ConfChange["version"] = 2;
  let transition: ConfChangeTransition = "auto";
  for (const { key, values } of args.slice(1)) {
    const value = values.at(-1) ?? "";
    if (key === "v1") version = toBoolean(value) ? 1 : 2;
    else if (key !== "transition") throw new CommandError(`unknown command ${key}`);
    else if (value === "auto" || value === "implicit" || value === "explicit") transition = value;
    else throw new CommandError(`unknown transition ${value}`);
  }
  const changes = parseChanges(input);
  if (version === 1 && (changes.length > 1 || transition !== "auto")) {
    throw new CommandError("v1 conf change can only have one operation and no transition");
  }
  const change: ConfChange = { version, transition, changes, context: new Uint8Array(0) };
  check(firstNode(env, args).raft.propose([{ kind: "conf_change", change }]));
}

function check(result: ReturnType<Raft["propose"]>): void {
  if (!result.ok) throw new CommandError(describeError(result.error));
}

function forEachNode(
  env: InteractionEnv,
  args: readonly Argument[],
  what: string,
  task: (node: EnvNode) => void,
): void {
  const nodes = bareNumbers(args).map((id) => env.node(id));
  for (const node of nodes) {
    if (nodes.length === 1) {
      task(node);
      continue;
    }
    env.output.write(`> ${node.id} ${what}\n`);
    env.output.indented(() => task(node));
  }
}

function firstNode(env: InteractionEnv, args: readonly Argument[]): EnvNode {
  return env.node(firstNumber(args));
}

function twoNodes(env: InteractionEnv, args: readonly Argument[]): [EnvNode, EnvNode] {
  const [a, b] = bareNumbers(args);
  if (a === undefined || b === undefined) return fail("two nodes were expected");
  return [env.node(a), env.node(b)];
}

function argumentOf(args: readonly Argument[], key: string): string {
  return args.find((arg) => arg.key === key)?.values.at(-1) ?? fail(`"${key}" is missing`);
}

function toNodes(values: readonly string[]): NodeId[] {
  return values.map((value) => decodeNodeId(toNumber(value))).sort((a, b) => a - b);
}
