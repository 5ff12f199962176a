/**
 * Clients: each does one operation after the other on nodes of its choice, retries what got lost
 * under the same request id, and remembers what it was told.
 *
 * Two checks on every answer, by revisions: it fits the one history (`replay.ts`), and it is not
 * older than anything that was acknowledged before the operation began. The whole history of each
 * key goes to the linearizability checker in the end, which knows nothing of revisions.
 *
 * @module
 */
import { decodeNodeId, decodeRevision, type NodeId } from "../../../src/base/ids.ts";
import { readPast } from "../../../src/control/kv/past.ts";
import { type Txn, type TxnOutcome, txn } from "../../../src/control/kv/txn.ts";
import type { KeyValue, RequestId } from "../../../src/control/kv/types.ts";
import { checkPartitions, type Operation, type Verdict } from "../linearizability.ts";
import { KEY_MODEL, type KeyInput, type KeyOutput } from "./key-model.ts";
import type { OperationKind } from "./scenario.ts";
import type { SimNode } from "./sim-node.ts";
import type { SimProcess } from "./sim-process.ts";
import { must } from "./violation.ts";
import type { World } from "./world.ts";

const FIRST_CLIENT_ID = 1_000_000;
/** A client gives up waiting for one node after this. */
const PATIENCE_MIN_MS = 200;
const PATIENCE_MAX_MS = 4_000;
/** What a failure says when the write may have been taken in. */
const UNDETERMINED = "may still happen";
const KEY_PREFIX = "/sim/";
/** Writes of a burst have keys of their own: many at once on one key are hard to check. */
const BURST_KEYS = 40;
/** Reads of the past are long. */
const PAST_CHANCE = 0.15;
const CHECK_STEPS_MAX = 500_000;

interface Client {
  readonly id: NodeId;
  /** Ends after one operation. */
  readonly isOneShot: boolean;
  sequence: number;
  current: Attempt | undefined;
}

/** One operation under way. */
interface Attempt {
  readonly client: Client;
  readonly input: KeyInput;
  readonly command: Txn | undefined;
  readonly request: RequestId;
  readonly callTime: number;
  /** Highest revision that anybody had been told of when the operation began. */
  readonly floor: number;
  /** Counts the nodes asked: answers of earlier ones are late. */
  tries: number;
}

/** All clients of one simulation. */
export class Clients {
  readonly #world: World;
  readonly #clients: Client[] = [];
  readonly #history: Operation<KeyInput, KeyOutput>[] = [];
  /** Writes that nobody waits for any more. */
  readonly #abandoned: Attempt[] = [];
  /** Writes that a node said will not happen. */
  readonly #refused: Attempt[] = [];
  /** Highest revision of any answer so far. */
  #toldRevision = 0;
  #lastValue = 0;
  #isStopped = false;
  /** Writes that were acknowledged. */
  acknowledgedCount = 0;

  constructor(world: World) {
    this.#world = world;
    for (let i = 0; i < world.scenario.clients.count; i++) {
      this.#think(this.#addClient(false));
    }
  }

  /** Has `count` new clients ask `node` for one thing each, at once. */
  burst(node: SimNode, kind: "put" | "get", count: number): void {
    const { random, scenario } = this.#world;
    if (this.#isStopped) return;
    for (let i = 0; i < count; i++) {
      const key = `${KEY_PREFIX}${random.below(scenario.clients.keyCount)}`;
      const own = `${KEY_PREFIX}burst/${random.below(BURST_KEYS)}`;
      const input: KeyInput =
        kind === "get" ? { kind, key } : { kind, key: own, value: ++this.#lastValue };
      this.#begin(this.#addClient(true), input, node);
    }
  }

  /** No new operations; those under way go on. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Operations without an answer. */
  get openCount(): number {
    return this.#clients.filter((client) => client.current !== undefined).length;
  }

  get history(): readonly Operation<KeyInput, KeyOutput>[] {
    return this.#history;
  }

  /**
   * The verdict on everything that clients were told. Writes without an answer are left out when
   * nobody applied them: each would double the work, for nothing.
   */
  check(): Verdict {
    for (const { current } of this.#clients) if (current !== undefined) this.#abandon(current);
    for (const { request, input } of this.#refused) {
      const applied = this.#world.replay.find(request);
      must(
        applied === undefined,
        "a refused write never happens",
        () => `${JSON.stringify(input)} was refused, and applied at ${applied?.index}`,
      );
    }
    const history = [...this.#history];
    for (const { input, callTime, request } of this.#abandoned) {
      if (this.#world.replay.find(request) === undefined) continue;
      const output: KeyOutput = { kind: "unknown" };
      history.push({ input, output, callTime, returnTime: Number.POSITIVE_INFINITY });
    }
    return checkPartitions(KEY_MODEL, history, (input) => input.key, CHECK_STEPS_MAX);
  }

  #addClient(isOneShot: boolean): Client {
    const id = decodeNodeId(FIRST_CLIENT_ID + this.#clients.length);
    const client: Client = { id, isOneShot, sequence: 0, current: undefined };
    this.#clients.push(client);
    return client;
  }

  #think(client: Client): void {
    if (client.isOneShot) return;
    const { thinkMeanMs } = this.#world.scenario.clients;
    const delayMs = this.#world.random.exponential(thinkMeanMs);
    this.#world.later(delayMs, "client", "next operation", () => {
      if (!this.#isStopped) this.#begin(client, this.#draw());
    });
  }

  #begin(client: Client, input: KeyInput, node?: SimNode): void {
    client.sequence += 1;
    const attempt: Attempt = {
      client,
      input,
      command: this.#command(input),
      request: { client: client.id, sequence: client.sequence },
      callTime: this.#world.scheduler.nowMs,
      floor: this.#toldRevision,
      tries: 0,
    };
    client.current = attempt;
    this.#try(attempt, node);
  }

  #draw(): KeyInput {
    const { random, scenario } = this.#world;
    const { keyCount, mix } = scenario.clients;
    const key = `${KEY_PREFIX}${random.below(keyCount)}`;
    const kind = drawKind(mix, random.fraction());
    if (kind === "cas") {
      // Mostly what it is now, so that some succeed and some fail.
      const now = numberIn(this.#world.replay.pairAt(key, this.#world.replay.revision));
      const from = random.chance(0.7) ? now : random.below(this.#lastValue + 1);
      return { kind, key, from, to: ++this.#lastValue };
    }
    if (kind === "put") return { kind, key, value: ++this.#lastValue };
    return { kind, key };
  }

  #command(input: KeyInput): Txn | undefined {
    const { key } = input;
    switch (input.kind) {
      case "put":
        return txn({ success: [{ kind: "put", key, value: this.#encode(input.value) }] });
      case "log_get":
        return txn({ success: [{ kind: "get", key }] });
      case "delete":
        return txn({ success: [{ kind: "delete", key }] });
      case "cas": {
        const value = this.#encode(input.to);
        const now = this.#world.replay.pairAt(key, this.#world.replay.revision);
        const isKnown = numberIn(now) === input.from && now !== undefined;
        return txn({
          compare: isKnown
            ? [{ key, target: "value", op: "=", value: now.value }]
            : [{ key, target: "version", op: "=", value: input.from === 0 ? 0 : 2 ** 40 }],
          success: [{ kind: "put", key, value }],
          failure: [{ kind: "get", key }],
        });
      }
      default:
        return undefined;
    }
  }

  /** A value that begins with its number. */
  #encode(value: number): Uint8Array {
    const { random, scenario } = this.#world;
    const { largeShare, valueSizeMaxBytes } = scenario.clients;
    const size = random.chance(largeShare) ? random.below(valueSizeMaxBytes) : random.below(24);
    if (size > 100_000) this.#world.coverage.hit("load.huge-values");
    const bytes = new Uint8Array(8 + size).fill(value & 0xff);
    new DataView(bytes.buffer).setFloat64(0, value);
    return bytes;
  }

  /** Asks some node, and looks again when it takes long. */
  #try(attempt: Attempt, wanted?: SimNode): void {
    const { random } = this.#world;
    const { client } = attempt;
    // In the end only members are asked: a node that was removed answers nobody.
    const some = () => random.maybePick(this.#world.upNodes());
    const node = wanted ?? (this.#isStopped ? this.#world.someMember() : some());
    const process = node?.process;
    attempt.tries += 1;
    const { tries } = attempt;
    if (tries > 1) this.#world.coverage.hit("load.retry-after-timeout");
    if (node !== undefined && process !== undefined) {
      const subject = { client: client.id, ...attempt.input };
      process.after(0.1, "client", () => this.#ask(attempt, node, process), subject);
    }
    const patienceMs = random.between(PATIENCE_MIN_MS, PATIENCE_MAX_MS);
    this.#world.later(patienceMs, "client", `patience of ${client.id} ends`, () => {
      if (client.current === attempt && attempt.tries === tries) this.#goOn(attempt);
    });
  }

  /** No answer, or none that says what happened: once more, or never mind. */
  #goOn(attempt: Attempt): void {
    if (this.#world.random.chance(0.7) || this.#isStopped) this.#try(attempt);
    else this.#abandon(attempt);
  }

  #abandon(attempt: Attempt): void {
    const { input, client } = attempt;
    client.current = undefined;
    // A read without an answer says nothing.
    if (attempt.command !== undefined && input.kind !== "log_get") this.#abandoned.push(attempt);
    this.#think(client);
  }

  #ask(attempt: Attempt, node: SimNode, process: SimProcess): void {
    const { driver } = node;
    const { command, input, request } = attempt;
    if (driver === undefined || attempt.client.current !== attempt) return;
    const { tries } = attempt;
    const timeoutMs = Math.floor(this.#world.random.between(200, 6_000));
    const reply = (take: () => void) => {
      // The answer leaves the node, or does not.
      if (!process.touch()) return;
      this.#world.later(0.1, "client", `answer to ${attempt.client.id}`, () => {
        if (attempt.client.current === attempt && attempt.tries === tries) take();
      });
    };
    if (input.kind === "local_get") {
      this.#world.replay.checkRead(node.id, driver.reader, input.key);
      this.#readPast(node);
      reply(() => this.#finish(attempt, undefined));
    } else if (command === undefined) {
      void driver.readBarrier(timeoutMs).then((result) => {
        if (!process.isAlive) return;
        if (!result.ok) {
          reply(() => this.#goOn(attempt));
          return;
        }
        const { revision } = driver.reader;
        const pair = this.#world.replay.checkRead(node.id, driver.reader, input.key);
        reply(() => {
          this.#told(attempt, revision);
          this.#finish(attempt, { kind: "value", value: numberIn(pair) });
        });
      });
    } else {
      void driver.execute(command, { timeoutMs, requestId: request }).then((result) => {
        reply(() => {
          if (!result.ok) this.#failed(attempt, result.error.detail);
          else if (result.value.kind === "request_forgotten") this.#abandon(attempt);
          else this.#done(attempt, result.value);
        });
      });
    }
  }

  /** The node says why there is no outcome. Unless it leaves that open, there will be none. */
  #failed(attempt: Attempt, detail: string): void {
    const isOpen = detail.includes(UNDETERMINED) || attempt.tries > 1;
    if (isOpen || this.#world.random.chance(0.5)) {
      this.#goOn(attempt);
      return;
    }
    this.#world.coverage.hit("sometimes.write-refused");
    this.#refused.push(attempt);
    attempt.client.current = undefined;
    this.#think(attempt.client);
  }

  /** Reads a node's state as it was some time ago: it must be what it then was. */
  #readPast(node: SimNode): void {
    const { machine } = node;
    const { random, replay, coverage } = this.#world;
    if (machine === undefined || !random.chance(PAST_CHANCE)) return;
    const { oldestRevision } = machine.history;
    const revision = decodeRevision(random.integer(oldestRevision, machine.reader.revision));
    const past = readPast(machine, revision);
    must(past !== undefined, "the past is kept", () => `${revision} of ${oldestRevision} on`);
    if (revision < machine.reader.revision) coverage.hit("sometimes.past-read");
    replay.checkList(node.id, past, KEY_PREFIX);
  }

  #done(attempt: Attempt, outcome: TxnOutcome): void {
    must(outcome.kind === "done", "writes are accepted", () => JSON.stringify(outcome));
    const { input, request } = attempt;
    const applied = this.#world.replay.find(request);
    must(
      applied !== undefined && applied.revision === outcome.revision,
      "no acknowledged write is lost",
      () => `${JSON.stringify(input)} was acknowledged at ${outcome.revision}, not applied there`,
    );
    this.#told(attempt, outcome.revision);
    this.acknowledgedCount += 1;
    const result = outcome.results[0];
    if (input.kind === "cas") {
      this.#finish(attempt, outcome.succeeded ? { kind: "done" } : { kind: "refused" });
    } else if (result?.kind === "get") {
      this.#finish(attempt, { kind: "value", value: numberIn(result.pair ?? undefined) });
    } else {
      this.#finish(attempt, { kind: "done" });
    }
  }

  /** An answer of `revision` arrived: nothing that was told before the call may be newer. */
  #told(attempt: Attempt, revision: number): void {
    must(
      revision >= attempt.floor,
      "answers follow real time",
      () => `${JSON.stringify(attempt.input)} answered ${revision} after ${attempt.floor} was told`,
    );
    this.#toldRevision = Math.max(this.#toldRevision, revision);
  }

  #finish(attempt: Attempt, output: KeyOutput | undefined): void {
    const { input, callTime, client } = attempt;
    client.current = undefined;
    if (output !== undefined) {
      this.#history.push({ input, output, callTime, returnTime: this.#world.scheduler.nowMs });
    }
    this.#think(client);
  }
}

/** The number that a value begins with; 0 for none. */
function numberIn(pair: KeyValue | undefined): number {
  if (pair === undefined) return 0;
  const { value } = pair;
  return new DataView(value.buffer, value.byteOffset, value.byteLength).getFloat64(0);
}

function drawKind(mix: Readonly<Record<OperationKind, number>>, fraction: number): OperationKind {
  const kinds = Object.entries(mix) as [OperationKind, number][];
  let left = fraction * kinds.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [kind, weight] of kinds) {
    left -= weight;
    if (left < 0) return kind;
  }
  return "get";
}
