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
  /** Cluster version that all members must have reached to read it (cluster-version.ts). */
  readonly needs?: number;
  /** Never present at run time: it only carries the outcome's type to the caller. */
  readonly [outcomeType]?: Outcome;
}

/**
 * What any command may yield instead of its own outcome: the content is not what the kind needs,
 * or the request id is too old to tell whether it was applied (it was not applied by this entry).
 */
export type CommandRefusal =
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

/** After how long without a write or a renewal a key is deleted. */
export interface KeyTtl {
  /** A minimum: the key goes some time after it. */
  readonly seconds: number;
  /** Log index of the entry that granted or last renewed it; an expiry is of one epoch only. */
  readonly epoch: Index;
}

export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** Writes since the key was created; 1 for a new key. */
  readonly version: number;
  /** Absent: the key stays until somebody deletes it. */
  readonly ttl?: KeyTtl;
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

/**
 * The events of the last revisions. Kept by each node for itself: a restore empties it, and a
 * compaction takes from it on all nodes.
 */
export interface KvHistory {
  /**
   * Oldest revision that can be read, and after which everything can be watched: the events of
   * all later ones are known.
   */
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
   * Keys that start with `prefix`, and come after the key `after` if there is one, ascending by
   * UTF-16 code units, as they are when the iteration begins: later changes do not disturb it.
   */
  list(prefix: string, after?: string): Iterable<KeyValue>;
}

/** Write access while one command is applied; every change gets the same new revision. */
export interface KvWriter extends KvReader {
  /** What every change of this command gets as its revision. */
  readonly changeRevision: Revision;
  /** Whether there is a change so far, all in all. Renewals are none: they make no revision. */
  readonly changed: boolean;
  /** Nothing before it is kept for watches and reads of the past. */
  readonly compactRevision: Revision;
  /**
   * Copies `value`. Without `ttlSeconds` the key stays for good, whatever it had before. Asserts on
   * a key or value beyond the limits: the handler checks them.
   */
  put(key: string, value: Uint8Array, ttlSeconds?: number): void;
  /**
   * Starts the time to live of `key` again, with `ttlSeconds` instead of the old one if given.
   * Undefined, and nothing done, when there is no such key or it has no time to live.
   */
  renew(key: string, ttlSeconds?: number): KeyTtl | undefined;
  /** Whether the key existed. */
  delete(key: string): boolean;
  /** Undoes every change of this command so far. */
  revert(): void;
  /** Raises `compactRevision`, which must not lie ahead of the store; never lowers it. */
  compact(revision: Revision): void;
}

/** Applies one kind of command. Pure: the same inputs give the same writes and outcome. */
export type CommandHandler = (writer: KvWriter, command: Command, context: ApplyContext) => unknown;

/** The replicated state machine as its driver sees it. */
export interface StateMachine {
  readonly reader: KvReader;
  readonly history: KvHistory;
  /** Index of the last applied entry; 0 at first. */
  readonly appliedIndex: Index;
  /**
   * Applies the entry at `context.index`, which must follow `appliedIndex`. Throws `HostError` when
   * the command is none that this program knows, or most voters have another state than this
   * replica: it must not be used any more.
   */
  apply(command: Command, context: ApplyContext): Applied;
  /** Records that the entry at `index` (a membership change or a leader's empty one) passed. */
  skip(index: Index): void;
  /**
   * The whole state at this moment as plain parts, each encoding to well under 1 MiB. The iterable
   * stays valid and unchanged while further entries are applied.
   */
  snapshot(): Iterable<SnapshotPart>;
  /** Replaces the whole state. Returns undefined when done, or why the parts are not usable. */
  restore(parts: Iterable<SnapshotPart>): string | undefined;
  /** The same part by part: nothing is replaced before its `end`. */
  restoration(): Restoration;
  /** Hexadecimal digest of the state, equal on all replicas at the same index. */
  hash(): string;
}

/** Takes a snapshot's parts in order. After a problem it is of no more use. */
export interface Restoration {
  /** Undefined, or why the parts are not usable. */
  take(part: SnapshotPart): string | undefined;
  /**
   * Undefined, or why it is not the state after entry `index`, or why `end` would refuse. Changes
   * nothing; to be asked after the last part.
   */
  check(index: Index): string | undefined;
  /** Replaces the whole state. Undefined when done, or why the parts are not usable. */
  end(): string | undefined;
}

/** The state machine as the one sees it who keeps the store in order (expiry, checks). */
export interface KvMachine extends StateMachine {
  /** Keys that have a time to live. */
  readonly ttls: ReadonlyMap<string, KeyTtl>;
  /** What this replica knows for comparing its state with the others'. */
  readonly checks: StateCheckReader;
  /**
   * Goes on from `revision`, with nothing known of before. Not by the log: only for a state that
   * is to begin another cluster, where no other replica has it.
   */
  advance(revision: Revision): void;
}

/** The digest of a replica's state after one entry. */
export interface StateDigest {
  readonly index: Index;
  readonly hash: string;
}

/** The digests that this replica has noted, each at the same entries as all others do. */
export interface StateCheckReader {
  /** Newest digest. */
  latest(): StateDigest | undefined;
  /** The digest after the entry at `index`, if it was noted and is not forgotten. */
  at(index: Index): StateDigest | undefined;
  /** Newest entry about which some voter has told its digest. */
  readonly asked: Index | undefined;
  /** Newest entry after which a majority of the voters had the same state as this replica. */
  readonly agreed: Index | undefined;
}

/** Plain data; only the state machine that made it reads it. */
/**
 * A piece of a snapshot, plain data. Who makes it does not change it any more: its byte strings
 * become values of the state that takes it.
 */
export type SnapshotPart = Readonly<Record<string, unknown>>;
