/**
 * What clients do: a mix of requests, drawn from a seed, on few keys that they fight over.
 *
 * Keys lie in groups of three, `/h/<slot>-<generation>/<letter>`; a slot takes a new group after a
 * while, so that no history of a group gets long. Beside them, counters that are only ever changed
 * by "read, then write if it is still so", and keys with a time to live.
 *
 * @module
 */
import type { Host } from "../lab/host.ts";
import type { SimRandom } from "../sim/cluster/sim-random.ts";
import { ask, type Question } from "./client.ts";
import type { Call, CallOutcome } from "./history.ts";
import { putKeys } from "./settle.ts";
import type { Condition, Item, Step, Told, Transaction } from "./transaction.ts";

/** All keys of the workload begin with this. */
export const PREFIX = "/h/";
const LETTERS = ["a", "b", "c"] as const;
const SLOT_COUNT = 5;
const COUNTER_COUNT = 2;
const GENERATION_CALLS_MAX = 2_000;
const TIMEOUT_LONG_MS = 8_000;
/** Some clients lose patience while the answer is on its way. */
const TIMEOUT_SHORT_MIN_MS = 2;
const TIMEOUT_SHORT_MAX_MS = 400;
const SHORT_CHANCE = 0.06;
/** A client that was not answered waits: a cluster without a leader is asked often enough. */
const UNKNOWN_PAUSE_MS = 60;
const VALUE_LONG_MAX_BYTES = 60_000;
const RECENT_REVISIONS = 2_000;
const COMPACT_CHANCE = 0.0005;
/** Revisions that a compaction leaves. */
const KEPT_REVISIONS = 600;

export interface WorkloadOptions {
  readonly random: SimRandom;
  readonly clientCount: number;
  /** Requests a second that are aimed at, all clients together. */
  readonly ratePerSecond: number;
  /** Hosts to ask. */
  hosts(): readonly Host[];
  /** How often the agent of `host` was started. */
  runOf(host: Host): number;
}

/** Draws a kind by its weight. */
type Draw = readonly (readonly [weight: number, draw: (client: Client) => Question])[];

interface Client {
  readonly id: number;
  sequence: number;
}

/** Clients at work, from `start` to `stop`. */
export class Workload {
  readonly calls: Call[] = [];
  /** Share of puts with long values. */
  longShare = 0.03;
  acknowledgedCount = 0;
  /** Writes that were acknowledged. */
  writtenCount = 0;
  /** The longest time without an acknowledged write, so far, milliseconds. */
  longestOutageMs = 0;
  readonly #options: WorkloadOptions;
  readonly #seen = new Map<string, Item | null>();
  readonly #uses: number[] = [];
  readonly #draws: Draw;
  #clients: Promise<void>[] = [];
  #isStopped = false;
  #lastWriteTime = performance.now();
  #lastRevision = 0;
  #nextId = 1;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#draws = this.#makeDraws();
  }

  start(): void {
    this.#lastWriteTime = performance.now();
    const { clientCount } = this.#options;
    this.#clients = Array.from({ length: clientCount }, (_, id) => this.#live(id));
  }

  /** Resolves when the last answer has come. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#clients);
  }

  /** Puts `key` until it is taken. Part of the history like everything else. */
  async mustPut(host: Host, key: string): Promise<number> {
    for (;;) {
      const client = { id: this.#options.clientCount, sequence: this.#nextId };
      const put: Step = { kind: "put", key, value: this.#value(client) };
      const outcome = await this.#ask(host, question("put", [put]), TIMEOUT_LONG_MS);
      const revision = outcome.kind === "told" ? outcome.told.revision : undefined;
      if (revision !== undefined) return revision;
      await Bun.sleep(UNKNOWN_PAUSE_MS);
    }
  }

  async #live(id: number): Promise<void> {
    const { random, hosts, clientCount, ratePerSecond } = this.#options;
    const client: Client = { id, sequence: 0 };
    const thinkMeanMs = (1000 * clientCount) / ratePerSecond;
    while (!this.#isStopped) {
      await Bun.sleep(random.exponential(thinkMeanMs));
      const host = random.pick(hosts());
      const timeoutMs = random.chance(SHORT_CHANCE)
        ? random.between(TIMEOUT_SHORT_MIN_MS, TIMEOUT_SHORT_MAX_MS)
        : TIMEOUT_LONG_MS;
      if (random.chance(COMPACT_CHANCE)) await this.#compact(host);
      else if (random.chance(0.06)) await this.#count(client, host, timeoutMs);
      else {
        const outcome = await this.#ask(host, this.#draw(client), timeoutMs);
        if (outcome.kind !== "told") await Bun.sleep(UNKNOWN_PAUSE_MS);
      }
    }
  }

  /** Adds one to a counter: reads it, and writes it if it is still what was read. */
  async #count(client: Client, host: Host, timeoutMs: number): Promise<void> {
    const { random, hosts } = this.#options;
    const key = `${PREFIX}counter-${random.below(COUNTER_COUNT)}/n`;
    const before = await this.#ask(host, question("get", [{ kind: "get", key }]), timeoutMs);
    const read = before.kind === "told" ? before.told.results?.[0] : undefined;
    if (read?.kind !== "get") return;
    const count = Number(read.item?.value.split("#")[0] ?? 0);
    const value = `${count + 1}#${this.#value(client)}`;
    const conditions = [isAt(key, read.item)];
    const next = random.pick(hosts());
    await this.#ask(next, question("put", [{ kind: "put", key, value }], conditions), timeoutMs);
  }

  /** Forgets the past up to a while ago. Whether that was done shows in what is told of it. */
  async #compact(host: Host): Promise<void> {
    const revision = this.#lastRevision - KEPT_REVISIONS;
    if (revision < 1) return;
    const body = JSON.stringify({ revision });
    const signal = AbortSignal.timeout(TIMEOUT_LONG_MS);
    await host.api("/compact", { method: "POST", body, signal }).catch(() => undefined);
  }

  async #ask(host: Host, asked: Question, timeoutMs: number): Promise<CallOutcome> {
    const id = this.#nextId++;
    const run = this.#options.runOf(host);
    const callTime = performance.now();
    const outcome = await ask(host, asked, timeoutMs);
    const returnTime = performance.now();
    const { transaction, consistency, ttlSeconds } = asked;
    const lasting = ttlSeconds === undefined ? {} : { ttlMs: ttlSeconds * 1000 };
    const where = { id, node: host.name, run, consistency };
    this.calls.push({ ...where, transaction, callTime, returnTime, outcome, ...lasting });
    if (outcome.kind === "told") this.#learn(asked, outcome.told, returnTime);
    return outcome;
  }

  #learn({ transaction, consistency }: Question, told: Told, now: number): void {
    this.acknowledgedCount += 1;
    if (consistency === "past" || told.revision === undefined) return;
    this.#lastRevision = Math.max(this.#lastRevision, told.revision);
    const { results = [] } = told;
    for (const result of results) {
      if (result.kind !== "list") continue;
      for (const [key, item] of result.items) this.#seen.set(key, item);
    }
    const steps = told.succeeded === true ? transaction.success : transaction.failure;
    for (const [i, step] of steps.entries()) {
      const result = results[i];
      if (result?.kind === "get" && step.kind === "get") this.#seen.set(step.key, result.item);
      if (step.kind === "delete") this.#seen.set(step.key, null);
      if (step.kind === "put") {
        this.#seen.set(step.key, { value: step.value, revision: told.revision });
      }
    }
    if (told.succeeded !== true || putKeys(transaction).length === 0) return;
    this.writtenCount += 1;
    this.longestOutageMs = Math.max(this.longestOutageMs, now - this.#lastWriteTime);
    this.#lastWriteTime = now;
  }

  #draw(client: Client): Question {
    const total = this.#draws.reduce((sum, [weight]) => sum + weight, 0);
    let left = this.#options.random.fraction() * total;
    for (const [weight, draw] of this.#draws) {
      left -= weight;
      if (left < 0) return draw(client);
    }
    throw new Error("Nothing was drawn");
  }

  #makeDraws(): Draw {
    const { random } = this.#options;
    const get = () => [{ kind: "get", key: this.#key() }] as const;
    const put = (client: Client, key: string): Step => {
      return { kind: "put", key, value: this.#value(client) };
    };
    return [
      [18, () => question("get", get())],
      [12, () => ({ ...question("get", get()), consistency: "local" })],
      [3, () => this.#past()],
      [4, () => listOf(this.#group(), "linear")],
      [2, () => listOf(this.#group(), "local")],
      [16, (client) => question("put", [put(client, this.#key())])],
      [12, (client) => this.#conditional("put", client)],
      [3, () => question("delete", [{ kind: "delete", key: this.#key() }])],
      [3, (client) => this.#conditional("delete", client)],
      [6, (client) => this.#move(client)],
      [5, (client) => this.#several(client)],
      [4, (client) => this.#swap(client)],
      [
        2,
        (client) => {
          const key = `${PREFIX}ttl-${client.id}.${++client.sequence}/x`;
          return { ...question("put", [put(client, key)]), ttlSeconds: random.integer(1, 4) };
        },
      ],
    ];
  }

  #past(): Question {
    const { random } = this.#options;
    const asked = question("get", [{ kind: "get", key: this.#key() }]);
    const revision = this.#lastRevision - random.below(RECENT_REVISIONS);
    return revision < 1 ? asked : { ...asked, consistency: "past", revision };
  }

  /** Only if the key is as somebody has seen it last. */
  #conditional(route: "put" | "delete", client: Client): Question {
    const key = this.#key();
    const seen = this.#seen.get(key) ?? null;
    const isAny = seen !== null && this.#options.random.chance(0.1);
    const condition: Condition = isAny ? { key, is: { kind: "present" } } : isAt(key, seen);
    if (route === "put") {
      return question("put", [{ kind: "put", key, value: this.#value(client) }], [condition]);
    }
    // There is no request that deletes what is not there.
    if (seen === null) return question("delete", [{ kind: "delete", key }]);
    return question("delete", [{ kind: "delete", key }], [condition]);
  }

  /** Takes a value from one key to another, where both must be as seen; else looks at all. */
  #move(client: Client): Question {
    const group = this.#group();
    const [from, to] = this.#options.random.shuffled(LETTERS.map((letter) => group + letter));
    if (from === undefined || to === undefined) throw new Error("A group has several keys");
    const success: Step[] = [
      { kind: "delete", key: from },
      { kind: "put", key: to, value: this.#value(client) },
      { kind: "list" },
    ];
    const conditions = [isAt(from, this.#seen.get(from) ?? null)];
    return question("txn", success, conditions, [{ kind: "list" }]);
  }

  /** Several puts at once, and a look at them. */
  #several(client: Client): Question {
    const group = this.#group();
    const keys = this.#options.random.shuffled(LETTERS.map((letter) => group + letter)).slice(1);
    const puts = keys.map((key): Step => ({ kind: "put", key, value: this.#value(client) }));
    return question("txn", [{ kind: "list" }, ...puts]);
  }

  /** Only if the value is what it was; what it is otherwise. */
  #swap(client: Client): Question {
    const key = this.#key();
    const seen = this.#seen.get(key) ?? null;
    const condition: Condition =
      seen === null ? isAt(key, null) : { key, is: { kind: "value", value: seen.value } };
    const success: Step[] = [{ kind: "put", key, value: this.#value(client) }];
    return question("txn", success, [condition], [{ kind: "get", key }]);
  }

  #value(client: Client): string {
    const { random } = this.#options;
    const id = `c${client.id}.${++client.sequence}`;
    return random.chance(this.longShare) ? `${id}*${random.below(VALUE_LONG_MAX_BYTES)}` : id;
  }

  #key(): string {
    return this.#group() + this.#options.random.pick(LETTERS);
  }

  #group(): string {
    const slot = this.#options.random.below(SLOT_COUNT);
    const uses = (this.#uses[slot] ?? 0) + 1;
    this.#uses[slot] = uses;
    return `${PREFIX}${slot}-${Math.floor(uses / GENERATION_CALLS_MAX)}/`;
  }
}

function question(
  route: Question["route"],
  success: readonly Step[],
  conditions: readonly Condition[] = [],
  failure: readonly Step[] = [],
): Question {
  const named = [...success, ...failure].find((step) => step.kind !== "list");
  const key = named?.key ?? "";
  const group = key.slice(0, key.lastIndexOf("/") + 1);
  const transaction: Transaction = { group, conditions, success, failure };
  return { route, transaction, consistency: "linear" };
}

function listOf(group: string, consistency: "linear" | "local"): Question {
  const transaction: Transaction = {
    group,
    conditions: [],
    success: [{ kind: "list" }],
    failure: [],
  };
  return { route: "list", transaction, consistency };
}

function isAt(key: string, item: Item | null): Condition {
  return { key, is: { kind: "revision", revision: item?.revision ?? 0 } };
}
