/**
 * The whole state as parts that a driver can encode one by one, and back.
 *
 *     header, clients…, outcomes…, pairs and pieces in key order…, end
 *
 * A value too large for one part is cut into consecutive pieces. The header carries the digest
 * that the restored state must have, so that a part lost, repeated or altered is found. Parts come
 * from a disk or from another node: nothing in them is believed. Pure.
 *
 * @module
 */
import { decodeIndex, decodeRevision, type Index, type Revision } from "../../base/ids.ts";
import { isValidKey } from "./key.ts";
import {
  CLIENTS_REMEMBERED_MAX,
  KEY_TTL_SECONDS_MAX,
  KEY_TTL_SECONDS_MIN,
  OUTCOMES_REMEMBERED_MAX,
  SNAPSHOT_PART_SIZE_BYTES,
  SNAPSHOT_ROWS_SIZE_BYTES,
  VALUE_SIZE_MAX_BYTES,
} from "./limits.ts";
import type { FrozenMap } from "./ordered-map.ts";
import { isCounter, isRecord, parseNodeNumber, parseRevision, plainSize } from "./plain.ts";
import { type RememberedClient, type RememberedOutcome, RequestTable } from "./requests.ts";
import { Store } from "./store.ts";
import type { KeyTtl, KeyValue, SnapshotPart } from "./types.ts";

const FORMAT = 1;
/** Items in the row of a pair without a time to live. */
const PAIR_ROW_LENGTH = 5;
/** Numbers and heads of a row of a pair, bytes at most: many small pairs make a part too. */
const PAIR_ROW_OVERHEAD_BYTES = 64;

/** What a state machine is at one moment; none of it changes any more. */
export interface FrozenState {
  readonly index: Index;
  readonly revision: Revision;
  readonly compactRevision: Revision;
  readonly hash: string;
  readonly clients: readonly RememberedClient[];
  readonly outcomes: Iterable<RememberedOutcome>;
  readonly pairs: FrozenMap<KeyValue>;
}

/** What `SnapshotReader` found; `hash` is still to be compared by the caller. */
export interface RestoredState {
  readonly index: Index;
  readonly hash: string;
  readonly store: Store;
  readonly requests: RequestTable;
}

/** The parts of `state`, made as they are asked for. */
export function* writeSnapshot(state: FrozenState): IterableIterator<SnapshotPart> {
  yield {
    kind: "header",
    format: FORMAT,
    index: state.index,
    revision: state.revision,
    compactRevision: state.compactRevision,
    hash: state.hash,
  };
  yield* batches("clients", state.clients, ({ client, floor }) => [client, floor]);
  yield* batches("outcomes", state.outcomes, (o) => [o.client, o.sequence, o.outcome]);
  yield* writePairs(state.pairs);
  yield { kind: "end", pairCount: state.pairs.size };
}

/** Rows of `items` in parts of about `SNAPSHOT_ROWS_SIZE_BYTES`. */
function* batches<Item>(
  kind: string,
  items: Iterable<Item>,
  row: (item: Item) => readonly unknown[],
): IterableIterator<SnapshotPart> {
  let rows: (readonly unknown[])[] = [];
  let size = 0;
  for (const item of items) {
    const next = row(item);
    const nextSize = plainSize(next);
    if (rows.length > 0 && size + nextSize > SNAPSHOT_ROWS_SIZE_BYTES) {
      yield { kind, rows };
      rows = [];
      size = 0;
    }
    rows.push(next);
    size += nextSize;
  }
  if (rows.length > 0) yield { kind, rows };
}

function* writePairs(pairs: FrozenMap<KeyValue>): IterableIterator<SnapshotPart> {
  let rows: (readonly unknown[])[] = [];
  let size = 0;
  for (const [, pair] of pairs.entries("")) {
    const rowSize = pair.key.length + pair.value.length + PAIR_ROW_OVERHEAD_BYTES;
    if (rows.length > 0 && size + rowSize > SNAPSHOT_ROWS_SIZE_BYTES) {
      yield { kind: "pairs", rows };
      rows = [];
      size = 0;
    }
    if (rowSize > SNAPSHOT_PART_SIZE_BYTES) {
      yield* writePieces(pair);
    } else {
      rows.push(pairRow(pair));
      size += rowSize;
    }
  }
  if (rows.length > 0) yield { kind: "pairs", rows };
}

function pairRow(pair: KeyValue): readonly unknown[] {
  const { key, value, createRevision, modRevision, version, ttl } = pair;
  if (ttl === undefined) return [key, value, createRevision, modRevision, version];
  return [key, value, createRevision, modRevision, version, ttl.seconds, ttl.epoch];
}

function* writePieces(pair: KeyValue): IterableIterator<SnapshotPart> {
  const { key, value } = pair;
  for (let offset = 0; offset < value.length; offset += SNAPSHOT_PART_SIZE_BYTES) {
    const bytes = value.subarray(offset, offset + SNAPSHOT_PART_SIZE_BYTES);
    const about = [key, value.length, ...aboutPair(pair), ...aboutTtl(pair)];
    yield { kind: "piece", about, offset, bytes };
  }
}

function aboutPair({ createRevision, modRevision, version }: KeyValue): readonly number[] {
  return [createRevision, modRevision, version];
}

function aboutTtl({ ttl }: KeyValue): readonly number[] {
  return ttl === undefined ? [] : [ttl.seconds, ttl.epoch];
}

/**
 * Reads a snapshot part by part, so that nobody needs to hold all of it at once. What it has read
 * is of use only when `end` gives it out.
 */
export class SnapshotReader {
  #content: ContentReader | undefined;
  #hash = "";
  #partCount = 0;

  /** Takes the next part; undefined, or why there is no use in going on. */
  take(part: SnapshotPart): string | undefined {
    this.#partCount += 1;
    if (!isRecord(part)) return "a part is not a record";
    if (this.#content === undefined) return this.#readHeader(part);
    const problem = this.#content.read(part);
    return problem && `part ${this.#partCount} ${problem}`;
  }

  /** The state that the parts hold, or why they hold none. */
  end(): RestoredState | string {
    const content = this.#content;
    if (content === undefined) return "there are no parts";
    if (!content.ended) return "the last part is missing";
    const { index, store, requests } = content;
    return { index: decodeIndex(index), hash: this.#hash, store, requests };
  }

  #readHeader(header: SnapshotPart): string | undefined {
    if (header["kind"] !== "header") return "the first part is not a header";
    if (header["format"] !== FORMAT) {
      return `format ${String(header["format"])} is not known, only ${FORMAT}`;
    }
    const index = header["index"];
    const revision = parseRevision(header["revision"]);
    const compactRevision = parseRevision(header["compactRevision"]);
    const hash = header["hash"];
    if (!isCounter(index) || revision === undefined || typeof hash !== "string") {
      return "the header is not complete";
    }
    if (compactRevision === undefined || compactRevision > revision) {
      return "the header names a compaction of what has not happened";
    }
    this.#hash = hash;
    this.#content = new ContentReader({ index, store: new Store(revision, compactRevision) });
    return undefined;
  }
}

/** Takes the parts after the header, in order. */
class ContentReader {
  readonly index: number;
  readonly store: Store;
  readonly requests = new RequestTable();
  ended = false;
  #lastKey = "";
  #clientCount = 0;
  #outcomeCount = 0;
  /** The value whose pieces are coming in. */
  #large: { readonly pair: KeyValue; received: number } | undefined;

  constructor({ index, store }: { readonly index: number; readonly store: Store }) {
    this.index = index;
    this.store = store;
  }

  /** Undefined, or what is wrong with `part`. */
  read(part: SnapshotPart): string | undefined {
    if (this.ended) return "comes after the end";
    const { kind, rows } = part;
    if (kind === "piece") return this.#readPiece(part);
    if (this.#large !== undefined) return "interrupts the pieces of a value";
    if (kind === "end") {
      this.ended = true;
      return part["pairCount"] === this.store.size ? undefined : "counts other pairs";
    }
    if (!Array.isArray(rows)) return "has no rows";
    for (const row of rows) {
      if (!Array.isArray(row)) return "has a row that is none";
      const problem = this.#readRow(kind, row);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #readRow(kind: unknown, row: readonly unknown[]): string | undefined {
    if (kind === "pairs") {
      const value = row[1];
      if (!(value instanceof Uint8Array)) return "has a pair without a value";
      const pair = this.#parsePair(row, value);
      if (pair === undefined) return "has an invalid pair";
      this.store.load(pair);
      return undefined;
    }
    const client = parseNodeNumber(row[0]);
    const number = row[1];
    if (client === undefined || !Number.isSafeInteger(number) || typeof number !== "number") {
      return "has an invalid request";
    }
    if (kind === "clients") {
      this.#clientCount += 1;
      if (this.#clientCount > CLIENTS_REMEMBERED_MAX) return "has too many clients";
      const fits = number >= -1 && this.requests.loadClient({ client, floor: number });
      return fits ? undefined : "has a client that does not fit";
    }
    if (kind !== "outcomes") return "is of an unknown kind";
    this.#outcomeCount += 1;
    if (this.#outcomeCount > OUTCOMES_REMEMBERED_MAX) return "has too many outcomes";
    const remembered = { client, sequence: number, outcome: row[2] };
    return number >= 0 && this.requests.load(remembered)
      ? undefined
      : "has an outcome that does not fit";
  }

  #readPiece(part: SnapshotPart): string | undefined {
    const { about, offset, bytes } = part;
    if (!Array.isArray(about) || !(bytes instanceof Uint8Array)) return "is not a piece";
    const large = this.#large ?? this.#startLarge(about);
    if (large === undefined) return "has an invalid pair";
    if (about[0] !== large.pair.key) return "interrupts the pieces of a value";
    const { value } = large.pair;
    if (offset !== large.received || bytes.length === 0) return "is not the next piece";
    if (large.received + bytes.length > value.length) return "is larger than its value";
    value.set(bytes, large.received);
    large.received += bytes.length;
    this.#large = large.received === value.length ? undefined : large;
    if (this.#large === undefined) this.store.load(large.pair);
    return undefined;
  }

  #startLarge(about: readonly unknown[]): { pair: KeyValue; received: number } | undefined {
    const size = about[1];
    if (!isCounter(size) || size > VALUE_SIZE_MAX_BYTES) return undefined;
    const pair = this.#parsePair(about, new Uint8Array(size));
    return pair === undefined ? undefined : { pair, received: 0 };
  }

  /**
   * Checks a pair (key, anything, revisions, version, time to live if it has one) and that it comes
   * after the one before. By position: taking rows apart by pattern was a tenth of a restore.
   */
  #parsePair(row: readonly unknown[], value: Uint8Array): KeyValue | undefined {
    const key = row[0];
    const create = row[2];
    const mod = row[3];
    const version = row[4];
    if (typeof key !== "string" || !isValidKey(key) || key <= this.#lastKey) return undefined;
    if (value.length > VALUE_SIZE_MAX_BYTES) return undefined;
    if (!isCounter(create) || !isCounter(mod) || !isCounter(version)) return undefined;
    if (create < 1 || create > mod || mod > this.store.revision || version < 1) return undefined;
    const createRevision = decodeRevision(create);
    const modRevision = decodeRevision(mod);
    const lasting = { key, value, createRevision, modRevision, version };
    const ttl = row.length === PAIR_ROW_LENGTH ? undefined : this.#parseTtl(row[5], row[6]);
    if (ttl === undefined && row.length !== PAIR_ROW_LENGTH) return undefined;
    this.#lastKey = key;
    return ttl === undefined ? lasting : { ...lasting, ttl };
  }

  #parseTtl(seconds: unknown, epoch: unknown): KeyTtl | undefined {
    if (!isCounter(seconds) || !isCounter(epoch) || epoch > this.index) return undefined;
    if (seconds < KEY_TTL_SECONDS_MIN || seconds > KEY_TTL_SECONDS_MAX) return undefined;
    return { seconds, epoch: decodeIndex(epoch) };
  }
}
