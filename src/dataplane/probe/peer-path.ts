/**
 * The watch over one peer: when to ask it, how large, and what its silence means.
 *
 *    resting ──due──► asking ──answered, or time is up──► resting
 *
 * A round asks one question of PROBE_SIZE, which gives the round trip and counts for loss. A round
 * that has a size to try asks a padded one with "don't fragment" first: when the small one behind
 * it is answered and the padded one is not, its size did not pass. When neither is answered the
 * peer is away, and nothing is learned about the path (RFC 8899 §4.3, false black holes).
 *
 * Pure: told the time, gives back questions.
 *
 * @module
 */
import { PROBE_SIZE } from "./frame.ts";
import { type MtuHint, PathMtu } from "./path-mtu.ts";
import { RoundTrips } from "./round-trips.ts";

/** Between two rounds to a peer with traffic. */
export const IN_USE_INTERVAL_MS = 1000;
/** Between two rounds to a peer without. */
export const IDLE_INTERVAL_MS = 15_000;
/** Between two rounds to a peer without that does not answer: a dead peer is asked for ever. */
export const AWAY_INTERVAL_MS = 60_000;
/** Without an answer after this a probe is lost. */
export const PROBE_TIMEOUT_MS = 1000;
/** A padded question's answer may come this much behind the small one's, which was sent later. */
const GRACE_MIN_MS = 30;
/** Every so many rounds the size that was found is tried again (RFC 8899 §4.3). */
const CONFIRM_ROUNDS = 4;
/** Looks for more than was found (RFC 8899 §5.1.1 says 600 s; here it costs a few probes). */
export const RAISE_IN_USE_MS = 60_000;
export const RAISE_IDLE_MS = 600_000;
/** Misses that prove that a size does not pass (RFC 8899 §5.1.2, MAX_PROBES), by loss. */
const MISS_STEPS = [
  { lossPercentMax: 5, misses: 3 },
  { lossPercentMax: 20, misses: 6 },
  { lossPercentMax: 100, misses: 12 },
] as const;
/** Rounds without any answer ever after which a peer counts as one that knows no probes. */
export const DEAF_ROUNDS = 5;
/** Rounds in a row without an answer after which a peer counts as silent. */
export const SILENT_ROUNDS = 3;

/** What to send. */
export interface Question {
  readonly sequence: number;
  /** Bytes of the datagram. */
  readonly size: number;
  /** With "don't fragment". */
  readonly isWhole: boolean;
}

interface Round {
  readonly startMs: number;
  readonly sequence: number;
  readonly padded: { readonly sequence: number; readonly mtu: number } | undefined;
  /** When the small question was answered. */
  answeredMs: number | undefined;
  /** Whether it is known what became of the padded one. */
  isPaddedDone: boolean;
}

export interface PeerPathOptions {
  /** MTU of the underlay link. */
  readonly linkMtu: number;
  /** Outer IP and UDP headers in bytes. */
  readonly overhead: number;
  /** A random number of 32 bits. */
  readonly firstSequence: number;
  /** When the first round is due. */
  readonly firstMs: number;
  /** What `hintMtu` knows the path by. */
  readonly slot: number;
  readonly hintMtu?: MtuHint | undefined;
}

/** One peer's watch. */
export class PeerPath {
  readonly trips = new RoundTrips();
  readonly mtu: PathMtu;
  /** When the next call of `step` can do something. */
  dueMs: number;
  /** Whether packets went to or came from the peer lately. */
  isInUse = false;
  /** Path MTU that the peer says it has found towards us; 0 for none. */
  told = 0;
  /** When the last answer came. */
  answeredMs: number | undefined = undefined;
  /** Start of the first round since then that had no answer. */
  silentSinceMs: number | undefined = undefined;
  readonly #overhead: number;
  #sequence: number;
  #round: Round | undefined = undefined;
  #startedMs: number;
  #roundCount = 0;
  #raisedMs: number;

  constructor(options: PeerPathOptions) {
    const { linkMtu, overhead, firstSequence, firstMs, hintMtu, slot } = options;
    this.mtu = new PathMtu(linkMtu, hintMtu, slot);
    this.#overhead = overhead;
    this.#sequence = firstSequence >>> 0;
    this.dueMs = firstMs;
    this.#startedMs = firstMs;
    this.#raisedMs = firstMs;
  }

  /** Largest datagram payload that should be sent to the peer, in bytes. */
  get payloadMax(): number {
    return this.mtu.limit - this.#overhead;
  }

  /** Whether the peer never answered although it was asked often: it may not know how. */
  get isDeaf(): boolean {
    return this.trips.answeredCount === 0 && this.trips.lostInRow >= DEAF_ROUNDS;
  }

  /** Whether the peer answers: it did, and no more than a few of the last rounds were lost. */
  get isAnswering(): boolean {
    if (this.answeredMs === undefined) return false;
    return this.silentSinceMs === undefined || this.trips.lostInRow < SILENT_ROUNDS;
  }

  /** Whether an answer may still come. */
  get isAsking(): boolean {
    return this.#round !== undefined;
  }

  /** Asks sooner or later from now on. `nextMs` is the soonest that it should be. */
  setInUse(isInUse: boolean, nextMs: number): void {
    if (isInUse === this.isInUse) return;
    this.isInUse = isInUse;
    if (isInUse && this.#round === undefined) this.dueMs = Math.min(this.dueMs, nextMs);
  }

  /** The underlay link carries `linkMtu` from now on. */
  setLinkMtu(linkMtu: number, nowMs: number): void {
    this.mtu.restart(linkMtu);
    this.#round = undefined;
    this.dueMs = nowMs;
  }

  /** Looks for a larger path MTU at once. */
  raise(nowMs: number): void {
    this.#raisedMs = nowMs;
    this.mtu.raise();
    if (this.#round === undefined) this.dueMs = nowMs;
  }

  /** A sequence number for a question outside of the rounds. */
  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }

  /** The answer to question `sequence` of `size` bytes. False when it belongs to no round. */
  answered(
    answer: { sequence: number; size: number; roundTripMs: number },
    nowMs: number,
  ): boolean {
    const round = this.#round;
    this.heard(nowMs);
    if (round === undefined) return false;
    if (answer.sequence === round.sequence) {
      if (round.answeredMs !== undefined) return false;
      round.answeredMs = nowMs;
      this.trips.answered(answer.roundTripMs);
      this.#conclude(round, nowMs);
      return true;
    }
    if (answer.sequence !== round.padded?.sequence || round.isPaddedDone) return false;
    if (answer.size + this.#overhead !== round.padded.mtu) return false;
    round.isPaddedDone = true;
    this.mtu.answered(round.padded.mtu);
    this.#conclude(round, nowMs);
    return true;
  }

  /** Any answer of the peer, also outside of the rounds. */
  heard(nowMs: number): void {
    this.answeredMs = nowMs;
    this.silentSinceMs = undefined;
  }

  /** The socket would not send question `sequence`: with `isTooBig`, because of its size. */
  refused(sequence: number, isTooBig: boolean, nowMs: number): void {
    const round = this.#round;
    if (round?.padded?.sequence !== sequence || round.isPaddedDone) return;
    round.isPaddedDone = true;
    if (isTooBig) this.mtu.refused(round.padded.mtu);
    this.#conclude(round, nowMs);
  }

  /** What to ask now; nothing before `dueMs`. The caller sends all of it, in order. */
  step(nowMs: number, jitterMs: number): readonly Question[] {
    if (nowMs < this.dueMs) return [];
    if (this.#round !== undefined) this.#expire(this.#round, nowMs, jitterMs);
    return this.#round === undefined && nowMs >= this.dueMs ? this.#begin(nowMs, jitterMs) : [];
  }

  #begin(nowMs: number, jitterMs: number): readonly Question[] {
    this.#startedMs = nowMs;
    this.#roundCount++;
    const raiseMs = this.isInUse ? RAISE_IN_USE_MS : RAISE_IDLE_MS;
    if (nowMs - this.#raisedMs >= raiseMs + jitterMs) {
      this.#raisedMs = nowMs;
      this.mtu.raise();
    }
    const questions: Question[] = [];
    const mtu = this.#sizeToTry();
    let padded: Round["padded"];
    if (mtu !== 0) {
      padded = { sequence: this.nextSequence(), mtu };
      const size = mtu - this.#overhead;
      questions.push({ sequence: padded.sequence, size, isWhole: true });
    }
    const sequence = this.nextSequence();
    questions.push({ sequence, size: PROBE_SIZE, isWhole: false });
    const isPaddedDone = padded === undefined;
    this.#round = { startMs: nowMs, sequence, padded, answeredMs: undefined, isPaddedDone };
    this.dueMs = nowMs + PROBE_TIMEOUT_MS;
    return questions;
  }

  /** A peer that does not answer is only asked whether it does. */
  #sizeToTry(): number {
    if (this.trips.answeredCount === 0 && this.trips.lostInRow > 0) return 0;
    if (this.trips.lostInRow > 1) return 0;
    const { candidate, found, isDoubted } = this.mtu;
    if (candidate !== 0) return candidate;
    return isDoubted || this.#roundCount % CONFIRM_ROUNDS === 0 ? (found ?? 0) : 0;
  }

  #conclude(round: Round, nowMs: number): void {
    if (round.answeredMs === undefined) return;
    if (!round.isPaddedDone) {
      this.dueMs = Math.min(this.dueMs, nowMs + Math.max(GRACE_MIN_MS, this.trips.lastMs ?? 0));
      return;
    }
    this.#rest(nowMs, 0, this.mtu.candidate !== 0);
  }

  /** Time is up for what has no answer yet. */
  #expire(round: Round, nowMs: number, jitterMs: number): void {
    if (round.answeredMs === undefined) {
      this.trips.lost();
      // Its padded question may have been answered.
      if ((this.answeredMs ?? 0) < round.startMs) this.silentSinceMs ??= round.startMs;
      this.#rest(nowMs, jitterMs, false);
      return;
    }
    if (round.padded !== undefined) this.mtu.missed(round.padded.mtu, this.#missMax());
    this.#rest(nowMs, jitterMs, true);
  }

  /** Ends the round; the next one follows at once when there is more to find out. */
  #rest(nowMs: number, jitterMs: number, isUrgent: boolean): void {
    this.#round = undefined;
    const restMs = this.#intervalMs - jitterMs;
    this.dueMs = isUrgent ? nowMs : Math.max(nowMs, this.#startedMs + restMs);
  }

  /** A peer that has just fallen silent is asked soon again: has it, or was a probe lost? */
  get #intervalMs(): number {
    const isDoubted = this.silentSinceMs !== undefined && this.isAnswering;
    if ((this.isInUse && !this.isDeaf) || isDoubted) return IN_USE_INTERVAL_MS;
    const isAway = !this.isInUse && this.trips.lostInRow >= SILENT_ROUNDS;
    return isAway ? AWAY_INTERVAL_MS : IDLE_INTERVAL_MS;
  }

  #missMax(): number {
    const loss = this.trips.lossPercent ?? 0;
    const step = MISS_STEPS.find(({ lossPercentMax }) => loss <= lossPercentMax);
    return step?.misses ?? MISS_STEPS[0].misses;
  }
}
