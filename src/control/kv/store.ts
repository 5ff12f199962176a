/**
 * The key-value pairs, their revisions, and the change that is being made to them.
 *
 * All changes between two `commit` calls belong to one command and get one new revision. What a
 * command did is remembered by key until then, so that it can be undone and told as events: one
 * for each key, whatever happened to the key in between.
 *
 *     idle --put, delete--> changing --commit, revert--> idle
 *
 * Invariant: createRevision <= modRevision <= revision for every pair between commands. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeRevision, type Revision } from "../../base/ids.ts";
import { SetDigest } from "./digest.ts";
import { isValidKey } from "./key.ts";
import { VALUE_SIZE_MAX_BYTES } from "./limits.ts";
import { type FrozenMap, OrderedMap } from "./ordered-map.ts";
import type { KeyValue, KvEvent, KvWriter } from "./types.ts";

/** What a key was before the command and what it is now; undefined: it is not there. */
interface Change {
  readonly previous: KeyValue | undefined;
  current: KeyValue | undefined;
}

/** The changing store. The state machine owns it; handlers see it as `KvWriter`. */
export class Store implements KvWriter {
  readonly #pairs = new OrderedMap<KeyValue>();
  readonly #digest = new SetDigest();
  #revision: Revision;
  /** What the command did so far, by key. Invariant: `previous` and `current` differ. */
  readonly #changes = new Map<string, Change>();

  constructor(revision: Revision) {
    this.#revision = revision;
  }

  get revision(): Revision {
    return this.#revision;
  }

  get changeRevision(): Revision {
    return decodeRevision(this.#revision + 1);
  }

  get changed(): boolean {
    return this.#changes.size > 0;
  }

  get size(): number {
    return this.#pairs.size;
  }

  get(key: string): KeyValue | undefined {
    return this.#pairs.get(key);
  }

  *list(prefix: string): Iterable<KeyValue> {
    for (const [, pair] of this.#pairs.freeze().entries(prefix)) yield pair;
  }

  put(key: string, value: Uint8Array): void {
    assert(isValidKey(key), "key must be valid and within its limit");
    assert(value.length <= VALUE_SIZE_MAX_BYTES, "value must be within its limit");
    const modRevision = this.changeRevision;
    const change = this.#changes.get(key);
    const old = change === undefined ? this.#pairs.get(key) : change.current;
    const pair: KeyValue = {
      key,
      // The command's bytes may lie in a receive buffer: they are copied, not kept alive with it.
      value: new Uint8Array(value),
      createRevision: old?.createRevision ?? modRevision,
      modRevision,
      version: old === undefined ? 1 : nextVersion(old, modRevision),
    };
    if (change === undefined) this.#changes.set(key, { previous: old, current: pair });
    else change.current = pair;
    this.#pairs.set(key, pair);
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
    return this.#pairs.delete(key);
  }

  revert(): void {
    for (const [key, { previous }] of this.#changes) {
      if (previous === undefined) this.#pairs.delete(key);
      else this.#pairs.set(key, previous);
    }
    this.#changes.clear();
  }

  /** Makes the changes final under one new revision; none when there are none. */
  commit(): readonly KvEvent[] {
    if (!this.changed) return [];
    const events: KvEvent[] = [];
    const revision = this.changeRevision;
    for (const [key, { previous, current }] of this.#changes) {
      if (previous !== undefined) this.#digest.pair(previous, -1);
      if (current !== undefined) {
        this.#digest.pair(current, 1);
        events.push({ kind: "put", current, previous });
      } else {
        assert(previous !== undefined, "a key that came and went must not be remembered");
        events.push({ kind: "delete", key, revision, previous });
      }
    }
    this.#changes.clear();
    this.#revision = revision;
    return events;
  }

  /** Adds a pair as a snapshot has it. The store must be new, and idle. */
  load(pair: KeyValue): void {
    assert(this.#changes.size === 0, "store must be idle");
    this.#pairs.set(pair.key, pair);
    this.#digest.pair(pair, 1);
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
}

/** Two writes by one command are one version. */
function nextVersion(previous: KeyValue, modRevision: Revision): number {
  return previous.modRevision === modRevision ? previous.version : previous.version + 1;
}
