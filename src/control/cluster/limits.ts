/**
 * Limits and intervals of the cluster, each with its unit and its reason.
 *
 * All are implementation choices. Relations between them are asserted by `assertLimits`.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** etcd's tick: short enough for an election in one to two seconds, long enough to idle. */
export const TICK_MS = 100;
/**
 * Three heartbeats fit into one election timeout, so two may be lost. Each costs four times
 * 0.2 ms of CPU (TLS, both ways, both ends): 0.3 % of a core on a leader with two followers.
 */
export const HEARTBEAT_TICKS = 3;
/**
 * Ticks are taken in batches as long as a heartbeat: an idle agent then wakes three times a second
 * and not ten. A silent leader is found 150 ms later on average; a dead one is not (see fail-over).
 */
export const TICK_BATCH_MS = HEARTBEAT_TICKS * TICK_MS;
/** A follower waits 10 to 19 ticks; checkQuorum and leases count in the same unit. */
export const ELECTION_TICKS = 10;
export const ELECTION_TIMEOUT_MS = ELECTION_TICKS * TICK_MS;

/**
 * A disk that takes nothing for so long has stalled. Longer than an election timeout, so that three
 * members on one slow disk do not hand leadership around; a good disk takes a thousandth of it.
 */
export const DISK_STALL_TICKS = 15;
/** A stalled leader from which nobody took over stops leading: a transfer has one timeout. */
export const DISK_RESIGN_TICKS = DISK_STALL_TICKS + ELECTION_TICKS;

/** Entries of one append message; larger single entries travel alone. */
export const MESSAGE_SIZE_MAX_BYTES = 1 * MIB;
export const INFLIGHT_COUNT_MAX = 256;
export const INFLIGHT_SIZE_MAX_BYTES = 16 * MIB;
/** Beyond it the leader answers "overloaded" at once instead of queueing for seconds. */
export const UNCOMMITTED_SIZE_MAX_BYTES = 64 * MIB;
/** Applied in one go; bounds how long the event loop is busy with it. */
export const COMMITTED_SIZE_MAX_BYTES = 4 * MIB;

/** etcd's count; a snapshot of thousands of leases takes some milliseconds. */
export const SNAPSHOT_ENTRIES = 10_000;
export const SNAPSHOT_LOG_SIZE_BYTES = 64 * MIB;
/** A tenth as many entries are worth one early: applying 1,000 again takes a start some 40 ms. */
export const SNAPSHOT_EARLY_FRACTION = 0.1;
/** But not of a larger state: so much is written in a tenth of a second, and wears out a flash. */
export const SNAPSHOT_EARLY_SIZE_MAX_BYTES = 16 * MIB;
/** An early one is made when nothing was applied for so long. */
export const SNAPSHOT_QUIET_MS = 3_000;
/** Or when the last one is so old: renewals of leases never pause. */
export const SNAPSHOT_OLD_MS = 300_000;
/** An early one at a stop that is not written by then is given up: stopping must not take long. */
export const SNAPSHOT_STOP_MAX_MS = 500;
/** How long the loop is held up at a time for making one; what runs for the first time is slow. */
export const SNAPSHOT_SLICE_MS = 1;
/** Kept behind a snapshot, so that a follower that was away shortly needs no snapshot. */
export const TRAILING_ENTRIES = 5_000;
/** The same in bytes: they are in memory. */
export const TRAILING_SIZE_MAX_BYTES = 16 * MIB;

/** Told in one turn after a state was replaced: some milliseconds where they are leases. */
export const RETELL_EVENTS = 500;

/** One command in the log: a request of 1.5 MiB with its envelope. Larger ones fit no message. */
export const COMMAND_SIZE_MAX_BYTES = 2 * MIB;
/** How long a write or a linearizable read is tried when the caller does not say. */
export const EXECUTE_TIMEOUT_MS = 5_000;
/** Writes of this node that wait for their outcome; more is "overloaded". */
export const PENDING_COUNT_MAX = 20_000;
/** Without a known leader: how often another member is asked to take a write. */
export const GUESS_INTERVAL_MS = 300;
/**
 * A leader says within a tick whether it takes in what was passed on to it. When it does not for
 * so long, or the word was lost, the writes are passed on again under the same request ids.
 */
export const FORWARD_TIMEOUT_MS = 2_000;
/**
 * A write that was passed on comes back as an entry. When it does not for so long, because the disk
 * here has stalled or nothing of the leader arrives, the leader is asked for its outcome.
 */
export const OUTCOME_ASK_MS = 1_000;
/**
 * A commit index waits so long for a write to travel with: longer than a single writer takes for
 * its next one, and little to whoever watches at a follower.
 */
export const COMMIT_HOLD_MS = 4;
/** A read index that was not answered is asked for again, with a new context. */
export const READ_RETRY_MS = 500;

/** An election that is asked for takes two round trips and two syncs; then it is tried again. */
export const TRANSFER_TIMEOUT_MS = 250;

/** Spread of the wait before an election after the leader's connection was closed. */
export const FAIL_OVER_DELAY_MIN_MS = 10;
export const FAIL_OVER_DELAY_MAX_MS = 100;
/**
 * The wait before the next try: longer than an election takes (two round trips, two syncs), also
 * on a machine that is busy, since a try ends the one before.
 */
export const FAIL_OVER_RETRY_MIN_MS = 250;
export const FAIL_OVER_RETRY_MAX_MS = 500;
/** Tries until the election timeout, one to two seconds, takes over. */
export const FAIL_OVER_ATTEMPTS_MAX = 4;

/** A TCP and TLS handshake within one data center takes milliseconds, over a bad path a second. */
export const CONNECT_TIMEOUT_MS = 3_000;
/** The wait after a failed connect, doubled each time up to the maximum, plus up to half again. */
export const RECONNECT_MIN_MS = 50;
export const RECONNECT_MAX_MS = 2_000;
/** Bytes that wait on one connection; beyond, new frames are dropped and the core told so. */
export const SEND_QUEUE_MAX_BYTES = 16 * MIB;
/**
 * Of a snapshot, sent and not yet confirmed: what a broken connection costs, and what waits in
 * memory. At a round trip of 50 ms it lets 20 MB a second through.
 */
export const SNAPSHOT_WINDOW_BYTES = 1 * MIB;
/** How often connections are looked at for silence. */
export const LINK_CHECK_MS = 1_000;
/** What was sent is unanswered for so long: ask whether the peer is there. */
export const LINK_DOUBT_MS = 1_500;
/** Nothing came back for ten heartbeats: the path or the peer is gone, TCP would retry for long. */
export const LINK_SILENCE_MS = 3_000;
/** An open connection without traffic says something in this interval. */
export const LINK_KEEP_ALIVE_MS = 15_000;
/** An incoming connection that says nothing for three keep-alives is half open. */
export const INCOMING_IDLE_MS = 3 * LINK_KEEP_ALIVE_MS;
/** Two for each peer in use, two more while they are replaced. */
export const INCOMING_PER_PEER_MAX = 4;
/** A snapshot that makes no progress for so long is given up; the core will ask again. */
export const SNAPSHOT_STALL_MS = 10_000;
/** After a failed transfer the snapshot stays the newest for so long, so that it can go on. */
export const SNAPSHOT_RESUME_MS = 5_000;
/** And no longer than this after the next one was due, however often transfers fail. */
export const SNAPSHOT_DELAY_MAX_MS = 60_000;
/**
 * A snapshot that came in whole and is of no use (a newer version made it) is not taken again for
 * so long, doubled each time: the leader offers it three times a second.
 */
export const SNAPSHOT_REFUSAL_MIN_MS = 1_000;
export const SNAPSHOT_REFUSAL_MAX_MS = 60_000;
/** Calls of this node that wait for an answer, for each peer. */
export const CALLS_PENDING_MAX = 20_000;

/**
 * Spares that one node feeds: 60 to 100 KB of TLS buffers each, and 30 microseconds for each change
 * that is told. Six sources feed twelve thousand.
 */
export const SPARES_PER_SOURCE_MAX = 2_000;
/** Of the feed, told to one spare and not yet confirmed as durable there. */
export const FEED_WINDOW_BYTES = 256 * KIB;
/** A spare that reads so slowly is told no more: the window is far below, so it has stopped. */
export const FEED_QUEUE_MAX_BYTES = 4 * MIB;
/** Entries of one frame of the feed; a larger single entry travels alone. */
export const FEED_BATCH_BYTES = 64 * KIB;
/** Encoded frames that are kept: all spares that are up to date need the same one. */
export const FEED_FRAMES_KEPT = 8;
/** A spare hears from its source in this interval, and of every new leader at once. */
export const FEED_BEAT_MS = 1_000;
/** A source that says nothing for so long is left: three beats and a tick. */
export const FEED_SILENCE_MS = 3_500;
/** A source that does not know a leader for so long may be cut off: another may know one. */
export const FEED_LEADERLESS_MS = 2_500;
/** A node that was asked to be the source and says nothing. Connecting is in it. */
export const FEED_ANSWER_MS = 2_500;
/** A spare that confirms nothing for so long is let go, and with it what waits for it. */
export const FEED_STALL_MS = 10_000;
/** What came is confirmed at the latest after this, however little it is. */
export const FEED_CONFIRM_MS = 2_000;
/** Between two rounds of asking every possible source, doubled each time up to the maximum. */
export const FEED_RETRY_MIN_MS = 200;
export const FEED_RETRY_MAX_MS = 3_000;
/** A spare that the leader feeds looks for somebody else after this, plus up to as much again. */
export const FEED_BETTER_MS = 15_000;
/** Snapshots that one source sends to spares at a time; others wait, their feed with them. */
export const FEED_SNAPSHOTS_MAX = 8;
/** A node out of the membership that heard the leader itself lately waits: it may be let in. */
export const FEED_OUTSIDER_PATIENCE_MS = 1_000;
/** A standby that the leader does not reach. */
export const FEED_STANDBY_PATIENCE_MS = 5_000;
/** A voter without a leader: it may be none any more, and nobody would tell it. */
export const FEED_VOTER_PATIENCE_MS = 10_000;
/** Writes of spares are passed on together in this interval; the first of a burst goes at once. */
export const RELAY_INTERVAL_MS = 5;
/** Writes of spares that wait to be passed on; more is "overloaded". */
export const RELAY_QUEUE_MAX_BYTES = 8 * MIB;

/** Asserts how the limits hang together; called when a node starts. */
export function assertLimits(): void {
  assert(ELECTION_TICKS > 3 * HEARTBEAT_TICKS, "three heartbeats must fit an election timeout");
  assert(DISK_STALL_TICKS > ELECTION_TICKS, "a pause of one election timeout is no stalled disk");
  assert(FORWARD_TIMEOUT_MS > 2 * TICK_BATCH_MS, "a tick's answer must come in time");
  assert(TRAILING_ENTRIES < SNAPSHOT_ENTRIES, "trailing entries must be fewer than a snapshot's");
  assert(INFLIGHT_SIZE_MAX_BYTES >= MESSAGE_SIZE_MAX_BYTES, "a message must fit the window");
  assert(LINK_DOUBT_MS < LINK_SILENCE_MS, "doubt must come before silence");
  assert(LINK_SILENCE_MS > HEARTBEAT_TICKS * TICK_MS, "silence must be longer than a heartbeat");
  assert(FEED_SILENCE_MS > 3 * FEED_BEAT_MS, "three beats must fit a silence");
  assert(FEED_BATCH_BYTES <= FEED_WINDOW_BYTES / 2, "a window must hold more than one frame");
  assert(FEED_CONFIRM_MS < FEED_STALL_MS, "a confirmation must come before a stall");
  assert(FAIL_OVER_DELAY_MAX_MS < ELECTION_TIMEOUT_MS, "fail-over must beat the timeout");
}
