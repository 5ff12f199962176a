/**
 * Reads typed fields out of a decoded record, collecting failure instead of throwing.
 *
 * A getter whose field is absent or wrong returns a harmless value and marks the reader as
 * failed; the caller builds its result and drops it when `failed`. Unknown fields are passed over,
 * so that a newer node may say more.
 *
 * @module
 */
import {
  decodeIndex,
  decodeNodeId,
  decodeRevision,
  decodeTerm,
  type Index,
  type NodeId,
  type Revision,
  type Term,
} from "../../../base/ids.ts";
import { isRecord, type PlainRecord } from "./codec.ts";

const EMPTY_BYTES = new Uint8Array(0);

/** A cursor over one record; check `failed` before using what was read. */
export class FieldReader {
  readonly #record: PlainRecord;
  failed = false;

  /** Fails at once when `value` is no record. */
  constructor(value: unknown) {
    this.#record = isRecord(value) ? value : {};
    if (!isRecord(value)) this.failed = true;
  }

  has(name: string): boolean {
    const value = this.#record[name];
    return value !== undefined && value !== null;
  }

  counter(name: string): number {
    const value = this.#record[name];
    return typeof value === "number" && isCounter(value) ? value : this.#fail(0);
  }

  nodeId(name: string): NodeId {
    const value = this.counter(name);
    return decodeNodeId(value > 0 ? value : this.#fail(1));
  }

  term(name: string): Term {
    return decodeTerm(this.counter(name));
  }

  index(name: string): Index {
    return decodeIndex(this.counter(name));
  }

  revision(name: string): Revision {
    return decodeRevision(this.counter(name));
  }

  flag(name: string): boolean {
    const value = this.#record[name];
    return typeof value === "boolean" ? value : this.#fail(false);
  }

  /** A text of at most `lengthMax` UTF-16 units. */
  text(name: string, lengthMax: number): string {
    const value = this.#record[name];
    return typeof value === "string" && value.length <= lengthMax ? value : this.#fail("");
  }

  /** A view into the decoded bytes. */
  bytes(name: string): Uint8Array {
    const value = this.#record[name];
    return value instanceof Uint8Array ? value : this.#fail(EMPTY_BYTES);
  }

  array(name: string): readonly unknown[] {
    const value = this.#record[name];
    return Array.isArray(value) ? value : this.#fail([]);
  }

  /** One of `choices`. */
  choice<Choice extends string>(name: string, choices: readonly [Choice, ...Choice[]]): Choice {
    const value = this.#record[name];
    return choices.find((choice) => choice === value) ?? this.#fail(choices[0]);
  }

  record(name: string): FieldReader {
    const reader = new FieldReader(this.#record[name]);
    if (reader.failed) this.failed = true;
    return reader;
  }

  /** Each element through `decode`; fails when one is undefined. */
  list<Item>(name: string, decode: (value: unknown) => Item | undefined): readonly Item[] {
    const items: Item[] = [];
    for (const value of this.array(name)) {
      const item = decode(value);
      if (item === undefined) return this.#fail([]);
      items.push(item);
    }
    return items;
  }

  /** The field as it is. */
  raw(name: string): unknown {
    return this.#record[name];
  }

  #fail<Value>(value: Value): Value {
    this.failed = true;
    return value;
  }
}

/** `value` as a node id, or undefined. */
export function asNodeId(value: unknown): NodeId | undefined {
  return typeof value === "number" && isCounter(value) && value > 0
    ? decodeNodeId(value)
    : undefined;
}

function isCounter(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
