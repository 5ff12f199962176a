/**
 * The vocabulary of the replicated store: keys, commands, outcomes, events, and the state machine
 * as its driver sees it.
 *
 * Commands and outcomes are plain data (numbers, strings, booleans, byte arrays, arrays, records):
 * the driver encodes them for the log and for other nodes without knowing what they mean.
 *
 * @module
 */
import type { Index, NodeId, Revision, Term } from "../../base/ids.ts";

declare const outcomeType: unique symbol;

/**
 * One write, as it goes through the log. `kind` picks the handler; `Outcome` is what applying it
 * yields, the same on every replica.
 */
export interface Command<Outcome = unknown> {
  readonly kind: string;
  /** Never present at run time: it only carries the outcome's type to the caller. */
  readonly [outcomeType]?: Outcome;
}

/**
 * What any command may yield instead of its own outcome: this version does not know the kind, the
 * content is not what the kind needs, or the request id is too old to tell whether it was applied
 * (it was not applied by this entry).
 */
export type CommandRefusal =
  | { readonly kind: "unknown_command" }
  | { readonly kind: "malformed_command" }
  | { readonly kind: "request_forgotten" };

/** Makes a retry of the same write harmless: applied once, answered twice. */
export interface RequestId {
  readonly client: NodeId;
  readonly sequence: number;
}

/** What applying sees beside the command; stamped by the leader, identical on every replica. */
export interface ApplyContext {
  readonly index: Index;
  readonly term: Term;
  /** The proposer's wall clock, milliseconds since 1970. For display and token life only. */
  readonly proposedAtMs: number;
  readonly request: RequestId | undefined;
}

export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** Writes since the key was created; 1 for a new key. */
  readonly version: number;
}

/** One change of one key; all events of one revision belong together. */
export type KvEvent =
  | { readonly kind: "put"; readonly current: KeyValue; readonly previous: KeyValue | undefined }
  | {
      readonly kind: "delete";
      readonly key: string;
      readonly revision: Revision;
      readonly previous: KeyValue;
    };

/** All events of one revision: whoever is told of one is told of all, together. */
export interface RevisionEvents {
  readonly revision: Revision;
  readonly events: readonly KvEvent[];
}

/** The events of the last revisions. Kept by each node for itself: a restore empties it. */
export interface KvHistory {
  /** The events of this and all later revisions are known. */
  readonly oldestRevision: Revision;
  /** The events from `revision` on, ascending, without a gap; undefined when some are forgotten. */
  from(revision: Revision): Iterable<RevisionEvents> | undefined;
}

/** What one applied entry did. */
export interface Applied {
  /** The command's outcome, or the remembered one when the request was applied before. */
  readonly outcome: unknown;
  /** Store revision after the entry; unchanged when nothing was modified. */
  readonly revision: Revision;
  readonly events: readonly KvEvent[];
}

/** Read access to the current state. */
export interface KvReader {
  /** Of the last modifying command; while one is applied, that of the one before it. */
  readonly revision: Revision;
  get(key: string): KeyValue | undefined;
  /**
   * Keys that start with `prefix`, ascending by UTF-16 code units, as they are when the iteration
   * begins: later changes do not disturb it.
   */
  list(prefix: string): Iterable<KeyValue>;
}

/** Write access while one command is applied; every change gets the same new revision. */
export interface KvWriter extends KvReader {
  /** What every change of this command gets as its revision. */
  readonly changeRevision: Revision;
  /** Whether there is a change so far, all in all. */
  readonly changed: boolean;
  /** Copies `value`. Asserts on a key or value beyond the limits: the handler checks them. */
  put(key: string, value: Uint8Array): void;
  /** Whether the key existed. */
  delete(key: string): boolean;
  /** Undoes every change of this command so far. */
  revert(): void;
}

/** Applies one kind of command. Pure: the same inputs give the same writes and outcome. */
export type CommandHandler = (writer: KvWriter, command: Command, context: ApplyContext) => unknown;

/** The replicated state machine as its driver sees it. */
export interface StateMachine {
  readonly reader: KvReader;
  readonly history: KvHistory;
  /** Index of the last applied entry; 0 at first. */
  readonly appliedIndex: Index;
  /** Applies the entry at `context.index`, which must follow `appliedIndex`. */
  apply(command: Command, context: ApplyContext): Applied;
  /** Records that the entry at `index` (a membership change or a leader's empty one) passed. */
  skip(index: Index): void;
  /**
   * The whole state at this moment as plain parts, each encoding to well under 1 MiB. The iterable
   * stays valid and unchanged while further entries are applied.
   */
  snapshot(): Iterable<SnapshotPart>;
  /** Replaces the whole state. Returns undefined when done, or why the parts are not usable. */
  restore(parts: readonly SnapshotPart[]): string | undefined;
  /** Hexadecimal digest of the state, equal on all replicas at the same index. */
  hash(): string;
}

/** Plain data; only the state machine that made it reads it. */
export type SnapshotPart = Readonly<Record<string, unknown>>;
