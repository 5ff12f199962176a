/**
 * Runs the programs of the extension backend until what they have made is what is wanted.
 *
 *     (none) --prepare--> prepared (PreStartupCommand) --> begun (PostStartupCommand) --> peers
 *     peers --wanted no more--> removed, one by one --all are gone--> ShutdownCommand --> (none)
 *
 * PreStartup and PostStartup run once in each life of the agent, and so does the addition of each
 * peer: what an earlier life has made may be gone with the machine's, or with its PostStartup. So
 * every program must bear being run again. What may have been made is on the disk before the
 * program runs that makes it, so a removal is never forgotten.
 *
 * @module
 */
import { join } from "node:path";
import type { IpAddress, Prefix } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import type { Log } from "../base/log.ts";
import type { Result } from "../base/result.ts";
import type { BackendConfig } from "../control/network/backend-config.ts";
import type {
  ExtensionBackendConfig,
  ExtensionCommand,
  ExtensionCommandName,
} from "../control/network/extension-config.ts";
import { BACKEND_DATA_SIZE_MAX_BYTES } from "../control/network/limits.ts";
import type { BackendPeer } from "../dataplane/backends/backend.ts";
import {
  type ExtensionPeer,
  type ExtensionStep,
  extensionPeers,
  isSameCommand,
  isSamePeer,
  type KnownPeer,
  networkVariables,
  planSteps,
  subnetVariables,
} from "../dataplane/backends/extension.ts";
import { writeFileAtomic } from "../host/files/atomic-file.ts";
import type { Clock } from "../host/ports.ts";
import { findProgram } from "../integrations/extension/find-program.ts";
import { runProgram } from "../integrations/extension/run-program.ts";
import {
  type ExtensionRecord,
  type ExtensionStart,
  encodeExtensionRecord,
  readExtensionRecord,
} from "./extension-record.ts";

/** Programs that run at once, each for another peer. They mostly wait for locks of the kernel. */
const CONCURRENCY = 4;
/** Steps between two looks at what is wanted, and between two writes of the record. */
const ROUND_STEPS_MAX = 64;
/** A failed program runs again after this, doubled up to the other. */
const RETRY_MIN_MS = 1000;
const RETRY_MAX_MS = 300_000;
/** How long `leave` waits for programs that take things away; they go on after it. */
const REMOVAL_PATIENCE_MS = 20_000;
/** Failures that the status lists. */
const FAILURES_TOLD_MAX = 5;
/** What fails beside programs for a subnet. */
const SHUTDOWN = "shutdown";
const RECORD = "record";
const RECORD_FILE = "extension.json";
const RECORD_MODE = 0o600;

/** Runs a program to its end: what it printed, or what went wrong. */
export type RunCommand = (
  command: ExtensionCommand,
  call: {
    readonly env: Readonly<Record<string, string>>;
    readonly input: string;
    readonly signal: AbortSignal;
  },
) => Promise<Result<string, string>>;

interface ExtensionKeeperOptions {
  /** Of the record. */
  readonly path: string;
  readonly recalled: ExtensionRecord;
  readonly run: RunCommand;
  readonly clock: Pick<Clock, "nowMs" | "after">;
  readonly log: Log;
}

/** How this node and the others are reached. */
export interface ExtensionWish {
  readonly config: BackendConfig;
  /** How this node was reached until a moment ago. */
  readonly lingering: readonly BackendConfig[];
  readonly peers: readonly BackendPeer[];
}

/** This node's place in the network. */
export interface ExtensionPlace {
  readonly network: Prefix;
  readonly subnet: Prefix;
  /** That peers send to. */
  readonly address: IpAddress;
}

interface Failure {
  /** Of what failed: something else is tried at once. */
  readonly key: string;
  readonly text: string;
  readonly delayMs: number;
  readonly untilMs: number;
}

/** The keeper for an agent with this data directory and these programs. Throws `HostError`. */
export async function openExtension(options: {
  readonly config: { readonly dataDir: string; readonly extensionDir: string };
  readonly clock: Clock;
  readonly log: Log;
}): Promise<ExtensionKeeper> {
  const { clock, config, log } = options;
  const path = join(config.dataDir, RECORD_FILE);
  const run: RunCommand = async ([name = "", ...args], call) => {
    const found = findProgram(config.extensionDir, name);
    if (!found.ok) return found;
    return runProgram({ program: found.value, args, clock, ...call });
  };
  const recalled = await readExtensionRecord(path, log);
  return new ExtensionKeeper({ path, recalled, run, clock, log });
}

/** What runs the programs on one node. Calls of `prepare` must not overlap. */
export class ExtensionKeeper {
  readonly #options: ExtensionKeeperOptions;
  #start: ExtensionStart | undefined;
  readonly #known: Map<Prefix, KnownPeer>;
  #wanted: ReadonlyMap<Prefix, ExtensionPeer> = new Map();
  #isInUse = false;
  /** What of the start has run in this life of the agent. */
  #prepared: ExtensionCommand | undefined;
  #begun = "";
  #isShuttingDown = false;
  /** By subnet, or by what else failed. */
  readonly #failures = new Map<string, Failure>();
  #written: string;
  #writing: Promise<void> = Promise.resolve();
  #dirty = false;
  #working: Promise<void> | undefined;
  #cancelRetry: () => void = () => undefined;
  readonly #stopping = new AbortController();

  constructor(options: ExtensionKeeperOptions) {
    this.#options = options;
    const { peers, start } = options.recalled;
    this.#start = start;
    this.#written = encodeExtensionRecord(options.recalled);
    this.#known = new Map(peers.map((peer) => [peer.subnet, { peer, isAdded: false }]));
    // Until somebody says otherwise, what there is stays.
    this.#wanted = new Map(peers.map((peer) => [peer.subnet, peer]));
  }

  /** The network that routes of the programs may be in; undefined: they have made none. */
  get network(): Prefix | undefined {
    return this.#start?.network;
  }

  /** Resolves when nothing runs and nothing is due. */
  async settled(): Promise<void> {
    while (this.#working !== undefined) await this.#working;
  }

  /** `config` with what this node says of itself. */
  own(config: BackendConfig): BackendConfig {
    if (config.kind !== "extension") return config;
    const { commands, data } = this.#start ?? {};
    const isSame = isSameCommand(commands?.PreStartupCommand, config.commands.PreStartupCommand);
    return isSame && data !== undefined ? { ...config, data } : config;
  }

  /** What does not work, in sentences. */
  failures(): readonly string[] {
    const now = this.#options.clock.nowMs();
    const texts = [...this.#failures.values()].map(({ text, untilMs }) => {
      const seconds = Math.max(0, Math.ceil((untilMs - now) / 1000));
      return `${text}; trying again in ${seconds} s`;
    });
    const more = texts.length - FAILURES_TOLD_MAX;
    const told = texts.slice(0, FAILURES_TOLD_MAX);
    return more > 0 ? [...told, `${more} more programs of the extension backend failed`] : told;
  }

  /**
   * Makes this node one that can be reached as `config` says. False when it has something else to
   * say of itself now: `own` has it, and is to be asked again. Throws `HostError` when a startup
   * command fails.
   */
  async prepare(config: BackendConfig, place: ExtensionPlace): Promise<boolean> {
    if (config.kind !== "extension") return true;
    // Neither before nor beside the program that takes away what is about to be made.
    this.#isInUse = true;
    if (this.#isShuttingDown) await this.#working;
    await this.#prepare(config, place);
    const now = this.own(config);
    if (now.kind === "extension" && now.data !== config.data) return false;
    await this.#begin(config, place);
    return true;
  }

  /** The peers are to be reached by the programs: begins, and goes on until that is so. */
  follow({ config, lingering, peers }: ExtensionWish): void {
    // Who is behind is reached as before, by the commands of the last config that had any.
    const { commands } = this.#start ?? {};
    const wanted = commands === undefined ? [] : extensionPeers(peers, commands);
    const isHeld = [config, ...lingering].some(({ kind }) => kind === "extension");
    this.#follow(wanted, isHeld || wanted.length > 0);
  }

  /** Takes away all that programs have made, or lists what it cannot. */
  async remove(): Promise<void> {
    this.#failures.clear();
    this.#follow([], false);
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(REMOVAL_PATIENCE_MS, resolve);
    await Promise.race([this.settled(), promise]);
    cancel();
  }

  /** Runs nothing any more. What there is stays for the next life. */
  async close(): Promise<void> {
    this.#stopping.abort();
    this.#cancelRetry();
    await this.#working;
  }

  async #prepare({ commands }: ExtensionBackendConfig, place: ExtensionPlace): Promise<void> {
    const { PreStartupCommand: command } = commands;
    const { network, subnet, address } = place;
    const before = this.#start;
    const isSame = isSameCommand(before?.commands.PreStartupCommand, command);
    const data = isSame ? before?.data : undefined;
    const start: ExtensionStart = { commands, network, subnet, address, data };
    this.#start = start;
    if (command === undefined || isSameCommand(this.#prepared, command)) return;
    // On the disk first: its ShutdownCommand is owed from now on.
    await this.#write();
    const printed = await this.#runStartup("PreStartupCommand", command, {});
    const size = Buffer.byteLength(JSON.stringify(printed));
    if (size > BACKEND_DATA_SIZE_MAX_BYTES) {
      const reason = `it printed ${size} bytes, and a lease has room for ${BACKEND_DATA_SIZE_MAX_BYTES}`;
      throw startupError("PreStartupCommand", reason);
    }
    this.#prepared = command;
    this.#start = { ...start, data: printed };
    await this.#write();
  }

  async #begin({ commands }: ExtensionBackendConfig, place: ExtensionPlace): Promise<void> {
    const { PostStartupCommand: command } = commands;
    const env = networkVariables(place.network, place.subnet, place.address);
    const key = JSON.stringify([command, env]);
    if (this.#begun === key) return;
    await this.#write();
    if (command !== undefined) await this.#runStartup("PostStartupCommand", command, env);
    this.#begun = key;
  }

  async #runStartup(
    name: ExtensionCommandName,
    command: ExtensionCommand,
    env: Readonly<Record<string, string>>,
  ): Promise<string> {
    const done = await this.#run(command, env, "");
    if (!done.ok) throw startupError(name, done.error);
    this.#options.log.info("ran", { command: name });
    return done.value;
  }

  #follow(wanted: readonly ExtensionPeer[], isInUse: boolean): void {
    this.#wanted = new Map(wanted.map((peer) => [peer.subnet, peer]));
    this.#isInUse = isInUse;
    for (const peer of wanted) {
      const before = this.#known.get(peer.subnet);
      // It may be removed otherwise than it was to be when it was added.
      if (before !== undefined && isSamePeer(before.peer, peer)) {
        this.#known.set(peer.subnet, { ...before, peer });
      }
    }
    this.#wake();
  }

  #wake(): void {
    this.#dirty = true;
    if (this.#working !== undefined || this.#stopping.signal.aborted) return;
    this.#working = this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  async #work(): Promise<void> {
    while (this.#dirty && !this.#stopping.signal.aborted) {
      this.#dirty = false;
      this.#cancelRetry();
      try {
        await this.#round();
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
        this.#fail({ subject: RECORD, key: RECORD, text: error.message });
      }
    }
    const { clock } = this.#options;
    const dueMs = Math.min(...[...this.#failures.values()].map(({ untilMs }) => untilMs));
    if (dueMs === Number.POSITIVE_INFINITY || this.#stopping.signal.aborted) return;
    this.#cancelRetry = clock.after(Math.max(0, dueMs - clock.nowMs()), () => this.#wake());
  }

  /** Some of the steps that are due; wakes itself while there may be more. */
  async #round(): Promise<void> {
    const steps = planSteps(this.#known, this.#wanted);
    const keys = new Map<string, string>(steps.map((step) => [step.peer.subnet, keyOf(step)]));
    for (const [subject, { key }] of this.#failures) {
      const isOver = subject === SHUTDOWN ? this.#isInUse : keys.get(subject) !== key;
      if (isOver) this.#failures.delete(subject);
    }
    const due = steps.filter(({ peer }) => this.#isDue(peer.subnet)).slice(0, ROUND_STEPS_MAX);
    for (const { kind, peer } of due) {
      if (kind === "add") this.#known.set(peer.subnet, { peer, isAdded: false });
    }
    await this.#write();
    const queue = [...due];
    const worker = async () => {
      for (let step = queue.shift(); step !== undefined; step = queue.shift()) {
        await this.#carryOut(step);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, worker));
    if (due.length > 0) this.#dirty = true;
    else if (steps.length === 0 && !this.#isInUse) await this.#shutDown();
  }

  #isDue(subject: string): boolean {
    return this.#options.clock.nowMs() >= (this.#failures.get(subject)?.untilMs ?? 0);
  }

  async #carryOut(step: ExtensionStep): Promise<void> {
    const { kind, peer } = step;
    const { address, data, subnet } = peer;
    const command = kind === "add" ? peer.add : peer.remove;
    const env = subnetVariables(subnet, address);
    const done = command === undefined ? undefined : await this.#run(command, env, `${data}\n`);
    if (this.#stopping.signal.aborted) return;
    if (done?.ok === false) {
      const name = kind === "add" ? "SubnetAddCommand" : "SubnetRemoveCommand";
      const text = `Cannot run ${name} for ${subnet}: ${done.error}`;
      this.#fail({ subject: subnet, key: keyOf(step), text });
      return;
    }
    this.#failures.delete(subnet);
    if (kind === "remove") this.#known.delete(subnet);
    else this.#known.set(subnet, { ...this.#known.get(subnet), peer, isAdded: true });
    this.#options.log.debug("ran a program for a peer", { kind, subnet });
  }

  /** After the last peer, once nobody reaches this node so any more. */
  async #shutDown(): Promise<void> {
    const start = this.#start;
    if (start === undefined || !this.#isDue(SHUTDOWN)) return;
    const { ShutdownCommand: command } = start.commands;
    const env = networkVariables(start.network, start.subnet, start.address);
    // Also one that fails may have taken something away.
    this.#prepared = undefined;
    this.#begun = "";
    this.#isShuttingDown = true;
    const done = command === undefined ? undefined : await this.#run(command, env, "");
    this.#isShuttingDown = false;
    if (done?.ok === false) {
      const text = `Cannot run ShutdownCommand: ${done.error}`;
      this.#fail({ subject: SHUTDOWN, key: SHUTDOWN, text });
      return;
    }
    this.#failures.delete(SHUTDOWN);
    this.#start = undefined;
    await this.#write();
  }

  #fail({ key, subject, text }: { subject: string; key: string; text: string }): void {
    const delayMs = Math.min(
      RETRY_MAX_MS,
      (this.#failures.get(subject)?.delayMs ?? RETRY_MIN_MS / 2) * 2,
    );
    const untilMs = this.#options.clock.nowMs() + delayMs;
    this.#failures.set(subject, { key, text, delayMs, untilMs });
    if (delayMs === RETRY_MIN_MS) this.#options.log.warn("a program failed", { reason: text });
  }

  async #run(
    command: ExtensionCommand,
    env: Readonly<Record<string, string>>,
    input: string,
  ): Promise<Result<string, string>> {
    const { signal } = this.#stopping;
    return this.#options.run(command, { env, input, signal });
  }

  /** One write at a time; each has all that is known when it begins. */
  async #write(): Promise<void> {
    const before = this.#writing;
    const write = async () => {
      await before.catch(() => undefined);
      const peers = [...this.#known.values()].map(({ peer }) => peer);
      const text = encodeExtensionRecord({ start: this.#start, peers });
      if (text === this.#written) return;
      await writeFileAtomic(this.#options.path, text, { mode: RECORD_MODE });
      this.#written = text;
    };
    this.#writing = write();
    return this.#writing;
  }
}

function keyOf({ kind, peer }: ExtensionStep): string {
  return JSON.stringify([kind, peer]);
}

function startupError(name: ExtensionCommandName, reason: string): HostError {
  return new HostError({ operation: "run", object: name, reason });
}
