/**
 * The source's side of the feed: tells spares what is committed, in order, without a gap.
 *
 *     new --the log here reaches back to it--> fed --window full--> fed, waiting for a word
 *     new --the log here begins later--> queued --room--> sent a snapshot --arrived--> fed
 *     new --this node is behind it--> new, until this node has caught up
 *     any --no connection, no word for long, other entries--> gone
 *
 * Spares that are up to date all need the same entries next, so a frame is encoded once and kept
 * for a while. What one spare may have under way is bounded; a spare that is slow only waits, and
 * one that stands still is let go: it may come back and goes on where it stopped.
 *
 * Only entries that were applied here are told. They are committed, so they are true for whoever
 * takes them, whatever has become of its role meanwhile. Knows no sockets; driven by `feed.ts`.
 *
 * @module
 */
import { decodeIndex, type Index, type NodeId, type Term } from "../../../base/ids.ts";
import type { Entry, EntryId } from "../../raft/types.ts";
import {
  FEED_BATCH_BYTES,
  FEED_BEAT_MS,
  FEED_FRAMES_KEPT,
  FEED_SNAPSHOTS_MAX,
  FEED_STALL_MS,
  FEED_WINDOW_BYTES,
  SPARES_PER_SOURCE_MAX,
} from "../limits.ts";
import { encodeFeedNews, type FeedRefusal, type SourceHint } from "./feed-messages.ts";

/** What the node lends. */
export interface SourceHost {
  /** Undefined: this node may feed `spare`. */
  refusal(spare: NodeId): FeedRefusal | undefined;
  /** Who may feed spares, as far as this node knows. */
  sources(): readonly SourceHint[];
  /** The leader, if it lives, in the term that this node is in. */
  leadership(): { readonly term: Term; readonly leader: NodeId | undefined };
  appliedIndex(): Index;
  /** Term of entry `index`; undefined when the log does not reach so far back. */
  termOf(index: Index): Term | undefined;
  /** Entries after `index` up to what is applied, cut after `sizeMaxBytes`, at least one. */
  entriesAfter(index: Index, sizeMaxBytes: number): readonly Entry[];
  /** Sends an encoded body; false: there is no connection, or too much waits on it. */
  tell(spare: NodeId, body: Uint8Array): boolean;
  /** Sends the newest snapshot. Resolves to its last entry when it arrived. Never rejects. */
  sendSnapshot(spare: NodeId): Promise<EntryId | undefined>;
  nowMs(): number;
}

interface Fed {
  readonly node: NodeId;
  /** Up to where it was told everything. */
  position: EntryId;
  state: "new" | "fed" | "queued" | "snapshot";
  /** Told and not confirmed, in order. */
  readonly inflight: { readonly index: Index; readonly sizeBytes: number }[];
  inflightSizeBytes: number;
  /** When it last confirmed something, or there was nothing to confirm. */
  movedMs: number;
  toldMs: number;
}

/** A frame that may serve many spares. */
interface Frame {
  readonly body: Uint8Array;
  readonly last: EntryId;
}

/** All spares that one node feeds. */
export class FeedSource {
  readonly #host: SourceHost;
  readonly #spares = new Map<NodeId, Fed>();
  /** By the index after which they begin. Void when the leader, the term or the applied move. */
  readonly #frames = new Map<Index, Frame>();
  #beat: Uint8Array | undefined;
  #snapshotCount = 0;
  /** Frames told, and those of them that had to be encoded. */
  readonly counts = { told: 0, encoded: 0 };

  constructor(host: SourceHost) {
    this.#host = host;
  }

  /** How many spares are fed here. */
  get spareCount(): number {
    return this.#spares.size;
  }

  feeds(spare: NodeId): boolean {
    return this.#spares.has(spare);
  }

  /** `spare` has everything up to `position` and wants the rest. */
  follow(spare: NodeId, position: EntryId): void {
    const known = this.#spares.get(spare);
    const refusal = this.#host.refusal(spare);
    const isFull = known === undefined && this.#spares.size >= SPARES_PER_SOURCE_MAX;
    if (refusal !== undefined || isFull) {
      this.#refuse(spare, refusal ?? "full");
      return;
    }
    if (known?.state === "snapshot") {
      this.#tell(known, this.#beatBody()); // It asks anew; what is on its way will tell.
      return;
    }
    const nowMs = this.#host.nowMs();
    const fed: Fed = {
      ...{ node: spare, position, state: "new", inflight: [], inflightSizeBytes: 0 },
      ...{ movedMs: nowMs, toldMs: nowMs },
    };
    this.#spares.set(spare, fed);
    // Who leads is the first thing to know, and the answer to the asking.
    if (this.#tell(fed, this.#beatBody())) this.#push(fed);
  }

  /** `spare` has everything up to `index` on its disk. */
  confirmed(spare: NodeId, index: Index): void {
    const fed = this.#spares.get(spare);
    if (fed === undefined) return;
    while (fed.inflight[0] !== undefined && fed.inflight[0].index <= index) {
      fed.inflightSizeBytes -= fed.inflight.shift()!.sizeBytes;
    }
    fed.movedMs = this.#host.nowMs();
    this.#push(fed);
  }

  /** `spare` is gone, as far as can be seen. */
  lost(spare: NodeId): void {
    this.#spares.delete(spare);
  }

  /** More was applied here. */
  applied(): void {
    if (this.#spares.size === 0) return;
    this.#forgetFrames();
    for (const fed of this.#spares.values()) this.#push(fed);
  }

  /** Role, term, leader or membership changed here. */
  changed(): void {
    this.#forgetFrames();
    for (const fed of this.#spares.values()) {
      const refusal = this.#host.refusal(fed.node);
      if (refusal !== undefined) this.#refuse(fed.node, refusal);
      else if (this.#tell(fed, this.#beatBody())) this.#push(fed);
    }
  }

  /** Called at intervals: beats, and an end to those who stand still. */
  tick(): void {
    const nowMs = this.#host.nowMs();
    this.#beat = undefined;
    for (const fed of this.#spares.values()) {
      const refusal = this.#host.refusal(fed.node);
      const isStalled = fed.inflight.length > 0 && nowMs - fed.movedMs >= FEED_STALL_MS;
      if (refusal !== undefined || isStalled) this.#refuse(fed.node, refusal ?? "slow");
      else if (nowMs - fed.toldMs >= FEED_BEAT_MS) this.#tell(fed, this.#beatBody());
      // A node that was behind its spare may have caught up, a snapshot may be there by now.
      if (fed.state === "new" || fed.state === "queued") this.#push(fed);
    }
  }

  stop(): void {
    this.#spares.clear();
  }

  #push(fed: Fed): void {
    const { leader } = this.#host.leadership();
    if (leader === undefined || this.#spares.get(fed.node) !== fed) return;
    if (fed.state === "new") this.#begin(fed);
    if (fed.state === "queued") this.#maybeSendSnapshot(fed);
    while (fed.state === "fed" && fed.position.index < this.#host.appliedIndex()) {
      const frame = this.#frameAfter(fed.position);
      if (frame === undefined) {
        fed.state = "queued";
        this.#maybeSendSnapshot(fed);
        return;
      }
      const sizeBytes = frame.body.length;
      // One frame fits any window, or a large entry would never be told.
      const isFull = fed.inflightSizeBytes + sizeBytes > FEED_WINDOW_BYTES;
      if (isFull && fed.inflight.length > 0) return;
      if (!this.#tell(fed, frame.body)) return;
      if (fed.inflight.length === 0) fed.movedMs = this.#host.nowMs();
      fed.inflight.push({ index: frame.last.index, sizeBytes });
      fed.inflightSizeBytes += sizeBytes;
      fed.position = frame.last;
    }
  }

  /** Finds out whether the log here goes on where the spare stopped. */
  #begin(fed: Fed): void {
    const { index, term } = fed.position;
    if (index > this.#host.appliedIndex()) return;
    const known = this.#host.termOf(index);
    if (known === undefined || index === 0) fed.state = "queued";
    else if (known === term) fed.state = "fed";
    else this.#refuse(fed.node, "diverged");
  }

  #maybeSendSnapshot(fed: Fed): void {
    if (this.#snapshotCount >= FEED_SNAPSHOTS_MAX) return;
    fed.state = "snapshot";
    this.#snapshotCount += 1;
    void this.#host.sendSnapshot(fed.node).then((last) => {
      this.#snapshotCount -= 1;
      // One that did not arrive is sent again at the next tick, if the spare is still there.
      fed.state = last === undefined ? "queued" : "fed";
      fed.position = last ?? fed.position;
      for (const each of this.#spares.values()) {
        if (last !== undefined && (each === fed || each.state === "queued")) this.#push(each);
      }
    });
  }

  /** The entries after `previous` as a frame; undefined when the log here begins later. */
  #frameAfter(previous: EntryId): Frame | undefined {
    const known = this.#frames.get(previous.index);
    if (known !== undefined) return known;
    const first = decodeIndex(previous.index + 1);
    if (this.#host.termOf(first) === undefined) return undefined;
    const entries = this.#host.entriesAfter(previous.index, FEED_BATCH_BYTES);
    const last = entries.at(-1);
    if (last === undefined || entries[0]?.index !== first) return undefined;
    const applied = this.#host.appliedIndex();
    const batch = { previous, entries };
    const body = encodeFeedNews({ kind: "feed", ...this.#host.leadership(), applied, batch });
    const frame = { body, last: { term: last.term, index: last.index } };
    this.counts.encoded += 1;
    for (const oldest of this.#frames.keys()) {
      if (this.#frames.size < FEED_FRAMES_KEPT) break;
      this.#frames.delete(oldest);
    }
    this.#frames.set(previous.index, frame);
    return frame;
  }

  #beatBody(): Uint8Array {
    this.#beat ??= encodeFeedNews({
      ...{ kind: "feed", ...this.#host.leadership(), applied: this.#host.appliedIndex() },
      batch: undefined,
    });
    return this.#beat;
  }

  #forgetFrames(): void {
    this.#frames.clear();
    this.#beat = undefined;
  }

  #refuse(spare: NodeId, reason: FeedRefusal): void {
    this.#spares.delete(spare);
    // Whoever asks one that is no source knows no better: the membership has moved on.
    const hints = reason === "no_source" ? this.#host.sources() : [];
    this.#host.tell(spare, encodeFeedNews({ kind: "unfed", reason, hints }));
  }

  #tell(fed: Fed, body: Uint8Array): boolean {
    if (!this.#host.tell(fed.node, body)) {
      this.#spares.delete(fed.node);
      return false;
    }
    this.counts.told += 1;
    fed.toldMs = this.#host.nowMs();
    return true;
  }
}
