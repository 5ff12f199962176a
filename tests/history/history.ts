/**
 * What was seen of a cluster from outside: every request with its answer, every watch with its
 * events. The checkers take nothing else.
 *
 * @module
 */
import type { Told, Transaction } from "./transaction.ts";

/**
 * `refused`: the answer says that it has not happened and never will. `unknown`: no answer, or one
 * that leaves it open.
 */
export type CallOutcome =
  | { readonly kind: "told"; readonly told: Told }
  | { readonly kind: "refused" | "unknown"; readonly why: string };

/**
 * Where an answer stands in the order of the store: `linear` ones follow real time, `local` ones
 * only what their node said before, `past` ones were asked for at a revision.
 */
export type Consistency = "linear" | "local" | "past";

export interface Call {
  readonly id: number;
  readonly node: string;
  /** Of the agent that was asked: counts its starts. */
  readonly run: number;
  readonly consistency: Consistency;
  readonly transaction: Transaction;
  /** Milliseconds, as in all of a history. */
  readonly callTime: number;
  readonly returnTime: number;
  readonly outcome: CallOutcome;
  /** The keys written are deleted this long after they were last put. */
  readonly ttlMs?: number;
}

/** One event as a watch told it. */
export interface WatchedEvent {
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
  readonly revision: number;
  /** What the key was before, when the watch asked for it; null: it was not there. */
  readonly previous?: { readonly value: string; readonly revision: number } | null;
  /** Of a put. */
  readonly version?: number;
  readonly createRevision?: number;
  /** When it came. */
  readonly time: number;
  /** It carried the id: the last one of its revision. */
  readonly isLast: boolean;
}

export interface WatchedBookmark {
  readonly revision: number;
  /** How many events came before it. */
  readonly position: number;
}

/** One connection of a watch, from the revision after which it was asked for. */
export interface WatchSession {
  readonly watcher: string;
  readonly node: string;
  readonly prefix: string;
  readonly after: number;
  readonly events: readonly WatchedEvent[];
  readonly bookmarks: readonly WatchedBookmark[];
}

/** What a node had at the end, when nothing was going on any more. */
export interface FinalState {
  readonly node: string;
  readonly revision: number;
  readonly items: readonly {
    readonly key: string;
    readonly value: string;
    readonly modRevision: number;
    readonly createRevision: number;
    readonly version: number;
  }[];
}

export interface History {
  readonly calls: readonly Call[];
  readonly sessions: readonly WatchSession[];
  readonly finals: readonly FinalState[];
  /** Everything before and at it is not looked at: the cluster was being made. */
  readonly startRevision: number;
  /** Keys outside of it are the system's; what happens there is taken as it is. */
  readonly prefix: string;
}

/** A promise that was broken. */
export interface Finding {
  /** Which promise. */
  readonly check: string;
  readonly message: string;
}

/** Long values take much memory in a history; a digest of one tells as much. */
const VALUE_KEPT_LENGTH_MAX = 40;

/** `value` as a history keeps it. */
export function shorten(value: string): string {
  if (value.length <= VALUE_KEPT_LENGTH_MAX) return value;
  return `${value.slice(0, 16)}…${value.length}:${Bun.hash(value).toString(36)}`;
}
