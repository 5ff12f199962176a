import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../../base/ids.ts";
import type { EntryId } from "../../raft/types.ts";
import {
  FEED_ANSWER_MS,
  FEED_BETTER_MS,
  FEED_CONFIRM_MS,
  FEED_LEADERLESS_MS,
  FEED_RETRY_MAX_MS,
  FEED_SILENCE_MS,
  TICK_BATCH_MS,
} from "../limits.ts";
import { FeedIntake } from "./feed-intake.ts";
import type { FeedBatch, FeedFrame } from "./feed-messages.ts";

const [A, B, C, L] = [1, 2, 3, 4].map(decodeNodeId) as [NodeId, NodeId, NodeId, NodeId];
const term = decodeTerm(2);
const id = (index: number): EntryId => ({ term, index: decodeIndex(index) });

/** A spare that has everything up to `position` and may ask A, B, C and the leader L. */
class Rig {
  position = 10;
  order: readonly NodeId[] = [A, B, C, L];
  readonly deaf = new Set<NodeId>();
  /** What was done, in short. */
  readonly log: string[] = [];
  readonly intake = new FeedIntake({
    order: () => this.order,
    position: () => id(this.position),
    ask: (source, request) => {
      const what = request.kind === "follow" ? request.position.index : `fed ${request.index}`;
      this.log.push(`${source}<${what}`);
      return !this.deaf.has(source);
    },
    hinted: (hints) => {
      if (hints.length > 0) this.order = [...this.order, ...hints.map(({ node }) => node)];
    },
    part: (source) => this.log.push(`${source} parted`),
    take: (_frame: FeedFrame, batch: FeedBatch | undefined) => {
      for (const entry of batch?.entries ?? []) {
        expect(Number(entry.index)).toBe(this.position + 1); // No gap, no repeat.
        this.position += 1;
      }
    },
    leaderless: () => this.log.push("leaderless"),
    diverged: (source) => this.log.push(`${source} diverged`),
    below: () => 0,
  });

  pass(durationMs: number): void {
    for (let ms = 0; ms < durationMs; ms += TICK_BATCH_MS) this.intake.tick();
  }

  /** `from` tells a beat, or the entries from `first` to `last`. */
  tell(from: NodeId, first?: number, last = first ?? 0, leader: NodeId | undefined = L): void {
    const count = first === undefined ? 0 : last - first + 1;
    const entries = Array.from({ length: count }, (_, i) => ({
      ...{ kind: "normal" as const, ...id(first! + i), data: new Uint8Array(1) },
    }));
    const batch = first === undefined ? undefined : { previous: id(first - 1), entries };
    const applied = decodeIndex(Math.max(last, this.position));
    this.intake.told(from, { kind: "feed", term, leader, applied, batch }, 100);
  }

  /** What was done since the last look. */
  done(): string[] {
    return this.log.splice(0);
  }
}

describe("an intake", () => {
  test("asks the best, and is fed by who answers", () => {
    const rig = new Rig();
    rig.intake.start();
    rig.tell(A);
    rig.tell(A, 11, 14);
    expect(rig.position).toBe(14);
    expect([rig.intake.source, rig.intake.behindCount]).toEqual([A, 0]);
    expect(rig.done()).toEqual(["1<10"]);
  });

  test("asks the next when one refuses, is deaf, lost or silent; then rests and begins anew", () => {
    const rig = new Rig();
    rig.deaf.add(B);
    rig.intake.start();
    rig.intake.told(A, { kind: "unfed", reason: "full", hints: [] }, 10);
    rig.intake.lost(C);
    rig.pass(FEED_ANSWER_MS);
    const asked = ["1<10", "1 parted", "2<10", "3<10", "3 parted", "4<10", "4 parted"];
    expect(rig.done()).toEqual([...asked, "leaderless"]);
    rig.pass(FEED_RETRY_MAX_MS);
    expect(rig.done()[0]).toBe("1<10");
  });

  test("cuts off what it has, and asks again where something is missing", () => {
    const rig = new Rig();
    rig.intake.start();
    rig.tell(A, 11, 13);
    rig.tell(A, 9, 12);
    rig.tell(A, 12, 15);
    expect(rig.position).toBe(15);
    rig.pass(TICK_BATCH_MS);
    rig.tell(A, 18, 19);
    rig.tell(A, 20, 21);
    expect(rig.position).toBe(15);
    expect(rig.done()).toEqual(["1<10", "1<15"]);
    rig.tell(A, 16, 21);
    expect(rig.position).toBe(21);
  });

  test("notices by the beats that the last frame got lost", () => {
    const rig = new Rig();
    rig.intake.start();
    rig.tell(A, 11, 13);
    rig.pass(TICK_BATCH_MS);
    for (let i = 0; i < 2; i++) rig.intake.told(A, { ...beat(), applied: decodeIndex(15) }, 10);
    expect(rig.done()).toEqual(["1<10", "1<13"]);
    rig.tell(A, 14, 15);
    expect(rig.position).toBe(15);
  });

  test("falls back when its source is lost or silent, which it then asks last", () => {
    const rig = new Rig();
    rig.intake.start();
    rig.tell(A);
    rig.done();
    rig.intake.lost(A);
    expect(rig.done()).toEqual(["1 parted", "2<10"]);
    rig.tell(B);
    rig.pass(FEED_SILENCE_MS);
    expect(rig.done().at(-1)).toBe("1<10");
    rig.tell(A);
    rig.pass(FEED_SILENCE_MS / 2);
    rig.tell(A);
    rig.pass(FEED_SILENCE_MS / 2);
    expect(rig.intake.source).toBe(A);
  });

  test("leaves a source that knows no leader for long", () => {
    const rig = new Rig();
    rig.intake.start();
    rig.tell(A);
    for (let ms = 0; ms <= FEED_LEADERLESS_MS + TICK_BATCH_MS; ms += TICK_BATCH_MS) {
      rig.intake.told(A, { ...beat(), leader: undefined }, 10);
      rig.intake.tick();
    }
    expect(rig.intake.source).toBeUndefined();
    expect(rig.done()).toEqual(expect.arrayContaining(["leaderless", "1 parted", "2<10"]));
  });

  test("looks for somebody better while the leader feeds it, and misses nothing", () => {
    const rig = new Rig();
    rig.deaf.add(A).add(B).add(C);
    rig.intake.start();
    rig.tell(L, 11);
    rig.deaf.delete(B);
    rig.done();
    for (let ms = 0; ms < FEED_BETTER_MS; ms += TICK_BATCH_MS) {
      rig.tell(L);
      rig.intake.tick();
    }
    expect(rig.done()).toContain("2<11");
    rig.tell(L, 12);
    expect([rig.intake.source, rig.position]).toEqual([L, 12]);
    rig.tell(B, 12, 13);
    expect([rig.intake.source, rig.position]).toEqual([B, 13]);
    rig.tell(L, 13);
    expect(rig.done().slice(-2)).toEqual(["4 parted", "4 parted"]);
  });

  test("confirms what is on the disk, not each frame", () => {
    const rig = new Rig();
    rig.intake.start();
    for (let i = 11; i <= 30; i++) {
      rig.tell(A, i);
      rig.intake.durable(decodeIndex(i));
    }
    expect(rig.done()).toEqual(["1<10"]);
    rig.pass(FEED_CONFIRM_MS + TICK_BATCH_MS);
    expect(rig.done()).toEqual(["1<fed 30"]);
  });

  test("says when its source holds another entry, and leaves it", () => {
    const rig = new Rig();
    rig.intake.start();
    rig.tell(A);
    const other = { term: decodeTerm(1), index: decodeIndex(10) };
    const entry = { kind: "normal" as const, ...id(11), data: new Uint8Array(1) };
    rig.intake.told(A, { ...beat(), batch: { previous: other, entries: [entry] } }, 10);
    expect(rig.position).toBe(10);
    expect(rig.done()).toContain("1 diverged");
    expect(rig.intake.source).toBeUndefined();
  });

  test("stops when somebody else looks after the node", () => {
    const rig = new Rig();
    rig.intake.start();
    rig.tell(A);
    rig.intake.stop();
    rig.tell(A, 11);
    expect([rig.intake.isOn, rig.position]).toEqual([false, 10]);
    expect(rig.done()).toEqual(["1<10", "1 parted", "1 parted"]);
  });
});

function beat(): FeedFrame {
  return { kind: "feed", term, leader: L, applied: decodeIndex(10), batch: undefined };
}
