/**
 * What each node has written and what of it is durable, kept beside the log store: the memory that
 * a crash cannot touch.
 *
 * Logs are remembered as chains: the hash at an index covers everything up to it, so two logs are
 * equal up to an index exactly when their hashes there are.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import type {
  LogBatch,
  LogStore,
  RecoveredLog,
  StoredEntry,
  StoredHardState,
} from "../../../src/host/ports.ts";
import type { SimProcess } from "./sim-process.ts";
import { must } from "./violation.ts";

/** How the log marks a membership change (control/cluster/codec/entry-codec.ts). */
const ENTRY_CONF_CHANGE = 1;

/** One node's log, as hashes by index from 1 on. */
export class Chain {
  readonly #hashes: number[] = [0];

  get lastIndex(): number {
    return this.#hashes.length - 1;
  }

  /** Hash of everything up to `index`; undefined beyond the end. */
  at(index: number): number | undefined {
    return this.#hashes[index];
  }

  /** Puts `hash` at `index` and forgets what came after. */
  set(index: number, hash: number): void {
    this.#hashes.length = index + 1;
    this.#hashes[index] = hash;
  }

  /** Becomes equal to `other` up to `index`. */
  copyFrom(other: Chain, index: number): void {
    this.#hashes.length = 0;
    for (let i = 0; i <= index; i++) this.#hashes.push(other.at(i) ?? 0);
  }
}

/** The hash of a log that goes on with `entry` after one of hash `before`. */
export function chainHash(before: number, entry: StoredEntry): number {
  let hash = Math.imul(before ^ entry.term, 0x85ebca6b) ^ entry.kind;
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  hash ^= Number(Bun.hash.crc32(entry.payload));
  return Math.imul(hash ^ (hash >>> 16), 0x9e3779b1) >>> 0;
}

/** What is told to whoever watches over all nodes. */
export interface LedgerHost {
  /** An entry was handed to the disk of `ledger`'s node, with this chain hash. */
  handed(ledger: NodeLedger, entry: StoredEntry, hash: number): void;
  /** A term or vote became durable. */
  voteDurable(ledger: NodeLedger, state: StoredHardState): void;
  /** Chain of what was committed, for the part of a log that a snapshot replaces. */
  readonly committed: Chain;
}

interface Handed {
  readonly apply: (log: LoggedState) => void;
  isDone: boolean;
}

/** What a copied disk may hold: all that was durable, and any first part of the rest. */
export interface LedgerCopy {
  readonly durable: LoggedState;
  readonly unacknowledged: readonly Handed["apply"][];
}

/** A log with what belongs to it. */
export class LoggedState {
  readonly chain = new Chain();
  hardState: StoredHardState | undefined;
  /** Terms by index, for entries that are known. */
  readonly terms: number[] = [];
}

/** The account of one node over all its runs. */
export class NodeLedger {
  readonly node: NodeId;
  /** As handed to the store. */
  handed = new LoggedState();
  /** Index of the last membership change among those entries. */
  lastConfIndex = 0;
  /** As acknowledged by the store. */
  durable = new LoggedState();
  /**
   * By term: the last index that was ever durable while that term was. Batches that are synced
   * together become durable in their order, although only what the last one left can be seen.
   */
  #reach = new Map<number, number>();
  /** What was durable and was destroyed with the disk: it had been promised rightly. */
  ghost: Chain | undefined;
  readonly #host: LedgerHost;
  #pending: Handed[] = [];

  constructor(node: NodeId, host: LedgerHost) {
    this.node = node;
    this.#host = host;
  }

  /** `store` with everything noted that `process` does with it. */
  watch(store: LogStore, process: SimProcess): LogStore {
    return {
      recovered: store.recovered,
      append: (batch) => (process.isAlive ? this.#append(store, batch) : store.append(batch)),
      saveSnapshot: (meta, chunks) => {
        if (!process.isAlive) return store.saveSnapshot(meta, chunks);
        const { index, term } = meta;
        const replaces = this.handed.terms[index] !== term;
        if (!replaces) return store.saveSnapshot(meta, chunks);
        const apply = (log: LoggedState) => {
          log.chain.copyFrom(this.#host.committed, index);
          log.terms.length = index;
          log.terms[index] = term;
        };
        return this.#hand(apply, store.saveSnapshot(meta, chunks));
      },
      readSnapshot: () => store.readSnapshot(),
      compact: (index) => store.compact(index),
      close: () => store.close(),
    };
  }

  /**
   * Compares what a run found with what had been acknowledged: nothing of that may be missing, and
   * nothing may be there that was never written.
   */
  recovered(found: RecoveredLog): void {
    const state = this.#find(found);
    must(state !== undefined, "durability", () => this.#describe(found));
    this.durable = state;
    this.handed = copyState(state);
    this.#pending = [];
    this.#reach = new Map();
    this.#noteReach();
    if (state.hardState !== undefined) this.#host.voteDurable(this, state.hardState);
  }

  /** The disk was emptied, or replaced by an older copy: what it held is gone. */
  destroyed(): void {
    this.ghost = this.durable.chain;
    this.durable = new LoggedState();
    this.handed = new LoggedState();
    this.#pending = [];
  }

  /** What a disk that is copied after a crash, and not started yet, may hold. */
  copy(): LedgerCopy {
    const unacknowledged = this.#pending.map(({ apply }) => apply);
    return { durable: copyState(this.durable), unacknowledged };
  }

  /** The disk holds again what it held at `copy`. */
  wentBackTo({ durable, unacknowledged }: LedgerCopy): void {
    this.ghost = this.durable.chain;
    this.durable = copyState(durable);
    this.handed = copyState(durable);
    this.#pending = unacknowledged.map((apply) => ({ apply, isDone: false }));
  }

  /** Whether the entry of `hash` at `index` is, or rightly was, durable here. */
  holds(index: number, hash: number): boolean {
    return this.durable.chain.at(index) === hash || this.ghost?.at(index) === hash;
  }

  /** Whether everything up to `index` was durable in `term`, or in one before it and still then. */
  hasReached(term: number, index: number): boolean {
    return (this.#reach.get(term) ?? -1) >= index;
  }

  #noteReach(): void {
    const { chain, hardState } = this.durable;
    const term = hardState?.term ?? 0;
    this.#reach.set(term, Math.max(this.#reach.get(term) ?? 0, chain.lastIndex));
  }

  #append(store: LogStore, batch: LogBatch): Promise<void> {
    const apply = (log: LoggedState) => {
      if (batch.hardState !== undefined) log.hardState = batch.hardState;
      for (const entry of batch.entries) {
        const hash = chainHash(log.chain.at(entry.index - 1) ?? 0, entry);
        log.chain.set(entry.index, hash);
        log.terms.length = entry.index;
        log.terms[entry.index] = entry.term;
      }
    };
    // The hard state first: an entry of a new term makes sense only with that term.
    if (batch.hardState !== undefined) this.handed.hardState = batch.hardState;
    for (const entry of batch.entries) {
      const before = this.handed.chain.at(entry.index - 1);
      must(before !== undefined, "log order", () => `node ${this.node}: gap at ${entry.index}`);
      const hash = chainHash(before, entry);
      this.#host.handed(this, entry, hash);
      this.handed.chain.set(entry.index, hash);
      if (entry.kind === ENTRY_CONF_CHANGE) this.lastConfIndex = entry.index;
      this.handed.terms.length = entry.index;
      this.handed.terms[entry.index] = entry.term;
    }
    return this.#handApplied(apply, store.append(batch), batch.hardState);
  }

  #hand(apply: (log: LoggedState) => void, done: Promise<void>): Promise<void> {
    apply(this.handed);
    return this.#handApplied(apply, done, undefined);
  }

  #handApplied(
    apply: (log: LoggedState) => void,
    done: Promise<void>,
    hardState: StoredHardState | undefined,
  ): Promise<void> {
    const handed: Handed = { apply, isDone: false };
    this.#pending.push(handed);
    return done.then(() => {
      handed.isDone = true;
      while (this.#pending[0]?.isDone) {
        this.#pending.shift()?.apply(this.durable);
        this.#noteReach();
      }
      if (hardState !== undefined) this.#host.voteDurable(this, hardState);
    });
  }

  /** The durable state plus some first part of what was not acknowledged, if that was found. */
  #find(found: RecoveredLog): LoggedState | undefined {
    const state = copyState(this.durable);
    if (isSame(state, found)) return state;
    for (const { apply } of this.#pending) {
      apply(state);
      if (isSame(state, found)) return state;
    }
    return undefined;
  }

  #describe(found: RecoveredLog): string {
    const { chain, hardState } = this.durable;
    const last = found.entries.at(-1);
    const there = `${last?.term ?? 0}/${last?.index ?? 0} ${JSON.stringify(found.hardState)}`;
    const wanted = `${chain.lastIndex} ${JSON.stringify(hardState)}`;
    const snapshot = `snapshot ${found.snapshot?.index}`;
    const pending = `${this.#pending.length} batches unacknowledged`;
    return `node ${this.node} found ${there}, ${snapshot}; durable was ${wanted}, ${pending}`;
  }
}

/** A copy that goes its own way. */
function copyState(state: LoggedState): LoggedState {
  const copy = new LoggedState();
  copy.chain.copyFrom(state.chain, state.chain.lastIndex);
  copy.hardState = state.hardState;
  copy.terms.push(...state.terms);
  return copy;
}

function isSame(state: LoggedState, found: RecoveredLog): boolean {
  const { hardState, chain } = state;
  const wanted = found.hardState;
  if (hardState?.term !== wanted?.term || hardState?.vote !== wanted?.vote) return false;
  if (hardState?.commit !== wanted?.commit) return false;
  const last = Math.max(found.entries.at(-1)?.index ?? 0, found.snapshot?.index ?? 0);
  if (chain.lastIndex !== last) return false;
  const first = found.entries[0];
  if (first === undefined) return true;
  let hash = chain.at(first.index - 1) ?? 0;
  for (const entry of found.entries) {
    hash = chainHash(hash, entry);
    if (chain.at(entry.index) !== hash) return false;
  }
  return true;
}
