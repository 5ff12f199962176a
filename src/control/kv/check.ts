/**
 * Comparing the replicas' states: a replica that computes something else than the others must not
 * go on serving it.
 *
 * Every replica notes the digest of its state after each `CHECK_INTERVAL_ENTRIES`th entry. The
 * leader puts its newest one into the log, and each voter then adds its own of the same entry.
 * Whoever finds that a majority of the voters has another digest than it has itself is the one
 * that went wrong, and ends. One voice is not enough, not even the leader's: a leader with a
 * flipped bit would otherwise end all the others.
 *
 *     noted at 5000 --leader's word in the log--> asked --word of each voter--> agreed, or diverged
 *
 * What is counted here is no part of the state: it decides only whether this replica lives. A
 * replica that started or was restored since has no digest of its own to compare, and counts
 * nothing. Pure.
 *
 * @module
 */
import { decodeIndex, type Index, type NodeId } from "../../base/ids.ts";
import { CHECK_DIGESTS_MAX, CHECK_INTERVAL_ENTRIES, CHECK_TALLIES_MAX } from "./limits.ts";
import { isCounter, isRecord, parseNodeNumber } from "./plain.ts";
import type { Command, CommandRefusal, StateCheckReader, StateDigest } from "./types.ts";

/** More voters than any cluster has; bounds what is kept of the words about one entry. */
const VOTERS_MAX = 16;
const HASH_PATTERN = /^[0-9a-f]{32}$/;

/** A voter's word about its state after the entry at `index`. */
export interface CheckState extends Command<CheckOutcome>, StateDigest {
  readonly kind: "check";
  readonly node: NodeId;
  /** Voters of the cluster, as `node` knows them. */
  readonly voterCount: number;
}

/** The same on every replica: what each makes of it is its own business. */
export type CheckOutcome = { readonly kind: "checked" } | CommandRefusal;

/** This replica's digest is not that of most voters. */
export interface Divergence {
  readonly index: Index;
  readonly own: string;
  readonly theirs: string;
  /** How many voters have `theirs`, of how many. */
  readonly count: number;
  readonly voterCount: number;
}

/** The word of `node`, a voter. */
export function checkState(
  digest: StateDigest,
  by: { readonly node: NodeId; readonly voterCount: number },
): CheckState {
  return { kind: "check", index: digest.index, hash: digest.hash, ...by };
}

/** The command that `value` is; undefined when it is none. */
export function parseCheckState(value: unknown): CheckState | undefined {
  if (!isRecord(value)) return undefined;
  const { index, hash, voterCount } = value;
  const node = parseNodeNumber(value["node"]);
  if (node === undefined || !isCounter(index) || !isCounter(voterCount)) return undefined;
  if (typeof hash !== "string" || !HASH_PATTERN.test(hash)) return undefined;
  if (voterCount < 1 || voterCount > VOTERS_MAX) return undefined;
  return { kind: "check", index: decodeIndex(index), hash, node, voterCount };
}

interface Tally {
  readonly hashes: Map<NodeId, string>;
  /** Largest that any word named: with fewer, a minority could count as a majority. */
  voterCount: number;
}

/** The digests of one replica, and what the voters say about them. */
export class StateChecks implements StateCheckReader {
  /** In the order of entries; the oldest go first. */
  readonly #digests = new Map<Index, StateDigest>();
  readonly #tallies = new Map<Index, Tally>();
  #latest: StateDigest | undefined;
  #asked: Index | undefined;
  #agreed: Index | undefined;

  get agreed(): Index | undefined {
    return this.#agreed;
  }

  get asked(): Index | undefined {
    return this.#asked;
  }

  latest(): StateDigest | undefined {
    return this.#latest;
  }

  at(index: Index): StateDigest | undefined {
    return this.#digests.get(index);
  }

  /** Notes the digest after the entry at `index` when it is one of those that are compared. */
  passed(index: Index, hash: () => string): void {
    if (index % CHECK_INTERVAL_ENTRIES !== 0) return;
    const digest: StateDigest = { index, hash: hash() };
    this.#digests.set(index, digest);
    this.#latest = digest;
    if (this.#digests.size > CHECK_DIGESTS_MAX) forgetFirst(this.#digests);
  }

  /** Counts a voter's word; says so when the majority has another digest than this replica. */
  take({ index, hash, node, voterCount }: CheckState): Divergence | undefined {
    if (this.#asked === undefined || index > this.#asked) this.#asked = index;
    const own = this.#digests.get(index);
    if (own === undefined) return undefined;
    const tally = this.#tallies.get(index) ?? { hashes: new Map<NodeId, string>(), voterCount };
    this.#tallies.set(index, tally);
    if (this.#tallies.size > CHECK_TALLIES_MAX) forgetFirst(this.#tallies);
    tally.voterCount = Math.max(tally.voterCount, voterCount);
    if (tally.hashes.size < VOTERS_MAX) tally.hashes.set(node, hash);
    let count = 0;
    for (const each of tally.hashes.values()) if (each === hash) count += 1;
    if (count * 2 <= tally.voterCount) return undefined;
    if (hash === own.hash) {
      if (this.#agreed === undefined || index > this.#agreed) this.#agreed = index;
      return undefined;
    }
    return { index, own: own.hash, theirs: hash, count, voterCount: tally.voterCount };
  }

  /** Forgets everything: the state was replaced. */
  reset(): void {
    this.#digests.clear();
    this.#tallies.clear();
    this.#latest = undefined;
    this.#asked = undefined;
    this.#agreed = undefined;
  }
}

/** The first key of a map is the one that was set first. */
function forgetFirst<Key>(map: Map<Key, unknown>): void {
  for (const key of map.keys()) {
    map.delete(key);
    return;
  }
}
