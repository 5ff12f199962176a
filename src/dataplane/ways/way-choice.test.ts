import { describe, expect, test } from "bun:test";
import type { Way } from "./way.ts";
import {
  BROKEN_LOSSES,
  HOLD_FIRST_MS,
  HOLD_MAX_MS,
  PROOF_ANSWERS,
  STABLE_MS,
  SURE_MS,
  WayChoice,
} from "./way-choice.ts";

const ALL = ["direct", "vxlan", "udp"] as const;

/** A choice and its clock; words say what happens, a question of each way every quarter second. */
class Story {
  readonly choice: WayChoice;
  nowMs = 0;
  readonly moves: Way[] = [];

  constructor(ways: readonly Way[] = ALL, current?: Way) {
    this.choice = new WayChoice(ways, current);
  }

  /** For `forMs` every way is asked, and only those in `alive` answer. */
  run(alive: readonly Way[], forMs: number): this {
    const untilMs = this.nowMs + forMs;
    for (; this.nowMs < untilMs; this.nowMs += 250) {
      for (const way of this.choice.ways) {
        const hasMoved = alive.includes(way)
          ? this.choice.answered(way, this.nowMs)
          : this.choice.lost(way, this.nowMs - 500, this.nowMs);
        if (hasMoved) this.moves.push(this.choice.current);
      }
    }
    return this;
  }

  /** Waits, without questions. */
  wait(forMs: number): this {
    this.nowMs += forMs;
    return this;
  }
}

describe("WayChoice", () => {
  test("the last resort is used until another way is proven, and the best of all then", () => {
    const story = new Story();
    expect(story.choice.current).toBe("udp");
    story.run(ALL, 250 * (PROOF_ANSWERS - 1));
    expect(story.choice.current).toBe("udp");
    story.run(ALL, 250);
    expect(story.moves).toEqual(["direct"]);
  });

  test("a way that loses some questions now and then stays", () => {
    const story = new Story(ALL, "vxlan");
    for (let i = 0; i < 100; i++) {
      story.run(["udp"], 250 * (BROKEN_LOSSES - 1)).run(["vxlan", "udp"], 250);
    }
    expect(story.moves).toEqual([]);
  });

  test("a way that breaks is left within seconds, for the best that answers", () => {
    const story = new Story(ALL, "direct").run(ALL, 1000).run(["vxlan", "udp"], 1500);
    expect(story.moves).toEqual(["vxlan"]);
    expect(story.run(["udp"], 1500).moves).toEqual(["vxlan", "udp"]);
  });

  test("a peer that is off changes nothing, nor one that comes back, in whatever order", () => {
    const story = new Story(ALL, "vxlan").run(["vxlan", "udp"], 2000).run([], 60_000);
    // What answers first is the packet engine.
    story.run(["udp"], SURE_MS).run(["vxlan", "udp"], 10_000);
    expect(story.moves).toEqual([]);
  });

  test("what only others lost long ago says nothing about the way in use now", () => {
    const story = new Story(["vxlan", "udp"], "vxlan").run([], 60_000);
    for (let i = 0; i < 20; i++) story.choice.answered("udp", story.wait(250).nowMs);
    expect(story.choice.current).toBe("vxlan");
  });

  test("what another way answered before the doubt says nothing about the peer now", () => {
    const { choice, nowMs } = new Story(["vxlan", "udp"], "vxlan").run(["vxlan", "udp"], 5000);
    for (let i = 0; i < 20; i++) choice.lost("vxlan", nowMs + 500 * i, nowMs + 500 * (i + 1));
    expect(choice.current).toBe("vxlan");
  });

  test("the last resort is never held: it goes before a way that is", () => {
    const story = new Story(ALL, "direct").run(["vxlan", "udp"], 2000).run(["udp"], 2000);
    story.run(["direct"], 2000).run(["vxlan", "udp"], 2000);
    expect(story.moves).toEqual(["vxlan", "udp", "direct", "udp"]);
  });

  test("a way that broke is returned to after its hold, which doubles, up to a limit", () => {
    const story = new Story(["vxlan", "udp"], "vxlan").run(["vxlan", "udp"], 1000);
    const holds: number[] = [];
    for (let i = 0; i < 9; i++) {
      story.run(["udp"], 2000);
      expect(story.choice.current).toBe("udp");
      const obstacle = story.run(["vxlan", "udp"], 1000).choice.obstacle("vxlan", story.nowMs);
      expect(obstacle?.kind).toBe("held");
      const fromMs = story.nowMs;
      while (story.choice.current === "udp") story.run(["vxlan", "udp"], 250);
      holds.push(Math.round((story.nowMs - fromMs) / 10_000) * 10_000);
    }
    expect(holds.slice(0, 4)).toEqual([1, 2, 4, 8].map((times) => times * HOLD_FIRST_MS));
    expect(holds.slice(-2)).toEqual([HOLD_MAX_MS, HOLD_MAX_MS]);
  });

  test("after a long time in use its holds are short again", () => {
    const story = new Story(["vxlan", "udp"], "vxlan");
    for (let i = 0; i < 5; i++) story.run(["udp"], 2000).run(["vxlan", "udp"], HOLD_MAX_MS);
    story.wait(STABLE_MS).run(["vxlan", "udp"], 1000).run(["udp"], 2000);
    story.run(["vxlan", "udp"], HOLD_FIRST_MS);
    expect(story.choice.current).toBe("vxlan");
  });

  test("a held way is taken all the same when nothing else answers", () => {
    const story = new Story(["vxlan", "udp"], "vxlan").run(["udp"], 2000);
    expect(story.choice.current).toBe("udp");
    expect(story.run(["vxlan"], 2000).choice.current).toBe("vxlan");
  });

  test("says why a better way is not in use", () => {
    const { choice } = new Story(ALL);
    expect(choice.obstacle("udp", 0)).toBeUndefined();
    expect(choice.obstacle("direct", 0)).toEqual({ kind: "unproven" });
    choice.answered("vxlan", 0);
    expect(choice.obstacle("vxlan", 0)).toEqual({ kind: "unproven" });
    choice.lost("vxlan", 0, 1000);
    const silent = { kind: "silent", forMs: 2000 } as const;
    expect(choice.obstacle("vxlan", 3000)).toEqual({ ...silent, hasAnswered: true });
    choice.lost("direct", 0, 1000);
    expect(choice.obstacle("direct", 3000)).toEqual({ ...silent, hasAnswered: false });
  });
});
