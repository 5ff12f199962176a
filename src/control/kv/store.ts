/**
 * The key-value pairs, their revisions, and the change that is being made to them.
 *
 * All changes between two `commit` calls belong to one command and get one new revision. What a
 * command did is remembered by key until then, so that it can be undone and told as events: one
 * for each key, whatever happened to the key in between. A renewal of a time to live is no change:
 * no revision, no event.
 *
 *     idle --begin--> changing --put, delete, renew--> changing --commit--> idle
 *
 * Invariant: createRevision <= modRevision <= revision for every pair between commands. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, decodeRevision, type Index, type Revision } from "../../base/ids.ts";
import { SetDigest } from "./digest.ts";
import { isValidKey } from "./key.ts";
import { KEY_TTL_SECONDS_MAX, KEY_TTL_SECONDS_MIN, VALUE_SIZE_MAX_BYTES } from "./limits.ts";
import { type FrozenMap, OrderedMap } from "./ordered-map.ts";
import type { KeyTtl, KeyValue, KvEvent, KvWriter } from "./types.ts";

/** What a key was before the command and what it is now; undefined: it is not there. */
interface Change {
  readonly previous: KeyValue | undefined;
  current: KeyValue | undefined;
}

/** The changing store. The state machine owns it; handlers see it as `KvWriter`. */
export class Store implements KvWriter {
  readonly #pairs = new OrderedMap<KeyValue>();
  /** Index of the pairs with a time to live. */
  readonly #ttls = new Map<string, KeyTtl>();
  readonly #digest = new SetDigest();
  #revision: Revision;
  /** Invariant: compactRevision <= revision. */
  #compactRevision: Revision;
  /** Of the entry that is being applied. */
  #index = decodeIndex(0);
  /** What the command did so far, by key. Invariant: `previous` and `current` differ. */
  readonly #changes = new Map<string, Change>();

  constructor(revision: Revision, compactRevision: Revision = decodeRevision(0)) {
    assert(compactRevision <= revision, "compaction must not be ahead of the store");
    this.#revision = revision;
    this.#compactRevision = compactRevision;
  }

  get revision(): Revision {
    return this.#revision;
  }

  get changeRevision(): Revision {
    return decodeRevision(this.#revision + 1);
  }

  get changed(): boolean {
    for (const { current } of this.#changes.values()) if (!this.#isOld(current)) return true;
    return false;
  }

  get compactRevision(): Revision {
    return this.#compactRevision;
  }

  get size(): number {
    return this.#pairs.size;
  }

  /** Keys that have a time to live. */
  get ttls(): ReadonlyMap<string, KeyTtl> {
    return this.#ttls;
  }

  get(key: string): KeyValue | undefined {
    return this.#pairs.get(key);
  }

  *list(prefix: string, after?: string): Iterable<KeyValue> {
    for (const [, pair] of this.#pairs.freeze().entries(prefix, after)) yield pair;
  }

  /** From now on the entry at `index` makes the changes. */
  begin(index: Index): void {
    assert(this.#changes.size === 0, "store must be idle");
    this.#index = index;
  }

  put(key: string, value: Uint8Array, ttlSeconds?: number): void {
    assert(isValidKey(key), "key must be valid and within its limit");
    assert(value.length <= VALUE_SIZE_MAX_BYTES, "value must be within its limit");
    const modRevision = this.changeRevision;
    const change = this.#changes.get(key);
    const old = change === undefined ? this.#pairs.get(key) : change.current;
    const lasting = {
      key,
      // The command's bytes may lie in a receive buffer: they are copied, not kept alive with it.
      value: new Uint8Array(value),
      createRevision: old?.createRevision ?? modRevision,
      modRevision,
      version: old === undefined ? 1 : nextVersion(old, modRevision),
    };
    const pair: KeyValue =
      ttlSeconds === undefined ? lasting : { ...lasting, ttl: this.#newTtl(ttlSeconds) };
    if (change === undefined) this.#changes.set(key, { previous: old, current: pair });
    else change.current = pair;
    this.#set(pair);
  }

  renew(key: string, ttlSeconds?: number): KeyTtl | undefined {
    const old = this.#pairs.get(key);
    if (old?.ttl === undefined) return undefined;
    const ttl = this.#newTtl(ttlSeconds ?? old.ttl.seconds);
    const pair = { ...old, ttl };
    const change = this.#changes.get(key);
    if (change === undefined) this.#changes.set(key, { previous: old, current: pair });
    else change.current = pair;
    this.#set(pair);
    return ttl;
  }

  delete(key: string): boolean {
    const old = this.#pairs.get(key);
    if (old === undefined) return false;
    const change = this.#changes.get(key);
    if (change === undefined) {
      this.#changes.set(key, { previous: old, current: undefined });
    } else if (change.previous === undefined) {
      // Made and unmade by one command: as if it had never been.
      this.#changes.delete(key);
    } else {
      change.current = undefined;
    }
    this.#remove(key);
    return true;
  }

  revert(): void {
    for (const [key, { previous }] of this.#changes) {
      if (previous === undefined) this.#remove(key);
      else this.#set(previous);
    }
    this.#changes.clear();
  }

  compact(revision: Revision): void {
    assert(revision <= this.#revision, "compaction must not be ahead of the store");
    if (revision > this.#compactRevision) this.#compactRevision = revision;
  }

  /** Makes the changes final under one new revision; none when there are none. */
  commit(): readonly KvEvent[] {
    if (this.#changes.size === 0) return [];
    const events: KvEvent[] = [];
    const revision = this.changeRevision;
    for (const [key, { previous, current }] of this.#changes) {
      if (previous !== undefined) this.#digest.pair(previous, -1);
      if (current !== undefined) {
        this.#digest.pair(current, 1);
        if (!this.#isOld(current)) events.push({ kind: "put", current, previous });
      } else {
        assert(previous !== undefined, "a key that came and went must not be remembered");
        events.push({ kind: "delete", key, revision, previous });
      }
    }
    this.#changes.clear();
    if (events.length > 0) this.#revision = revision;
    return events;
  }

  /** Adds a pair as a snapshot has it, in the order of keys. The store must be new, and idle. */
  load(pair: KeyValue): void {
    assert(this.#changes.size === 0, "store must be idle");
    this.#pairs.append(pair.key, pair);
    if (pair.ttl !== undefined) this.#ttls.set(pair.key, pair.ttl);
    this.#digest.pair(pair, 1);
  }

  /** Goes on from `revision`, as if all before it had been compacted. The store must be idle. */
  advance(revision: Revision): void {
    assert(this.#changes.size === 0, "store must be idle");
    assert(revision >= this.#revision, "a store must not go back");
    this.#revision = revision;
    this.#compactRevision = revision;
  }

  /** The pairs as they are now; the store must be idle. */
  freeze(): FrozenMap<KeyValue> {
    assert(this.#changes.size === 0, "store must be idle");
    return this.#pairs.freeze();
  }

  /** Digest of the pairs, with `salt` mixed in; the store must be idle. */
  digest(salt: readonly number[]): string {
    assert(this.#changes.size === 0, "store must be idle");
    return this.#digest.toHex(salt);
  }

  /** Whether `pair` is of an earlier command, but for its time to live. */
  #isOld(pair: KeyValue | undefined): boolean {
    return pair !== undefined && pair.modRevision <= this.#revision;
  }

  #newTtl(seconds: number): KeyTtl {
    const isInRange = seconds >= KEY_TTL_SECONDS_MIN && seconds <= KEY_TTL_SECONDS_MAX;
    assert(isInRange, "time to live must be within its limits");
    return { seconds, epoch: this.#index };
  }

  #set(pair: KeyValue): void {
    const { key, ttl } = pair;
    this.#pairs.set(key, pair);
    if (ttl !== undefined) this.#ttls.set(key, ttl);
    else if (this.#ttls.size > 0) this.#ttls.delete(key);
  }

  #remove(key: string): void {
    this.#pairs.delete(key);
    if (this.#ttls.size > 0) this.#ttls.delete(key);
  }
}

/** Two writes by one command are one version. */
function nextVersion(previous: KeyValue, modRevision: Revision): number {
  return previous.modRevision === modRevision ? previous.version : previous.version + 1;
}
