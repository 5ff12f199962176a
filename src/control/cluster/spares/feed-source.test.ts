import { describe, expect, test } from "bun:test";
import {
  decodeIndex,
  decodeNodeId,
  decodeTerm,
  type Index,
  type NodeId,
} from "../../../base/ids.ts";
import type { Entry, EntryId } from "../../raft/types.ts";
import { decodeRecord } from "../codec/codec.ts";
import {
  FEED_BEAT_MS,
  FEED_SNAPSHOTS_MAX,
  FEED_STALL_MS,
  FEED_WINDOW_BYTES,
  SPARES_PER_SOURCE_MAX,
} from "../limits.ts";
import { type FeedNews, type FeedRefusal, feedNewsFromRecord } from "./feed-messages.ts";
import { FeedSource } from "./feed-source.ts";

const LEADER = decodeNodeId(1);
const [S, T] = [decodeNodeId(11), decodeNodeId(12)];
const term = decodeTerm(2);
const id = (index: number): EntryId => ({ term, index: decodeIndex(index) });

/** A source whose log begins at 10 and ends at 20, all applied. */
class Rig {
  first = 10;
  applied = 20;
  entrySizeBytes = 10;
  leader: NodeId | undefined = LEADER;
  refusal: FeedRefusal | undefined;
  nowMs = 0;
  readonly told: { to: NodeId; news: FeedNews }[] = [];
  readonly snapshots: { to: NodeId; end: (last: EntryId | undefined) => void }[] = [];
  readonly gone = new Set<NodeId>();
  readonly source = new FeedSource({
    refusal: () => this.refusal,
    sources: () => [{ node: LEADER, address: { host: "10.0.0.1", port: 8286 } }],
    leadership: () => ({ term, leader: this.leader }),
    appliedIndex: () => decodeIndex(this.applied),
    termOf: (index) => (index >= this.first - 1 && index <= this.applied ? term : undefined),
    entriesAfter: (index, sizeMaxBytes) => this.#entries(index, sizeMaxBytes),
    tell: (to, body) => {
      if (this.gone.has(to)) return false;
      this.told.push({ to, news: feedNewsFromRecord(decodeRecord(body)!)! });
      return true;
    },
    sendSnapshot: (to) => new Promise((end) => this.snapshots.push({ to, end })),
    nowMs: () => this.nowMs,
  });

  #entries(after: Index, sizeMaxBytes: number): Entry[] {
    const entries: Entry[] = [];
    let sizeBytes = 0;
    for (let index = after + 1; index <= this.applied; index++) {
      sizeBytes += this.entrySizeBytes;
      if (entries.length > 0 && sizeBytes > sizeMaxBytes) break;
      entries.push({ kind: "normal", ...id(index), data: new Uint8Array(this.entrySizeBytes) });
    }
    return entries;
  }

  /** The indexes of the entries that `to` was told of, in order. */
  entriesTo(to: NodeId): number[] {
    return this.told.flatMap(({ to: each, news }) => {
      if (each !== to || news.kind !== "feed") return [];
      return news.batch?.entries.map((entry) => Number(entry.index)) ?? [];
    });
  }

  refusals(): string[] {
    return this.told.flatMap(({ news }) => (news.kind === "unfed" ? [news.reason] : []));
  }
}

const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

describe("a source", () => {
  test("first says who leads, then what follows the position, then what is applied", () => {
    const rig = new Rig();
    rig.source.follow(S, id(15));
    expect(rig.told[0]!.news).toMatchObject({ kind: "feed", leader: LEADER, batch: undefined });
    rig.applied = 22;
    rig.source.applied();
    expect(rig.entriesTo(S)).toEqual(range(16, 22));
  });

  test("encodes a change once, however many spares there are", () => {
    const rig = new Rig();
    const spares = range(100, 1_099).map(decodeNodeId);
    for (const spare of spares) rig.source.follow(spare, id(20));
    rig.applied = 21;
    rig.source.applied();
    expect(rig.source.counts.encoded).toBe(1);
    for (const spare of spares) expect(rig.entriesTo(spare)).toEqual([21]);
  });

  test("has no more under way than the window, and goes on when it is confirmed", () => {
    const rig = new Rig();
    rig.entrySizeBytes = 30_000;
    rig.applied = 60;
    rig.source.follow(S, id(9));
    const first = rig.entriesTo(S).length;
    expect(first * 30_000).toBeWithin(FEED_WINDOW_BYTES / 2, FEED_WINDOW_BYTES + 1);
    while (rig.entriesTo(S).at(-1)! < 60) {
      rig.source.confirmed(S, decodeIndex(rig.entriesTo(S).at(-1)!));
    }
    expect(rig.entriesTo(S)).toEqual(range(10, 60));
  });

  test("an entry that is larger than the window travels alone", () => {
    const rig = new Rig();
    rig.entrySizeBytes = 2 * FEED_WINDOW_BYTES;
    rig.source.follow(S, id(18));
    expect(rig.entriesTo(S)).toEqual([19]);
    rig.source.confirmed(S, decodeIndex(19));
    expect(rig.entriesTo(S)).toEqual([19, 20]);
  });

  test("lets a spare go that confirms nothing for long, and only that one", () => {
    const rig = new Rig();
    rig.source.follow(S, id(15));
    rig.source.follow(T, id(20));
    rig.nowMs = FEED_STALL_MS;
    rig.source.tick();
    expect(rig.refusals()).toEqual(["slow"]);
    expect([rig.source.feeds(S), rig.source.feeds(T)]).toEqual([false, true]);
    rig.source.follow(S, id(18)); // It comes back and goes on.
    expect(rig.entriesTo(S)).toEqual([...range(16, 20), ...range(19, 20)]);
  });

  test("sends a snapshot where its log begins later, then what follows that", async () => {
    const rig = new Rig();
    rig.source.follow(S, id(5));
    rig.source.follow(T, { term: decodeTerm(0), index: decodeIndex(0) });
    expect(rig.snapshots.map(({ to }) => to)).toEqual([S, T]);
    rig.applied = 25;
    rig.source.applied();
    rig.snapshots[0]!.end(id(18));
    rig.snapshots[1]!.end(undefined);
    await Promise.resolve();
    expect(rig.entriesTo(S)).toEqual(range(19, 25));
    rig.source.tick();
    expect(rig.snapshots.map(({ to }) => to)).toEqual([S, T, T]);
  });

  test("sends a bounded number of snapshots at a time", async () => {
    const rig = new Rig();
    const spares = range(100, 99 + 2 * FEED_SNAPSHOTS_MAX).map(decodeNodeId);
    for (const spare of spares) rig.source.follow(spare, id(1));
    expect(rig.snapshots.length).toBe(FEED_SNAPSHOTS_MAX);
    for (const { end } of rig.snapshots.slice()) end(id(20));
    await Promise.resolve();
    expect(rig.snapshots.length).toBe(2 * FEED_SNAPSHOTS_MAX);
  });

  test("waits until it has what the spare has", () => {
    const rig = new Rig();
    rig.source.follow(S, id(23));
    expect(rig.entriesTo(S)).toEqual([]);
    rig.applied = 24;
    rig.source.applied();
    expect(rig.entriesTo(S)).toEqual([24]);
  });

  test("names the members to who asks while it is none", () => {
    const rig = new Rig();
    rig.refusal = "no_source";
    rig.source.follow(S, id(15));
    const hints = [{ node: LEADER, address: { host: "10.0.0.1", port: 8286 } }];
    expect(rig.told.map(({ news }) => news)).toEqual([
      { kind: "unfed", reason: "no_source", hints },
    ]);
  });

  test("does not feed who holds another entry", () => {
    const rig = new Rig();
    rig.source.follow(S, { term: decodeTerm(1), index: decodeIndex(15) });
    expect(rig.refusals()).toEqual(["diverged"]);
  });

  test("tells no entries while no leader is known, and says so", () => {
    const rig = new Rig();
    rig.source.follow(S, id(20));
    rig.leader = undefined;
    rig.source.changed();
    rig.applied = 21;
    rig.source.applied();
    expect(rig.told.at(-1)!.news).toMatchObject({ leader: undefined, batch: undefined });
    rig.leader = LEADER;
    rig.source.changed();
    expect(rig.entriesTo(S)).toEqual([21]);
  });

  test("beats when there is nothing to say, and not otherwise", () => {
    const rig = new Rig();
    rig.source.follow(S, id(20));
    const count = rig.told.length;
    rig.nowMs = FEED_BEAT_MS - 1;
    rig.source.tick();
    expect(rig.told.length).toBe(count);
    rig.nowMs = FEED_BEAT_MS;
    rig.source.tick();
    expect(rig.told.length).toBe(count + 1);
  });

  test("takes no more than its limit, and forgets who is gone", () => {
    const rig = new Rig();
    for (let i = 0; i < SPARES_PER_SOURCE_MAX; i++)
      rig.source.follow(decodeNodeId(100 + i), id(20));
    rig.source.follow(S, id(20));
    expect(rig.refusals()).toEqual(["full"]);
    rig.source.lost(decodeNodeId(100));
    rig.gone.add(decodeNodeId(101));
    rig.applied = 21;
    rig.source.applied();
    expect(rig.source.spareCount).toBe(SPARES_PER_SOURCE_MAX - 2);
  });
});
