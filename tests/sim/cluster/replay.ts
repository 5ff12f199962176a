/**
 * What the replicated state went through, revision by revision, as the first node to apply each
 * entry saw it: the one history that every answer must fit.
 *
 * @module
 */
import type {
  Applied,
  KeyValue,
  KvEvent,
  KvReader,
  RequestId,
} from "../../../src/control/kv/types.ts";
import type { Coverage } from "./coverage.ts";
import { must } from "./violation.ts";

/** A key at some revision; undefined value: it did not exist. */
interface KeyVersion {
  readonly revision: number;
  readonly pair: KeyValue | undefined;
}

/** One request that was applied. */
export interface AppliedRequest {
  readonly index: number;
  readonly revision: number;
  readonly outcome: unknown;
}

/** The history of one cluster's state. */
export class Replay {
  /** Events by revision, from 1 on. */
  readonly #events: (readonly KvEvent[] | undefined)[] = [];
  readonly #keys = new Map<string, KeyVersion[]>();
  readonly #requests = new Map<string, AppliedRequest>();
  readonly #coverage: Coverage;
  #revision = 0;

  constructor(coverage: Coverage) {
    this.#coverage = coverage;
  }

  /** The last revision. */
  get revision(): number {
    return this.#revision;
  }

  /** Some node is the first to apply the entry at `index`. */
  first(index: number, request: RequestId | undefined, applied: Applied): void {
    const { events, revision, outcome } = applied;
    const isChange = events.length > 0;
    must(
      revision === this.#revision + (isChange ? 1 : 0),
      "one revision for each change",
      () => `entry ${index} made revision ${revision} after ${this.#revision}`,
    );
    this.#revision = revision;
    if (isChange) this.#record(revision, events);
    if (request === undefined) return;
    const key = requestKey(request);
    const known = this.#requests.get(key);
    if (known === undefined) {
      this.#requests.set(key, { index, revision, outcome });
      return;
    }
    this.#coverage.hit("sometimes.request-repeated");
    must(
      !isChange,
      "exactly once",
      () => `request ${key} was applied at ${known.index} and again at ${index}`,
    );
    must(
      Bun.deepEquals(known.outcome, outcome) || isForgotten(outcome),
      "exactly once",
      () => `request ${key} has two outcomes: ${JSON.stringify([known.outcome, outcome])}`,
    );
  }

  /** What came of `request`, if anybody applied it. */
  find(request: RequestId): AppliedRequest | undefined {
    return this.#requests.get(requestKey(request));
  }

  /** The events of `revision`. */
  eventsAt(revision: number): readonly KvEvent[] {
    return this.#events[revision] ?? [];
  }

  /** `key` as it was at `revision`. */
  pairAt(key: string, revision: number): KeyValue | undefined {
    return this.#keys.get(key)?.findLast((each) => each.revision <= revision)?.pair;
  }

  /** Checks one key of a node's state against the history. */
  checkRead(node: number, reader: KvReader, key: string): KeyValue | undefined {
    const pair = reader.get(key);
    this.#checkPair(node, reader.revision, { key, pair });
    return pair;
  }

  /** Checks all keys under `prefix` of a node's state, now or then, against the history. */
  checkList(node: number, reader: KvReader, prefix: string): void {
    const found = new Set<string>();
    for (const pair of reader.list(prefix)) {
      found.add(pair.key);
      this.#checkPair(node, reader.revision, { key: pair.key, pair });
    }
    for (const key of this.#keys.keys()) {
      if (!key.startsWith(prefix) || found.has(key)) continue;
      must(
        this.pairAt(key, reader.revision) === undefined,
        "lists are complete",
        () => `node ${node} does not list "${key}" at revision ${reader.revision}`,
      );
    }
  }

  #checkPair(
    node: number,
    revision: number,
    { key, pair }: { readonly key: string; readonly pair: KeyValue | undefined },
  ): void {
    const wanted = this.pairAt(key, revision);
    must(
      pair?.modRevision === wanted?.modRevision && sameBytes(pair?.value, wanted?.value),
      "reads fit the history",
      () => `node ${node} has "${key}" of ${pair?.modRevision} at revision ${revision}`,
    );
  }

  #record(revision: number, events: readonly KvEvent[]): void {
    this.#events[revision] = events;
    for (const event of events) {
      const key = event.kind === "put" ? event.current.key : event.key;
      const pair = event.kind === "put" ? event.current : undefined;
      const versions = this.#keys.get(key) ?? [];
      const before = versions.at(-1)?.pair;
      must(
        event.previous?.modRevision === before?.modRevision,
        "events tell the previous value",
        () => `"${key}" at ${revision}`,
      );
      versions.push({ revision, pair });
      this.#keys.set(key, versions);
    }
  }
}

/** A request id as one word. */
export function requestKey({ client, sequence }: RequestId): string {
  return `${client}/${sequence}`;
}

function isForgotten(outcome: unknown): boolean {
  return Bun.deepEquals(outcome, { kind: "request_forgotten" });
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(a, b) === 0;
}
