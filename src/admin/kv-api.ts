/**
 * What the routes of the store need of the agent, and the shapes of their answers.
 *
 * The routes work on the store's own types (control/kv); the agent lends the replicated state of
 * the cluster that the node is in at the moment.
 *
 * @module
 */
import type { Result } from "../base/result.ts";
import type { Compact, CompactOutcome } from "../control/kv/compact.ts";
import type { Txn, TxnOutcome } from "../control/kv/txn.ts";
import type { KvHistory, KvReader, RevisionEvents } from "../control/kv/types.ts";
import type { WatchCursor, WatchStep } from "../control/kv/watch.ts";
import type { ClusterFailure } from "./service.ts";

/**
 * `linearizable`: holds every write that was acknowledged before the question. `serializable`: as
 * this node knows it, which may be old; asks nobody.
 */
export type Consistency = "linearizable" | "serializable";

/** The state of this moment: to be read before anything is awaited. */
export interface KvState {
  readonly reader: KvReader;
  readonly history: KvHistory;
}

/** The store as routes see it. */
export interface KvApi {
  read(consistency: Consistency): Promise<Result<KvState, ClusterFailure>>;
  txn(command: Txn): Promise<Result<TxnOutcome, ClusterFailure>>;
  compact(command: Compact): Promise<Result<CompactOutcome, ClusterFailure>>;
  /** Begins a watch; fails when there are too many. Whoever opens it closes it. */
  watch(cursor: WatchCursor): Result<Watch, ClusterFailure>;
}

/** One watch that goes on as the store changes. Holds nothing back: who does not ask, waits. */
export interface Watch {
  /** What comes next, when it comes. Asked one at a time; the last is `compacted` or `ended`. */
  next(): Promise<WatchItem>;
  /** Ends it; a question that waits is answered `ended`. */
  close(): void;
}

export type WatchItem =
  /** Changes under the prefix, ascending; all those of a revision are in one item. */
  | { readonly kind: "events"; readonly batches: readonly RevisionEvents[] }
  /** Everything up to `revision` was in the items before. */
  | { readonly kind: "bookmark"; readonly revision: number }
  /** Nothing to say for a while, but the watch lives. */
  | { readonly kind: "idle" }
  | Extract<WatchStep, { readonly kind: "compacted" }>
  /** The agent stops, or the node moves to another cluster. */
  | { readonly kind: "ended" };

/** A value in JSON: UTF-8 text as it is, anything else as `{"base64": "…"}`. */
export type ValueView = string | { readonly base64: string };

export interface ItemView {
  readonly key: string;
  readonly value: ValueView;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  /** Absent: the key stays until somebody deletes it. */
  readonly ttlSeconds?: number | undefined;
}

export interface ListView {
  /** Of the store when it was read. */
  readonly revision: number;
  readonly items: readonly ItemView[];
  /** Whether keys come after the last item; to be had with `after`. */
  readonly more: boolean;
}

/** Answer to a write. */
export interface WriteView {
  readonly revision: number;
}

export type ResultView =
  | { readonly op: "put" }
  /** Null: there is no such key, or it stays for good. */
  | { readonly op: "renew"; readonly ttlSeconds: number | null }
  | { readonly op: "get"; readonly item: ItemView | null }
  | { readonly op: "range"; readonly items: readonly ItemView[]; readonly more: boolean }
  | { readonly op: "delete" | "deletePrefix"; readonly deleted: number };

export interface TxnView {
  /** Whether every comparison held, so that `success` was done and not `failure`. */
  readonly succeeded: boolean;
  readonly revision: number;
  /** One for each operation done, in order. */
  readonly results: readonly ResultView[];
}

/** Data of the server-sent events `put`, `delete` and `bookmark`. */
export interface PutEventView extends ItemView {
  /** What the key was before, if asked for; null: it was not there. */
  readonly previous?: ItemView | null | undefined;
}

export interface DeleteEventView {
  readonly key: string;
  readonly revision: number;
  readonly previous?: ItemView | undefined;
}

export interface BookmarkView {
  readonly revision: number;
}
