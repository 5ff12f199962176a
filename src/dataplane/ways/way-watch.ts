/**
 * The watch over the ways to all peers: which question is due, what was lost, what to use.
 *
 * One question at a time by each way, as large as the packets of containers, so that a way which
 * passes only small ones is not taken. The way in use is asked every second, others every five. In
 * doubt all of them are asked every quarter of a second. All questions together are bounded: with
 * many peers each is asked less often.
 *
 * Pure: told the time, calls `ask`.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import type { Way } from "./way.ts";
import { WayChoice } from "./way-choice.ts";

/** Between two questions by the way in use; udp in use is watched by its own probes, too. */
export const IN_USE_INTERVAL_MS = 1000;
/** By another way. */
export const STANDBY_INTERVAL_MS = 5000;
/** So long a new peer is asked as often as by the way in use: it may still be starting. */
export const NEW_FOR_MS = 10_000;
/** While more answers would decide something. */
export const DOUBT_INTERVAL_MS = 250;
/** A peer that is silent on all ways for longer is away, and in no hurry. */
export const AWAY_AFTER_MS = 10_000;
/** Without an answer for this long a question is lost; more where answers take long. */
export const TIMEOUT_MIN_MS = 500;
const TIMEOUT_MAX_MS = 2000;
const TIMEOUT_ROUND_TRIPS = 4;
/** Ways that are asked at these intervals; with more of them the intervals grow. */
const UNHURRIED_COUNT_MAX = 500;
/** Questions of one `tick`; the others wait for the next. */
const BURST_MAX = 64;
/** How far a question may come early, as a part of its interval. */
const JITTER_FRACTION = 0.1;
/** The first question by a new way comes within this, for each way that there is. */
const FIRST_SPREAD_MS = 2;
const SEQUENCE_COUNT = 2 ** 32;

/** A subnet of a peer, and the ways that lead there. */
export interface WayTarget {
  readonly subnet: Prefix;
  /** Best first; the last one is what is used when nothing is known. */
  readonly ways: readonly Way[];
  /** What is in use already, as far as somebody knows; only for a target that is new. */
  readonly inForce?: Way | undefined;
  /** Whoever it is and wherever: with another word for it all that was learned is forgotten. */
  readonly identity: string;
}

export interface WayQuestion {
  readonly subnet: Prefix;
  readonly way: Way;
  readonly sequence: number;
}

export interface WayWatchOptions {
  /** An integer from 0 to `limit` − 1. */
  readonly below: (limit: number) => number;
  readonly ask: (question: WayQuestion) => void;
}

/** One way to one peer. */
interface Line {
  readonly target: Watched;
  readonly way: Way;
  dueMs: number;
  sequence: number;
  askedMs: number;
  /** Whether the last question may still be answered in time. */
  isAsking: boolean;
  roundTripMs: number;
}

interface Watched {
  readonly identity: string;
  readonly subnet: Prefix;
  readonly choice: WayChoice;
  readonly lines: readonly Line[];
  readonly firstMs: number;
  /** When the first question since the last answer was lost, by whatever way. */
  silentSinceMs: number;
}

/** The ways to the peers of one node. */
export class WayWatch {
  /** Moves to each way so far. */
  readonly moves: Record<Way, number> = { direct: 0, vxlan: 0, udp: 0 };
  readonly #options: WayWatchOptions;
  #targets: ReadonlyMap<Prefix, Watched> = new Map();
  #lines: readonly Line[] = [];
  /** Where the next `tick` begins, so that nobody waits behind others for ever. */
  #next = 0;
  #choices: ReadonlyMap<Prefix, Way> = new Map();
  #hasMoved = false;

  constructor(options: WayWatchOptions) {
    this.#options = options;
  }

  /** The way to use to each subnet; another map after a change. */
  get choices(): ReadonlyMap<Prefix, Way> {
    if (this.#hasMoved) {
      const entries = [...this.#targets].map(
        ([subnet, it]) => [subnet, it.choice.current] as const,
      );
      this.#choices = new Map(entries);
      this.#hasMoved = false;
    }
    return this.#choices;
  }

  /** What is known of the ways to `subnet`; undefined when there is nothing to choose. */
  choice(subnet: Prefix): WayChoice | undefined {
    return this.#targets.get(subnet)?.choice;
  }

  /** Watches these from now on. Who stays as he was keeps what was learned. */
  follow(targets: readonly WayTarget[], nowMs: number): void {
    const spreadMs = Math.max(1, targets.length * FIRST_SPREAD_MS);
    const before = this.#targets;
    this.#targets = new Map(
      targets.map((target) => {
        const known = before.get(target.subnet);
        const isKnown =
          known?.identity === target.identity && sameWays(known.choice.ways, target.ways);
        if (isKnown) return [target.subnet, known];
        const isSame = known?.identity === target.identity;
        const current = isSame ? known.choice.current : target.inForce;
        const choice = new WayChoice(target.ways, current);
        return [target.subnet, this.#watch(target, choice, { nowMs, spreadMs })];
      }),
    );
    this.#lines = [...this.#targets.values()].flatMap(({ lines }) => lines);
    this.#hasMoved = true;
  }

  /** An answer came to the question that was asked with `sequence`, perhaps late. */
  answered({ subnet, way, sequence }: WayQuestion, nowMs: number): void {
    const line = this.#targets.get(subnet)?.lines.find((it) => it.way === way);
    if (line === undefined || line.sequence !== sequence || line.askedMs > nowMs) return;
    const { target } = line;
    line.roundTripMs = nowMs - line.askedMs;
    const wasAway = isAway(target, nowMs);
    target.silentSinceMs = Number.POSITIVE_INFINITY;
    line.isAsking = false;
    this.#note(target, target.choice.answered(way, nowMs));
    this.#rest(line, nowMs);
    if (wasAway) hurry(target, nowMs);
  }

  /** Asks what is due, gives up what is late. To be called some twenty times a second. */
  tick(nowMs: number): void {
    const lines = this.#lines;
    let asked = 0;
    const first = this.#next < lines.length ? this.#next : 0;
    for (let i = 0; i < lines.length; i++) {
      const at = first + i < lines.length ? first + i : first + i - lines.length;
      const line = lines[at]!;
      if (line.dueMs > nowMs) continue;
      if (asked === BURST_MAX) {
        this.#next = at;
        return;
      }
      if (line.isAsking) this.#lose(line, nowMs);
      if (line.dueMs > nowMs) continue;
      this.#ask(line, nowMs);
      asked++;
    }
  }

  #watch(
    { identity, subnet, ways }: WayTarget,
    choice: WayChoice,
    { nowMs, spreadMs }: { readonly nowMs: number; readonly spreadMs: number },
  ): Watched {
    const lines: Line[] = [];
    const target: Watched = {
      identity,
      subnet,
      choice,
      lines,
      silentSinceMs: Number.POSITIVE_INFINITY,
      firstMs: nowMs,
    };
    for (const way of ways) {
      lines.push({
        ...{ target, way, sequence: this.#options.below(SEQUENCE_COUNT) },
        ...{ dueMs: nowMs + this.#options.below(spreadMs), askedMs: nowMs },
        ...{ isAsking: false, roundTripMs: 0 },
      });
    }
    return target;
  }

  #ask(line: Line, nowMs: number): void {
    line.sequence = (line.sequence + 1) % SEQUENCE_COUNT;
    line.askedMs = nowMs;
    line.isAsking = true;
    const wantedMs = Math.max(TIMEOUT_MIN_MS, line.roundTripMs * TIMEOUT_ROUND_TRIPS);
    line.dueMs = nowMs + Math.min(wantedMs, TIMEOUT_MAX_MS);
    const { target, way, sequence } = line;
    this.#options.ask({ subnet: target.subnet, way, sequence });
  }

  #lose(line: Line, nowMs: number): void {
    const { target, way } = line;
    const wasInDoubt = target.choice.isInDoubt;
    line.isAsking = false;
    target.silentSinceMs = Math.min(target.silentSinceMs, nowMs);
    this.#note(target, target.choice.lost(way, line.askedMs, nowMs));
    this.#rest(line, nowMs);
    // Now it depends on the others.
    if (!wasInDoubt && target.choice.isInDoubt) hurry(target, nowMs);
  }

  #note(target: Watched, hasMoved: boolean): void {
    if (!hasMoved) return;
    this.#hasMoved = true;
    this.moves[target.choice.current]++;
  }

  /** The next question by `line`, counted from the last. */
  #rest(line: Line, nowMs: number): void {
    const { target, way } = line;
    const { choice } = target;
    const isNear = !isAway(target, nowMs);
    const isUrgent = isNear && (choice.isInDoubt || choice.isProving(way, nowMs));
    const isNew = nowMs - target.firstMs < NEW_FOR_MS;
    const isWatched = isNear && (isNew || (choice.current === way && way !== "udp"));
    const usualMs = isWatched ? IN_USE_INTERVAL_MS : STANDBY_INTERVAL_MS;
    const crowd = Math.max(1, this.#lines.length / UNHURRIED_COUNT_MAX);
    const intervalMs = isUrgent ? DOUBT_INTERVAL_MS : usualMs * crowd;
    const jitterMs = this.#options.below(Math.ceil(intervalMs * JITTER_FRACTION));
    line.dueMs = Math.max(nowMs, line.askedMs + intervalMs - jitterMs);
    const heldUntilMs = choice.heldUntilMs(way);
    if (heldUntilMs > nowMs) line.dueMs = Math.min(line.dueMs, heldUntilMs);
  }
}

function isAway({ silentSinceMs }: Watched, nowMs: number): boolean {
  return nowMs - silentSinceMs >= AWAY_AFTER_MS;
}

/** Has every way asked that no answer is awaited by. */
function hurry({ lines }: Watched, nowMs: number): void {
  for (const line of lines) if (!line.isAsking) line.dueMs = nowMs;
}

function sameWays(a: readonly Way[], b: readonly Way[]): boolean {
  return a.length === b.length && a.every((way, at) => way === b[at]);
}
