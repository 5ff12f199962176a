/**
 * Bugs made on purpose: one change of the source each, such as others have shipped. A simulator
 * that does not find them within some seeds would not find the next one either.
 *
 * The change is made while the module is loaded (`scripts/sim.ts --mutant`), so the program has no
 * switches for it. A text that is not there any more is an error: the bug must then be put
 * elsewhere.
 *
 * @module
 */
import type { Profile, Scenario } from "./scenario.ts";

/** One change of the source. */
export interface Edit {
  /** Below the top of the repository. */
  readonly file: string;
  /** Occurs once in the file. */
  readonly find: string;
  readonly replace: string;
}

/** One bug. */
export interface Mutant extends Edit {
  readonly name: string;
  /** What the program does wrong with it. */
  readonly breaks: string;
  readonly profile: Profile;
  /** It must be found within so many seeds. */
  readonly seedsMax: number;
  /** Changes every scenario, towards where the bug lives. */
  readonly scenario?: Partial<Scenario>;
  /**
   * Further changes: the rest of the bug, or such as are right by themselves and without which it
   * has no effect (the program is more careful than it must be; another version may not be).
   */
  readonly also?: readonly Edit[];
}

const RAFT = "src/control/raft";
const KV = "src/control/kv";
const CLUSTER = "src/control/cluster";
const WAL = "src/host/wal";

const ELECTION_MUTANTS: readonly Mutant[] = [
  {
    name: "learner-refuses-vote",
    breaks: "a learner that does not know of its promotion refuses its vote (etcd #10998)",
    file: `${RAFT}/vote.ts`,
    find: "const granted = canVote(core, request) &&",
    replace: "const granted = isVoter(core.membership, core.id) && canVote(core, request) &&",
    profile: "membership",
    seedsMax: 200,
  },
  {
    name: "vote-for-short-log",
    breaks: "votes are given to candidates that lack committed entries (§3.6.1)",
    file: `${RAFT}/vote.ts`,
    find: " && core.log.isUpToDate(request.last)",
    replace: "",
    profile: "elections",
    seedsMax: 200,
  },
  {
    name: "two-votes-a-term",
    breaks: "a node votes for whoever asks, several times a term (§3.4)",
    file: `${RAFT}/vote.ts`,
    find: "if (core.vote === request.from) return true;",
    replace: 'if (request.round === "vote") { core.vote = undefined; return true; }',
    profile: "elections",
    seedsMax: 60,
  },
  {
    name: "lose-vote-on-restart",
    breaks: "the vote is forgotten when a node restarts (§3.8)",
    file: `${CLUSTER}/recovery.ts`,
    find: "vote: stored.vote === 0 ? undefined : decodeNodeId(stored.vote),",
    replace: "vote: undefined,",
    profile: "elections",
    seedsMax: 200,
  },
  {
    name: "stand-before-own-vote",
    breaks: "a candidate asks before its own vote is durable, and may forget that it led (§3.8)",
    file: `${CLUSTER}/candidacy.ts`,
    find: 'message.round === "vote"',
    replace: 'message.round === "vote" && message.term < 0',
    profile: "elections",
    seedsMax: 5,
  },
  {
    name: "no-check-quorum",
    breaks: "a leader that hears nobody goes on leading (§6.2)",
    file: `${CLUSTER}/raft-config.ts`,
    find: "checkQuorum: true,",
    replace: "checkQuorum: false,",
    profile: "elections",
    seedsMax: 100,
  },
];

const REPLICATION_MUTANTS: readonly Mutant[] = [
  {
    name: "count-prior-terms",
    breaks: "entries of earlier terms are committed by counting copies (Figure 3.7)",
    file: `${RAFT}/replicate.ts`,
    find: "if (core.log.term(index) !== core.term) return false;",
    replace: "",
    profile: "schedules",
    seedsMax: 100,
    scenario: { voterCount: 3, faults: ["directed.new-leaders-die", "load.write-burst"] },
  },
  {
    name: "acknowledge-before-sync",
    breaks: "votes and acknowledgements leave before the disk has what they vouch for (§3.8)",
    file: `${RAFT}/ready-batch.ts`,
    find: "const responses = own === undefined ? vouching : [...vouching, own];",
    replace: "messages.push(...vouching); const responses = own === undefined ? [] : [own];",
    profile: "calm",
    seedsMax: 5,
  },
  {
    name: "durable-before-sync",
    breaks: "the driver takes a write for durable when it is handed in",
    file: `${CLUSTER}/requests/append-queue.ts`,
    find: "await Promise.all(steps);",
    replace: "void Promise.all(steps).catch(() => undefined);",
    profile: "calm",
    seedsMax: 5,
  },
  {
    name: "leader-counts-unsynced",
    breaks: "a leader counts its own entries before they are on its disk (etcd #14370)",
    file: `${RAFT}/replicate.ts`,
    find: "leader.progress.get(node)?.match)",
    replace: "node === core.id ? core.log.lastIndex() : leader.progress.get(node)?.match)",
    profile: "elections",
    seedsMax: 60,
  },
  {
    name: "majority-of-half",
    breaks: "half of the voters passes for a majority",
    file: `${RAFT}/quorum.ts`,
    find: "return Math.floor(count / 2) + 1;",
    replace: "return Math.ceil(count / 2);",
    profile: "elections",
    seedsMax: 60,
  },
  {
    name: "no-consistency-check",
    breaks: "a follower takes entries without looking at the one before them (§3.5)",
    file: `${RAFT}/log.ts`,
    find: "if (!this.matches(previous)) return undefined;",
    replace: "if (previous.index > this.lastIndex()) return undefined;",
    profile: "schedules",
    seedsMax: 100,
    scenario: { voterCount: 3, faults: ["directed.long-tail"] },
  },
  {
    name: "commit-beyond-match",
    breaks: "a follower commits what the leader has, not what both have",
    file: `${RAFT}/follower.ts`,
    find: "Math.min(request.commit, matched)",
    replace: "Math.min(request.commit, log.lastIndex())",
    // By itself it has no effect: our leader finds the last entry that both logs have exactly, and
    // its next message replaces whatever follows there. A leader may as well begin earlier and send
    // one entry at a time; then the follower still has its own tail when the commit index comes.
    also: [
      {
        file: `${RAFT}/replicate.ts`,
        find: "if (!progress.maybeDecrease(index, probeIndex)) return;",
        replace:
          "if (!progress.maybeDecrease(index, decodeIndex(Math.max(progress.match, probeIndex - 4)))) return;",
      },
      {
        file: `${RAFT}/replicate.ts`,
        find: "core.log.entriesFrom(progress.next, core.config.messageSizeMaxBytes)",
        replace:
          'core.log.entriesFrom(progress.next, progress.kind === "probe" ? 1 : core.config.messageSizeMaxBytes)',
      },
    ],
    profile: "schedules",
    seedsMax: 100,
    scenario: { voterCount: 3, snapshotEntries: undefined, faults: ["directed.long-tail"] },
  },
  {
    name: "heartbeat-commits-all",
    breaks: "heartbeats carry a commit index that the follower may not have",
    file: `${RAFT}/heartbeat.ts`,
    find: "Math.min(progress.match, core.log.committed)",
    replace: "core.log.committed",
    profile: "elections",
    seedsMax: 60,
  },
];

const READ_MUTANTS: readonly Mutant[] = [
  {
    name: "read-without-quorum",
    breaks: "a deposed leader answers linearizable reads (§6.4)",
    file: `${RAFT}/reads.ts`,
    find: 'core.config.readOnly === "lease_based" || isOnlyVoter(core)',
    replace: "true",
    profile: "elections",
    seedsMax: 400,
  },
  {
    name: "read-before-own-term",
    breaks: "a new leader answers reads before it has committed in its term (§6.4)",
    file: `${RAFT}/reads.ts`,
    find: "if (core.log.term(core.log.committed) !== core.term) {",
    replace: "if (core.log.committed < 0) {",
    profile: "elections",
    seedsMax: 200,
  },
  {
    name: "read-confirmed-by-old-answer",
    breaks: "any answer to a heartbeat confirms every read that waits (raft #397)",
    file: `${RAFT}/read-index.ts`,
    find: "this.#acked.set(node, context);",
    replace: "this.#acked.set(node, newest);",
    profile: "schedules",
    seedsMax: 100,
    scenario: { voterCount: 3, faults: ["directed.slow-answers"] },
  },
  {
    name: "read-context-reused",
    breaks: "a node that restarts uses the contexts of its last run again (etcd #20418)",
    file: `${CLUSTER}/requests/read-barrier.ts`,
    find: "random.below(RUN_COUNT) * CONTEXTS_PER_RUN",
    replace: "0",
    profile: "schedules",
    seedsMax: 200,
    scenario: { voterCount: 3, faults: ["directed.restart-amid-read"] },
  },
  {
    name: "read-before-applied",
    breaks: "a confirmed read does not wait until its index is applied",
    file: `${CLUSTER}/requests/read-barrier.ts`,
    find: "(round) => round.index <= appliedIndex",
    replace: "(round) => round.index <= appliedIndex + 1",
    profile: "elections",
    seedsMax: 100,
  },
];

const STATE_MUTANTS: readonly Mutant[] = [
  {
    name: "retry-applied-twice",
    breaks: "a repeated request is applied again",
    file: `${KV}/state-machine.ts`,
    find: "if (known !== undefined) {",
    replace: "if (known !== undefined && request === undefined) {",
    profile: "elections",
    seedsMax: 60,
  },
  {
    name: "applied-index-ahead",
    breaks: "a snapshot says that it holds one entry more than it does (etcd #13766)",
    file: `${KV}/state-machine.ts`,
    find: "index: this.#appliedIndex,\n      revision",
    replace: "index: decodeIndex(this.#appliedIndex + 1),\n      revision",
    profile: "elections",
    seedsMax: 60,
  },
  {
    name: "expiry-ignores-renewal",
    breaks: "a leader's order to end a lease holds although the lease was renewed (etcd #15247)",
    file: "src/control/network/apply-leases.ts",
    find: " || lease.epoch !== epoch",
    replace: "",
    profile: "leases",
    seedsMax: 600,
    scenario: { faults: ["directed.renewal-race"] },
  },
  {
    name: "stale-leader-revokes",
    breaks: "a leader that slept ends leases which were renewed under its successor (etcd #13294)",
    file: "src/control/network/apply-leases.ts",
    find: "if (context.term !== command.term) return",
    replace: "if (context.term < command.term) return",
    also: [
      {
        file: "src/control/network/apply-leases.ts",
        find: " || lease.epoch !== epoch",
        replace: " || (lease.epoch !== epoch && context.term === command.term)",
      },
    ],
    profile: "leases",
    seedsMax: 800,
    scenario: { faults: ["directed.renewal-race"] },
  },
  {
    name: "key-expiry-ignores-renewal",
    breaks: "a leader's order to end a key holds although the key was renewed or written",
    file: `${KV}/expire-keys.ts`,
    find: "if (writer.get(key)?.ttl?.epoch !== epoch) continue;",
    replace: "if (writer.get(key)?.ttl === undefined || epoch < 0) continue;",
    profile: "leases",
    seedsMax: 60,
    scenario: { ttlKeyCount: 12, faults: ["disk.stuck", "net.throttle"] },
  },
  {
    name: "new-leader-trusts-old-deadlines",
    breaks: "a new leader ends what it knows of at once, renewals on their way or not",
    file: `${KV}/deadline-clock.ts`,
    find: "return Math.max(timer.notedAtMs, sinceMs) + timer.ttlMs;",
    replace: "return Math.min(timer.notedAtMs, sinceMs) + timer.ttlMs;",
    profile: "leases",
    seedsMax: 60,
  },
  {
    name: "expiry-by-old-clock",
    breaks: "leases run out by the time at which they were granted, renewed or not",
    file: `${KV}/deadline-clock.ts`,
    find: "notedAtMs: nowMs,",
    replace: "notedAtMs: this.#timers.get(key)?.notedAtMs ?? nowMs,",
    profile: "leases",
    seedsMax: 60,
  },
  {
    name: "held-lease-given-away",
    breaks: "a subnet that another node holds may be handed out",
    file: "src/control/network/allocate.ts",
    find: 'book.get(subnet)?.state !== "held" &&',
    replace: "",
    profile: "leases",
    seedsMax: 60,
    scenario: {
      voterCount: 5,
      leaseNetwork: "10.9.0.0/26",
      faults: ["directed.holder-away"],
      chaosMs: 90_000,
    },
  },
];

const MEMBERSHIP_MUTANTS: readonly Mutant[] = [
  {
    name: "two-changes-at-once",
    breaks: "a membership change is proposed before the last one is applied (§4.1)",
    file: `${RAFT}/propose.ts`,
    find: "if (leader.pendingConfIndex > applied) {",
    replace: "if (leader.pendingConfIndex < 0) {",
    profile: "membership",
    seedsMax: 200,
  },
  {
    name: "snapshot-waits-for-writes",
    breaks:
      "a snapshot that waited for a transfer to resume is made only when something is applied",
    file: `${CLUSTER}/driver.ts`,
    find: "this.#snapshots.tick();\n",
    replace: "",
    profile: "membership",
    seedsMax: 300,
    scenario: {
      voterCount: 3,
      isAutopilot: true,
      snapshotEntries: undefined,
      ttlKeyCount: 0,
      faults: ["member.join", "net.isolate", "net.break", "net.split"],
    },
  },
  {
    name: "outgoing-half-ignored",
    breaks: "a joint membership decides by its incoming half alone (§4.3)",
    file: `${RAFT}/quorum.ts`,
    find: "if (quorum.votersOutgoing.length === 0) return incoming;",
    replace: "if (quorum.votersOutgoing.length >= 0) return incoming;",
    profile: "membership",
    seedsMax: 100,
  },
];

const DISK_MUTANTS: readonly Mutant[] = [
  {
    name: "wal-checksum-ignored",
    breaks: "a damaged frame of the log is believed",
    file: `${WAL}/segment-scan.ts`,
    find: 'if (found.view.getUint32(found.offset, true) !== crc) return this.#halt({ kind: "checksum" });',
    replace: "",
    profile: "damage",
    seedsMax: 300,
  },
  {
    name: "wal-later-batch-ignored",
    breaks: "damage in the middle of the log is taken for a torn end, and dropped",
    file: `${WAL}/recovery.ts`,
    find: "if (latestBatch !== undefined && latestBatch !== expected) {",
    replace: "if (latestBatch !== undefined && latestBatch < 0) {",
    profile: "damage",
    seedsMax: 200,
  },
  {
    name: "wal-names-not-synced",
    breaks: "a new segment's name may be lost with the power",
    file: `${WAL}/segment-file.ts`,
    find: "await disk.syncDirectory(directory);\n  return { file, path, segment: { header, crc } };",
    replace: "return { file, path, segment: { header, crc } };",
    profile: "disk",
    seedsMax: 200,
  },
  {
    name: "wal-found-but-unsynced",
    breaks: "what a start finds in the page cache is acted upon before it is on the disk",
    file: `${WAL}/recovery.ts`,
    find: "        await handle.sync();\n        this.#segments",
    replace: "        this.#segments",
    profile: "disk",
    seedsMax: 500,
  },
  {
    name: "snapshots-share-a-body",
    breaks: "of two snapshots on a slow disk the first is installed with the state of the second",
    file: `${CLUSTER}/snapshots/snapshots.ts`,
    find: "this.#installing = [...this.#installing, incoming];",
    replace: "this.#installing = [incoming];",
    profile: "schedules",
    seedsMax: 100,
    scenario: { voterCount: 3, snapshotEntries: 10, faults: ["directed.two-snapshots"] },
  },
];

/** All of them. */
export const MUTANTS: readonly Mutant[] = [
  ...ELECTION_MUTANTS,
  ...REPLICATION_MUTANTS,
  ...READ_MUTANTS,
  ...STATE_MUTANTS,
  ...MEMBERSHIP_MUTANTS,
  ...DISK_MUTANTS,
];

/** The bug of this name. Throws when there is none. */
export function findMutant(name: string): Mutant {
  const mutant = MUTANTS.find((each) => each.name === name);
  if (mutant !== undefined) return mutant;
  const known = MUTANTS.map((each) => each.name).join(", ");
  throw new Error(`Cannot make the bug "${name}": known are ${known}`);
}

/** `text` of the file of `edit`, changed. Throws when the place is not there exactly once. */
export function editedText(text: string, { file, find, replace }: Edit): string {
  const parts = text.split(find);
  if (parts.length === 2) return parts.join(replace);
  const count = parts.length - 1;
  throw new Error(`Cannot change ${file}: "${find}" is there ${count} times; change mutants.ts`);
}
