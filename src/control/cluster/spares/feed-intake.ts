/**
 * The spare's side of the feed: who feeds it, and whether what comes fits what it has.
 *
 *     off --start--> asking the best --a frame came--> fed
 *     asking --refused, lost, no answer--> asking the next, and after the last: resting
 *     fed --lost, silent, refused, without a leader for long--> asking from the best on
 *     fed by the leader --a while--> the same, and asking whoever is better; it changes when told
 *     resting --a while--> asking from the best on
 *
 * It asks for what follows the last entry that it has and takes nothing else: what it has already
 * is cut off, a gap is asked for again. So nothing is applied twice and nothing is left out,
 * however often the source changes.
 *
 * Time is counted in the ticks that this node has had: after it stood still itself, what its source
 * has said meanwhile still waits to be read. Knows no sockets; driven by `feed.ts`.
 *
 * @module
 */
import { decodeIndex, type Index, type NodeId } from "../../../base/ids.ts";
import type { EntryId } from "../../raft/types.ts";
import {
  FEED_ANSWER_MS,
  FEED_BETTER_MS,
  FEED_CONFIRM_MS,
  FEED_LEADERLESS_MS,
  FEED_RETRY_MAX_MS,
  FEED_RETRY_MIN_MS,
  FEED_SILENCE_MS,
  FEED_WINDOW_BYTES,
  TICK_BATCH_MS,
} from "../limits.ts";
import type {
  FeedBatch,
  FeedFrame,
  FeedNews,
  FeedRefusal,
  FeedRequest,
  SourceHint,
} from "./feed-messages.ts";

/** A quarter of the window: a word to the source long before it has to wait for one. */
const CONFIRM_SIZE_BYTES = FEED_WINDOW_BYTES / 4;

/** What the node lends. */
export interface IntakeHost {
  /** Every possible source once, the best first. */
  order(): readonly NodeId[];
  /** The last entry that this node has: it is committed. */
  position(): EntryId;
  /** Sends to `source`, connecting when necessary; false: not now. */
  ask(source: NodeId, request: FeedRequest): boolean;
  /** Somebody says who feeds spares; `order` is to have them from now on. */
  hinted(hints: readonly SourceHint[]): void;
  /** The connection to `source` is not needed any more. */
  part(source: NodeId): void;
  /** What fits: `batch` follows `position`, or is absent. The frame's leader is known. */
  take(frame: FeedFrame, batch: FeedBatch | undefined): void;
  /** The source knows of no leader, or there is no source. */
  leaderless(): void;
  /** `source` has another entry where ours is: one of us is wrong. */
  diverged(source: NodeId): void;
  below(limit: number): number;
}

/** Nodes that are being asked, one after the other. */
interface Search {
  readonly source: NodeId;
  readonly sinceMs: number;
  /** Whom to ask next. */
  readonly left: readonly NodeId[];
}

type IntakeState =
  | { readonly kind: "off" }
  | { readonly kind: "asking"; readonly search: Search }
  | { readonly kind: "fed"; readonly source: NodeId; readonly better: Search | undefined }
  | { readonly kind: "resting"; readonly untilMs: number };

/** Where one spare gets its state from. */
export class FeedIntake {
  readonly #host: IntakeHost;
  #state: IntakeState = { kind: "off" };
  /** Time as this node has lived it. */
  #nowMs = 0;
  #roundCount = 0;
  #heardMs = 0;
  #leaderlessSinceMs: number | undefined;
  /** When to look for somebody better. */
  #betterAtMs = 0;
  /** When what was missing was last asked for. */
  #askedMs = 0;
  #isAsking = false;
  /** Our last entry when a beat told of more. */
  #missingAfter: Index | undefined;
  /** Of the source, as last heard. */
  #applied: Index = decodeIndex(0);
  #leader: NodeId | undefined;
  /** On our disk; and that of it of which the source knows. */
  #durable: Index = decodeIndex(0);
  #confirmed: Index = decodeIndex(0);
  #confirmedMs = 0;
  #unconfirmedSizeBytes = 0;
  /** How often a source was found. */
  foundCount = 0;

  constructor(host: IntakeHost) {
    this.#host = host;
  }

  get isOn(): boolean {
    return this.#state.kind !== "off";
  }

  /** Who feeds this node; undefined while it looks for somebody. */
  get source(): NodeId | undefined {
    return this.#state.kind === "fed" ? this.#state.source : undefined;
  }

  /** Entries that the source was ahead when it was last heard. */
  get behindCount(): number {
    return Math.max(0, this.#applied - this.#host.position().index);
  }

  /** Begins to look for a source, unless it has. */
  start(): void {
    if (this.#state.kind !== "off") return;
    this.#roundCount = 0;
    this.#beginRound();
  }

  /** Somebody else looks after this node now. */
  stop(): void {
    this.#partAll();
    this.#state = { kind: "off" };
  }

  /** Called once in each `TICK_BATCH_MS`. */
  tick(): void {
    this.#nowMs += TICK_BATCH_MS;
    const state = this.#state;
    switch (state.kind) {
      case "asking":
        if (this.#nowMs - state.search.sinceMs >= FEED_ANSWER_MS) this.#failed(state.search.source);
        return;
      case "resting":
        if (this.#nowMs >= state.untilMs) this.#beginRound();
        return;
      case "fed":
        this.#lookAfter(state);
        return;
      case "off":
    }
  }

  /** What `from` says, in a frame of so many bytes. */
  told(from: NodeId, news: FeedNews, sizeBytes: number): void {
    if (!this.#isConcerned(from)) {
      if (news.kind === "feed") this.#host.part(from); // It still takes us for its own.
      return;
    }
    if (news.kind === "unfed") {
      this.#host.hinted(news.hints);
      this.#refused(from, news.reason);
      return;
    }
    if (this.source !== from) {
      // Who knows no leader is no better than whom we have.
      if (this.source !== undefined && news.leader === undefined) this.#failed(from);
      else this.#found(from);
      if (this.source !== from) return;
    }
    this.#heardMs = this.#nowMs;
    this.#applied = news.applied;
    this.#leader = news.leader;
    if (news.leader === undefined) {
      this.#leaderlessSinceMs ??= this.#nowMs;
      this.#host.leaderless();
      return;
    }
    this.#leaderlessSinceMs = undefined;
    this.#unconfirmedSizeBytes += sizeBytes;
    this.#take(from, news);
  }

  /** The connection to `node` is gone, or never came about. */
  lost(node: NodeId): void {
    // While it is being asked the answer says so, too.
    if (!this.#isAsking && this.#isConcerned(node)) this.#failed(node);
  }

  /** Everything up to `index` is on the disk. */
  durable(index: Index): void {
    if (index > this.#durable) this.#durable = index;
    if (this.#unconfirmedSizeBytes >= CONFIRM_SIZE_BYTES) this.#confirm();
  }

  /** Whether `node` feeds this one or was asked to. */
  #isConcerned(node: NodeId): boolean {
    const state = this.#state;
    if (state.kind === "asking") return state.search.source === node;
    return state.kind === "fed" && (state.source === node || state.better?.source === node);
  }

  #found(source: NodeId): void {
    if (this.source !== undefined) this.#host.part(this.source);
    this.#state = { kind: "fed", source, better: undefined };
    this.#betterAtMs = this.#nowMs + FEED_BETTER_MS + this.#host.below(FEED_BETTER_MS);
    this.#roundCount = 0;
    this.#confirmed = decodeIndex(0);
    this.#confirmedMs = this.#nowMs;
    this.#unconfirmedSizeBytes = 0;
    this.#leaderlessSinceMs = undefined;
    this.foundCount += 1;
  }

  /** Cuts off what this node has already; what is missing is asked for. */
  #take(from: NodeId, frame: FeedFrame): void {
    const { batch } = frame;
    const position = this.#host.position();
    if (batch === undefined) {
      this.#host.take(frame, undefined);
      if (frame.applied > position.index) this.#miss(from, position.index);
      return;
    }
    const { previous, entries } = batch;
    if (previous.index > position.index) {
      this.#askAgain(from);
      return;
    }
    const overlapCount = position.index - previous.index;
    const same = overlapCount === 0 ? previous : entries[overlapCount - 1];
    // What lies before all that we have was compared when it came.
    if (same !== undefined && same.term !== position.term) {
      this.#refused(from, "diverged");
      return;
    }
    const rest = entries.slice(overlapCount);
    this.#host.take(frame, rest.length > 0 ? { previous: position, entries: rest } : undefined);
  }

  /**
   * A beat in place of what is missing: the source waits for our word, or something got lost. When
   * nothing has come by the next beat it was the latter.
   */
  #miss(source: NodeId, index: Index): void {
    if (this.#missingAfter === index) this.#askAgain(source);
    else this.#confirm();
    this.#missingAfter = index;
  }

  #askAgain(source: NodeId): void {
    if (this.#nowMs - this.#askedMs < FEED_RETRY_MIN_MS) return; // It is on its way.
    this.#ask(source);
  }

  #refused(source: NodeId, reason: FeedRefusal): void {
    if (reason === "diverged") this.#host.diverged(source);
    this.#failed(source);
  }

  /** `source`, which feeds this node or was asked to, does not. */
  #failed(source: NodeId): void {
    const state = this.#state;
    this.#host.part(source);
    if (state.kind === "asking") this.#askOneOf(state.search.left);
    else if (state.kind === "fed" && state.better?.source === source) {
      this.#askBetter(state.source, state.better.left);
    } else {
      const better = state.kind === "fed" ? state.better : undefined;
      if (better !== undefined) this.#host.part(better.source);
      this.#beginRound(source);
    }
  }

  #lookAfter(state: Extract<IntakeState, { kind: "fed" }>): void {
    const { source, better } = state;
    const leaderlessMs = this.#nowMs - (this.#leaderlessSinceMs ?? this.#nowMs);
    const isSilent = this.#nowMs - this.#heardMs >= FEED_SILENCE_MS;
    if (isSilent || leaderlessMs >= FEED_LEADERLESS_MS) {
      this.#failed(source);
      return;
    }
    if (better !== undefined) {
      if (this.#nowMs - better.sinceMs >= FEED_ANSWER_MS) this.#failed(better.source);
    } else if (this.#leader === source && this.#nowMs >= this.#betterAtMs) {
      const order = this.#host.order();
      this.#askBetter(source, order.slice(0, Math.max(0, order.indexOf(source))));
    }
    if (this.#nowMs - this.#confirmedMs >= FEED_CONFIRM_MS) this.#confirm();
  }

  #confirm(): void {
    const { source } = this;
    if (source === undefined || this.#durable <= this.#confirmed) return;
    this.#confirmed = this.#durable;
    this.#confirmedMs = this.#nowMs;
    this.#unconfirmedSizeBytes = 0;
    this.#host.ask(source, { kind: "fed", index: this.#durable });
  }

  /** Asks from the best on; whoever has just failed comes last. */
  #beginRound(failed?: NodeId): void {
    const order = this.#host.order();
    const isFailed = (id: NodeId) => id === failed;
    this.#askOneOf([...order.filter((id) => !isFailed(id)), ...order.filter(isFailed)]);
  }

  #askOneOf(candidates: readonly NodeId[]): void {
    const search = this.#search(candidates);
    if (search !== undefined) {
      this.#state = { kind: "asking", search };
      return;
    }
    // Until somebody is found this node knows of no leader.
    this.#host.leaderless();
    const delayMs = Math.min(FEED_RETRY_MIN_MS * 2 ** this.#roundCount, FEED_RETRY_MAX_MS);
    this.#roundCount = Math.min(this.#roundCount + 1, 10);
    const untilMs = this.#nowMs + delayMs + this.#host.below(delayMs);
    this.#state = { kind: "resting", untilMs };
  }

  /** The same beside `source`, which goes on meanwhile. */
  #askBetter(source: NodeId, candidates: readonly NodeId[]): void {
    const better = this.#search(candidates);
    this.#state = { kind: "fed", source, better };
    if (better !== undefined) return;
    this.#betterAtMs = this.#nowMs + FEED_BETTER_MS + this.#host.below(FEED_BETTER_MS);
  }

  /** Asks the first of `candidates` that can be asked. */
  #search(candidates: readonly NodeId[]): Search | undefined {
    for (const [i, source] of candidates.entries()) {
      const search = { source, sinceMs: this.#nowMs, left: candidates.slice(i + 1) };
      if (this.#ask(source)) return search;
    }
    return undefined;
  }

  #ask(source: NodeId): boolean {
    this.#askedMs = this.#nowMs;
    this.#isAsking = true;
    const isSent = this.#host.ask(source, { kind: "follow", position: this.#host.position() });
    this.#isAsking = false;
    return isSent;
  }

  #partAll(): void {
    const state = this.#state;
    if (state.kind === "asking") this.#host.part(state.search.source);
    if (state.kind !== "fed") return;
    this.#host.part(state.source);
    if (state.better !== undefined) this.#host.part(state.better.source);
  }
}
