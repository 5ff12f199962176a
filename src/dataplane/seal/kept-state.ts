/**
 * What of sealing must outlive the process, as one piece of memory: private keys, how far each has
 * counted, and the newest packet that came by each pair of keys.
 *
 *        0  magic with the version, 8 bytes; size in bytes, 32 bits; windows ever used, 32 bits
 *       64  two copies of the record, RECORD_SIZE bytes each: the one that is written is never the
 *           newest, so that a process may be killed at any byte
 *     8192  SLOT_COUNT key pairs, SLOT_SIZE bytes each (exchange-key.ts)
 *    12288  WINDOW_COUNT windows: own key id, peer's key id, newest counter + 1 (64-bit float)
 *
 * All little-endian. A copy of the record is a sequence number, a length and a CRC-32C, 32 bits
 * each, and the text of a `KeptRecord`.
 *
 * Whatever is taken from a key's counts is taken in here first and used afterwards: a process that
 * goes on from this memory repeats no nonce and takes no packet twice, wherever the last one ended.
 * Of each window only its end is kept: what was behind it counts as seen.
 *
 * The memory may come from anywhere. What is not exactly as it must be is refused as a whole.
 *
 * @module
 */
import { crc32c } from "../../base/crc32c.ts";
import { isRecord } from "../../base/json-record.ts";
import { EXCHANGE_KEY_SIZE, PUBLISHED_KEYS_MAX, SEAL_COUNTER_LIMIT } from "./limits.ts";
import { ReplayWindow } from "./replay-window.ts";

/** Another layout has another last byte. */
const MAGIC = new TextEncoder().encode("ovlseal1");
const SIZE_AT = 8;
const USED_AT = 12;
const RECORDS_AT = 64;
const RECORD_SIZE = 4032;
const RECORD_HEADER_SIZE = 12;
const SLOTS_AT = 8192;
/** Of one key pair, with room to spare. */
export const SLOT_SIZE = 64;
/** Slots go round: one that was given back is used again after all others. */
const SLOT_COUNT = 16;
const WINDOWS_AT = 12_288;
const WINDOW_SIZE = 16;
/** Four own keys, and two keys each of 16,384 peers. */
const WINDOW_COUNT = 131_072;

/** Bytes of the memory; those never written cost nothing. */
export const KEPT_STATE_SIZE = WINDOWS_AT + WINDOW_COUNT * WINDOW_SIZE;

/** One key pair; times in milliseconds of a clock that all processes of the machine share. */
export interface KeptKey {
  readonly slot: number;
  readonly epoch: number;
  /** 64 lower-case hexadecimal digits. */
  readonly publicKey: string;
  readonly madeMs: number;
  /** Null: not yet. */
  readonly publishedMs: number | null;
  readonly replacedMs: number | null;
}

/** Whose keys these are, newest first. */
export interface KeptRecord {
  readonly clusterId: string;
  readonly generation: number;
  readonly node: number;
  readonly keys: readonly KeptKey[];
}

/** The memory of one key pair. */
export interface KeySlot {
  readonly slot: number;
  /** SLOT_SIZE bytes. */
  readonly memory: Uint8Array;
}

/** Makes `memory`, KEPT_STATE_SIZE zeroed bytes, an empty state. */
export function formatKeptState(memory: ArrayBufferLike): void {
  new Uint8Array(memory).set(MAGIC);
  new DataView(memory).setUint32(SIZE_AT, KEPT_STATE_SIZE, true);
}

/** The state in `memory`, which lies at the same place in every process that has it. */
export class KeptState {
  readonly #memory: ArrayBufferLike;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #sequence = 0;
  #nextSlot = 0;

  /** `memory` was formatted, by this process or by another one. */
  constructor(memory: ArrayBufferLike) {
    this.#memory = memory;
    this.#bytes = new Uint8Array(memory);
    this.#view = new DataView(memory);
  }

  /**
   * The record, with every slot and window of it checked; undefined when there is none or anything
   * is not as it must be.
   */
  load(): KeptRecord | undefined {
    if (!hasKeptFormat(this.#memory)) return undefined;
    const newest = [0, 1]
      .map((copy) => this.#readCopy(copy))
      .filter((copy) => copy !== undefined)
      .sort((a, b) => b.sequence - a.sequence)[0];
    if (newest === undefined) return undefined;
    this.#sequence = newest.sequence;
    const record = parseRecord(newest.text);
    return record !== undefined && this.#areWindowsRight() ? record : undefined;
  }

  /** Writes `record` in place of the last one; what is in no slot of it is forgotten. */
  save(record: KeptRecord): void {
    const used = new Set(record.keys.map(({ slot }) => slot));
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (!used.has(slot)) this.memoryOf(slot).fill(0, 0, EXCHANGE_KEY_SIZE);
    }
    const text = new TextEncoder().encode(JSON.stringify(record));
    const sequence = (this.#sequence + 1) >>> 0;
    const at = RECORDS_AT + (sequence & 1) * RECORD_SIZE;
    this.#view.setUint32(at, sequence, true);
    this.#view.setUint32(at + 4, text.length, true);
    this.#bytes.set(text, at + RECORD_HEADER_SIZE);
    this.#view.setUint32(at + 8, crcOf(sequence, text), true);
    this.#sequence = sequence;
  }

  /** A slot that no key of `used` is in, zeroed. */
  takeSlot(used: ReadonlySet<number | undefined>): KeySlot {
    while (used.has(this.#nextSlot)) this.#nextSlot = (this.#nextSlot + 1) % SLOT_COUNT;
    const slot = this.#nextSlot;
    this.#nextSlot = (slot + 1) % SLOT_COUNT;
    const memory = this.memoryOf(slot);
    memory.fill(0);
    return { slot, memory };
  }

  /** The memory of one slot. */
  memoryOf(slot: number): Uint8Array {
    return new Uint8Array(this.#memory, SLOTS_AT + slot * SLOT_SIZE, SLOT_SIZE);
  }

  #readCopy(copy: number): { readonly sequence: number; readonly text: Uint8Array } | undefined {
    const at = RECORDS_AT + copy * RECORD_SIZE;
    const sequence = this.#view.getUint32(at, true);
    const length = this.#view.getUint32(at + 4, true);
    if (length === 0 || length > RECORD_SIZE - RECORD_HEADER_SIZE) return undefined;
    const text = this.#bytes.slice(at + RECORD_HEADER_SIZE, at + RECORD_HEADER_SIZE + length);
    return this.#view.getUint32(at + 8, true) === crcOf(sequence, text)
      ? { sequence, text }
      : undefined;
  }

  #areWindowsRight(): boolean {
    const used = windowsUsed(this.#memory);
    if (used > WINDOW_COUNT) return false;
    const ends = new Float64Array(this.#memory, WINDOWS_AT);
    for (let place = 0; place < used; place++) {
      const end = ends[2 * place + 1]!;
      if (!Number.isSafeInteger(end) || end < 0 || end > SEAL_COUNTER_LIMIT) return false;
    }
    return true;
  }
}

/** Windows against replays by both keys' ids; made and used in the packet loop's thread only. */
export class KeptWindows {
  readonly #memory: ArrayBufferLike;
  readonly #ids: Uint32Array;
  readonly #ends: Float64Array;
  /** Positions by own key id and peer's key id. */
  readonly #places = new Map<number, Map<number, number>>();
  readonly #free: number[] = [];

  /** Over the memory of a state that is in order. */
  constructor(memory: ArrayBufferLike) {
    this.#memory = memory;
    this.#ids = new Uint32Array(memory, WINDOWS_AT);
    this.#ends = new Float64Array(memory, WINDOWS_AT);
    for (let place = windowsUsed(memory) - 1; place >= 0; place--) {
      const [own, peer] = [this.#ids[4 * place]!, this.#ids[4 * place + 1]!];
      if (own === 0 && peer === 0) this.#free.push(place);
      else this.#placesOf(own).set(peer, place);
    }
  }

  /** The window of packets from one key to one of ours; undefined when there is no room. */
  open(ownKeyId: number, peerKeyId: number): ReplayWindow | undefined {
    const places = this.#placesOf(ownKeyId);
    const place = places.get(peerKeyId) ?? this.#takePlace(ownKeyId, peerKeyId);
    if (place === undefined) return undefined;
    places.set(peerKeyId, place);
    return new ReplayWindow(this.#ends, 2 * place + 1);
  }

  /** Gives up all windows of keys of ours that are not among `ownKeyIds`. */
  keepOnly(ownKeyIds: ReadonlySet<number>): void {
    for (const [own, places] of this.#places) {
      if (ownKeyIds.has(own)) continue;
      this.#places.delete(own);
      this.#free.push(...places.values());
      for (const place of places.values()) clearWindow(this.#ids, this.#ends, place);
    }
  }

  #placesOf(own: number): Map<number, number> {
    let places = this.#places.get(own);
    if (places === undefined) {
      places = new Map();
      this.#places.set(own, places);
    }
    return places;
  }

  #takePlace(own: number, peer: number): number | undefined {
    const used = windowsUsed(this.#memory);
    const place = this.#free.pop() ?? used;
    if (place === WINDOW_COUNT) return undefined;
    if (place === used) new DataView(this.#memory).setUint32(USED_AT, used + 1, true);
    this.#ends[2 * place + 1] = 0;
    this.#ids[4 * place] = own;
    this.#ids[4 * place + 1] = peer;
    return place;
  }
}

/** Only so much of the memory was ever written, and need exist. */
function windowsUsed(memory: ArrayBufferLike): number {
  return new DataView(memory).getUint32(USED_AT, true);
}

function clearWindow(ids: Uint32Array, ends: Float64Array, place: number): void {
  ends[2 * place + 1] = 0;
  ids[4 * place] = 0;
  ids[4 * place + 1] = 0;
}

/** Whether `memory` has this version's layout. */
export function hasKeptFormat(memory: ArrayBufferLike): boolean {
  if (memory.byteLength !== KEPT_STATE_SIZE) return false;
  const isMagic = MAGIC.every((byte, i) => new Uint8Array(memory, 0, MAGIC.length)[i] === byte);
  return isMagic && new DataView(memory).getUint32(SIZE_AT, true) === KEPT_STATE_SIZE;
}

function crcOf(sequence: number, text: Uint8Array): number {
  const bytes = new Uint8Array(4 + text.length);
  new DataView(bytes.buffer).setUint32(0, sequence, true);
  bytes.set(text, 4);
  return crc32c(bytes, 0, bytes.length);
}

function parseRecord(text: Uint8Array): KeptRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
  } catch {
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  const { clusterId, generation, node, keys } = value;
  if (typeof clusterId !== "string" || !isCount(generation) || !isCount(node)) return undefined;
  if (!Array.isArray(keys) || keys.length > PUBLISHED_KEYS_MAX) return undefined;
  const parsed = keys.map(parseKey).filter((key) => key !== undefined);
  const slots = new Set(parsed.map(({ slot }) => slot));
  const isNewestFirst = parsed.every(({ epoch }, i) => i === 0 || epoch < parsed[i - 1]!.epoch);
  if (slots.size !== keys.length || !isNewestFirst) return undefined;
  return { clusterId, generation, node, keys: parsed };
}

function parseKey(value: unknown): KeptKey | undefined {
  if (!isRecord(value)) return undefined;
  const { slot, epoch, publicKey, madeMs, publishedMs, replacedMs } = value;
  if (!isCount(slot) || slot >= SLOT_COUNT || !isCount(epoch) || epoch === 0) return undefined;
  if (typeof publicKey !== "string" || !/^[0-9a-f]{64}$/.test(publicKey)) return undefined;
  if (!isTime(madeMs)) return undefined;
  if (publishedMs !== null && !isTime(publishedMs)) return undefined;
  if (replacedMs !== null && !isTime(replacedMs)) return undefined;
  return { slot, epoch, publicKey, madeMs, publishedMs, replacedMs };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && typeof value === "number" && value >= 0;
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
