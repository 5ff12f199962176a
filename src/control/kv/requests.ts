/**
 * Which requests were applied, and what they yielded: a retry is answered, not applied again.
 *
 * Source: Ongaro's thesis §6.3 (session table), with two differences. Requests of one client may
 * be applied out of order (a client sends several at once, and some are retried), so the outcome of
 * each recent request is kept, not only the last. And a client does not say what it has received;
 * outcomes are forgotten in the order in which they were applied, by count and size, and the
 * client's *floor* rises to the highest sequence forgotten. At or below the floor nobody can tell
 * whether a request was applied: it is refused, so a request is never applied twice.
 *
 * A client is one run of one proposer. It must never use a sequence twice, and a new run must not
 * continue below an old one: a random client id for each run is the simple way.
 *
 * Everything here follows from the log alone, so all replicas remember the same. Pure.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import { SetDigest } from "./digest.ts";
import {
  CLIENTS_REMEMBERED_MAX,
  OUTCOME_SIZE_MAX_BYTES,
  OUTCOMES_REMEMBERED_MAX,
  OUTCOMES_SIZE_MAX_BYTES,
} from "./limits.ts";
import { plainSize } from "./plain.ts";
import type { CommandRefusal, RequestId } from "./types.ts";

const FORGOTTEN: CommandRefusal = { kind: "request_forgotten" };

interface ClientRecord {
  readonly client: NodeId;
  /** Highest sequence whose outcome was forgotten; −1 when none was. */
  floor: number;
  readonly outcomes: Map<number, Remembered>;
}

interface Remembered {
  readonly record: ClientRecord;
  readonly sequence: number;
  readonly outcome: unknown;
  readonly sizeBytes: number;
}

/** An applied request with what it yielded. */
export interface RememberedOutcome extends RequestId {
  readonly outcome: unknown;
}

/** What is known of a client beside its outcomes. */
export interface RememberedClient {
  readonly client: NodeId;
  readonly floor: number;
}

/** The limits, for tests with smaller ones. */
export interface RequestLimits {
  readonly outcomesMax: number;
  readonly outcomesSizeMaxBytes: number;
  readonly clientsMax: number;
}

const LIMITS: RequestLimits = {
  outcomesMax: OUTCOMES_REMEMBERED_MAX,
  outcomesSizeMaxBytes: OUTCOMES_SIZE_MAX_BYTES,
  clientsMax: CLIENTS_REMEMBERED_MAX,
};

/** The table. Invariant: each outcome of a client is in the queue once, and the other way. */
export class RequestTable {
  readonly #limits: RequestLimits;
  /** In order of their last applied request. */
  readonly #clients = new Map<NodeId, ClientRecord>();
  #newest: ClientRecord | undefined;
  /** In the order applied; those before `#queueStart` are forgotten. */
  #queue: Remembered[] = [];
  #queueStart = 0;
  #sizeBytes = 0;
  readonly #digest = new SetDigest();

  constructor(limits: RequestLimits = LIMITS) {
    this.#limits = limits;
  }

  /** What `request` yielded when it was applied; undefined: it was not, so apply it now. */
  find(request: RequestId): { readonly outcome: unknown } | undefined {
    const record = this.#clients.get(request.client);
    if (record === undefined) return undefined;
    const known = record.outcomes.get(request.sequence);
    if (known !== undefined) return known;
    return request.sequence <= record.floor ? { outcome: FORGOTTEN } : undefined;
  }

  /** Remembers that `request` was applied just now. */
  remember(request: RequestId, outcome: unknown): void {
    this.#add(request, outcome);
    while (this.#clients.size > this.#limits.clientsMax) this.#forgetClient();
    while (
      this.#queue.length - this.#queueStart > this.#limits.outcomesMax ||
      this.#sizeBytes > this.#limits.outcomesSizeMaxBytes
    ) {
      this.#forgetOutcome();
    }
  }

  /**
   * Adds a client as a snapshot has it; clients come in the order of `clients`. False: it was
   * there already.
   */
  loadClient(known: RememberedClient): boolean {
    if (this.#clients.has(known.client)) return false;
    this.#addClient(known);
    return true;
  }

  /**
   * Adds an outcome as a snapshot has it; outcomes come in the order of `outcomes`, after all
   * clients. False: its client is not there, or it was there already.
   */
  load(known: RememberedOutcome): boolean {
    const record = this.#clients.get(known.client);
    if (record === undefined || record.outcomes.has(known.sequence)) return false;
    this.#add(known, known.outcome);
    return true;
  }

  /** The clients in order; a copy. */
  clients(): readonly RememberedClient[] {
    return Array.from(this.#clients.values(), ({ client, floor }) => ({ client, floor }));
  }

  /** The outcomes in order, as they are now. Costs next to nothing until it is walked. */
  outcomes(): Iterable<RememberedOutcome> {
    return {
      [Symbol.iterator]: iterateOutcomes.bind(undefined, this.#queue.slice(this.#queueStart)),
    };
  }

  /** Digest of who asked for what; the outcomes follow from the log and are left out. */
  digest(salt: readonly number[]): string {
    return this.#digest.toHex(salt);
  }

  #addClient({ client, floor }: RememberedClient): ClientRecord {
    const record: ClientRecord = { client, floor, outcomes: new Map() };
    this.#clients.set(client, record);
    this.#newest = record;
    this.#digest.client(client, floor, 1);
    return record;
  }

  #add({ client, sequence }: RequestId, outcome: unknown): void {
    const record = this.#clients.get(client) ?? this.#addClient({ client, floor: -1 });
    if (this.#newest !== record) {
      this.#clients.delete(client);
      this.#clients.set(client, record);
      this.#newest = record;
    }
    const sizeBytes = plainSize(outcome);
    const remembered: Remembered =
      sizeBytes <= OUTCOME_SIZE_MAX_BYTES
        ? { record, sequence, outcome, sizeBytes }
        : { record, sequence, outcome: FORGOTTEN, sizeBytes: plainSize(FORGOTTEN) };
    record.outcomes.set(sequence, remembered);
    this.#queue.push(remembered);
    this.#sizeBytes += remembered.sizeBytes;
    this.#digest.outcome(client, sequence, 1);
  }

  #forgetOutcome(): void {
    const { record, sequence, sizeBytes } = this.#queue[this.#queueStart]!;
    this.#queueStart += 1;
    if (this.#queueStart > this.#limits.outcomesMax) {
      this.#queue = this.#queue.slice(this.#queueStart);
      this.#queueStart = 0;
    }
    this.#sizeBytes -= sizeBytes;
    this.#digest.outcome(record.client, sequence, -1);
    record.outcomes.delete(sequence);
    if (sequence <= record.floor) return;
    this.#digest.client(record.client, record.floor, -1);
    record.floor = sequence;
    this.#digest.client(record.client, record.floor, 1);
  }

  /** Forgets the client that was silent longest, after all outcomes that are as old as its own. */
  #forgetClient(): void {
    const [record] = this.#clients.values();
    if (record === undefined) return;
    while (record.outcomes.size > 0) this.#forgetOutcome();
    this.#clients.delete(record.client);
    this.#digest.client(record.client, record.floor, -1);
  }
}

function* iterateOutcomes(queue: readonly Remembered[]): IterableIterator<RememberedOutcome> {
  for (const { record, sequence, outcome } of queue) {
    yield { client: record.client, sequence, outcome };
  }
}
