import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Prefix, parsePrefix } from "../../base/address.ts";
import type { Way } from "./way.ts";
import { HOLD_FIRST_MS, HOLD_MAX_MS } from "./way-choice.ts";
import {
  IN_USE_INTERVAL_MS,
  STANDBY_INTERVAL_MS,
  TIMEOUT_MIN_MS,
  type WayQuestion,
  type WayTarget,
  WayWatch,
} from "./way-watch.ts";

const ALL: readonly Way[] = ["direct", "vxlan", "udp"];
const TICK_MS = 50;

const subnet = (number: number): Prefix => parsePrefix(`10.${number >> 8}.${number & 255}.0/24`)!;
const target = (number: number, change: Partial<WayTarget> = {}): WayTarget => {
  return { subnet: subnet(number), ways: ALL, identity: "a", ...change };
};

/** A watch over a network that loses what it is told to. */
class Network {
  nowMs = 0;
  alive: (question: WayQuestion) => boolean = () => true;
  roundTripMs = 1;
  /** In the last run. */
  answerCount = 0;
  readonly asked: (WayQuestion & { readonly atMs: number })[] = [];
  readonly #answers: { readonly question: WayQuestion; readonly atMs: number }[] = [];
  readonly watch: WayWatch;
  #seed = 1;

  constructor(targets: readonly WayTarget[] = [target(1)]) {
    this.watch = new WayWatch({
      below: (limit) => {
        this.#seed = (this.#seed * 1_103_515_245 + 12_345) % 2 ** 31;
        return this.#seed % limit;
      },
      ask: (question) => {
        this.asked.push({ ...question, atMs: this.nowMs });
        if (!this.alive(question)) return;
        this.#answers.push({ question, atMs: this.nowMs + this.roundTripMs });
      },
    });
    this.watch.follow(targets, 0);
  }

  run(forMs: number, ways: readonly Way[] = ALL): this {
    this.alive = ({ way }) => ways.includes(way);
    const untilMs = this.nowMs + forMs;
    this.answerCount = 0;
    for (; this.nowMs < untilMs; this.nowMs += TICK_MS) this.#turn();
    return this;
  }

  #turn(): void {
    const due = this.#answers.filter(({ atMs }) => atMs <= this.nowMs);
    for (const answer of due) {
      this.#answers.splice(this.#answers.indexOf(answer), 1);
      this.watch.answered(answer.question, this.nowMs);
      this.answerCount++;
    }
    this.watch.tick(this.nowMs);
  }

  get current(): Way | undefined {
    return this.watch.choices.get(subnet(1));
  }

  get moveCount(): number {
    return Object.values(this.watch.moves).reduce((sum, count) => sum + count, 0);
  }

  countSince(fromMs: number, way: Way): number {
    return this.asked.filter((it) => it.way === way && it.atMs >= fromMs).length;
  }
}

describe("WayWatch", () => {
  test("proves the best way within two seconds, and asks seldom then", () => {
    const network = new Network().run(2000);
    expect(network.current).toBe("direct");
    const fromMs = network.run(10_000).nowMs;
    network.run(60_000);
    expect(network.countSince(fromMs, "direct")).toBeWithin(55, 70);
    expect(network.countSince(fromMs, "vxlan")).toBeWithin(11, 15);
    expect(network.countSince(fromMs, "udp")).toBeWithin(11, 15);
    expect(network.watch.moves).toEqual({ direct: 1, vxlan: 0, udp: 0 });
  });

  test("leaves a way that breaks within three seconds, whenever it does", () => {
    for (let phase = 0; phase < IN_USE_INTERVAL_MS; phase += TICK_MS) {
      const network = new Network().run(20_000 + phase).run(3000, ["vxlan", "udp"]);
      expect(network.current).toBe("vxlan");
    }
  });

  test("a peer that is just starting is found soon", () => {
    const network = new Network().run(3000, ["udp"]).run(2500);
    expect(network.current).toBe("direct");
  });

  test("returns to a way that works again when its hold ends, within a second", () => {
    for (let phase = 0; phase < STANDBY_INTERVAL_MS; phase += 7 * TICK_MS) {
      const network = new Network([target(1, { ways: ["vxlan", "udp"] })]).run(20_000 + phase);
      network.run(1000, ["udp"]);
      while (network.current === "vxlan") network.run(TICK_MS, ["udp"]);
      const leftMs = network.nowMs;
      network.run(HOLD_FIRST_MS - 1000);
      expect(network.current).toBe("udp");
      while (network.current === "udp") network.run(TICK_MS);
      expect(network.nowMs - leftMs).toBeWithin(HOLD_FIRST_MS, HOLD_FIRST_MS + 1000);
    }
  });

  test("a peer that is off and back again makes no move, whatever of it is back first", () => {
    for (let phase = 0; phase < STANDBY_INTERVAL_MS; phase += 7 * TICK_MS) {
      const network = new Network().run(20_000).run(60_000 + phase, []);
      network.run(300, ["udp"]).run(20_000);
      expect([network.current, network.moveCount]).toEqual(["direct", 1]);
    }
  });

  test("a peer that comes back without its way is soon reached by another", () => {
    // So long that its ways are asked at different times.
    for (let phase = 0; phase < STANDBY_INTERVAL_MS; phase += 20 * TICK_MS) {
      const network = new Network().run(20_000).run(900_000 + phase, []);
      while (network.answerCount === 0) network.run(TICK_MS, ["udp"]);
      expect(network.run(2000, ["udp"]).current).toBe("udp");
    }
  });

  test("an answer to a question that is not the last one counts for nothing", () => {
    const network = new Network([target(1, { ways: ["vxlan", "udp"] })]).run(20_000, ["udp"]);
    const former = network.asked.filter(({ way }) => way === "vxlan").slice(0, -1);
    expect(former.length).toBeGreaterThan(3);
    for (const question of former) network.watch.answered(question, network.nowMs);
    expect(network.current).toBe("udp");
  });

  test("answers that take long are late only the first time", () => {
    const network = new Network();
    network.roundTripMs = TIMEOUT_MIN_MS + 150;
    network.run(40_000);
    expect([network.current, network.moveCount]).toEqual(["direct", 1]);
  });

  test("who stays keeps his way; another identity begins anew", () => {
    const network = new Network().run(5000);
    network.watch.follow([target(1), target(2)], network.nowMs);
    expect(network.current).toBe("direct");
    network.watch.follow([target(1, { ways: ["direct", "udp"] })], network.nowMs);
    expect(network.current).toBe("direct");
    network.watch.follow([target(1, { ways: ["vxlan", "udp"] })], network.nowMs);
    expect(network.current).toBe("udp");
    network.run(5000);
    expect(network.current).toBe("vxlan");
    network.watch.follow([target(1, { identity: "b" })], network.nowMs);
    expect(network.current).toBe("udp");
    network.watch.follow([target(1, { inForce: "vxlan" })], network.nowMs);
    expect(network.current).toBe("vxlan");
    network.watch.follow([], network.nowMs);
    expect(network.watch.choices.size).toBe(0);
  });

  test("with thousands of peers each is asked less often, and nobody is left out", () => {
    const network = new Network(Array.from({ length: 2000 }, (_, number) => target(number)));
    network.run(120_000);
    expect([...network.watch.choices.values()].every((way) => way === "direct")).toBe(true);
    const fromMs = network.nowMs;
    network.run(30_000);
    const perSecond = network.asked.filter(({ atMs }) => atMs >= fromMs).length / 30;
    expect(perSecond).toBeLessThan(500);
    const broken = network.run(60_000, ["udp"]).watch.choices.values();
    expect([...broken].every((way) => way === "udp")).toBe(true);
  });

  test("for any history: ends on a way that works, and moves no more than holds allow", () => {
    const spell = fc.record({
      forMs: fc.integer({ min: 100, max: 40_000 }),
      ways: fc.subarray(["direct", "vxlan"] as Way[]),
    });
    fc.assert(
      fc.property(fc.array(spell, { minLength: 1, maxLength: 40 }), (spells) => {
        const network = new Network();
        for (const { forMs, ways } of spells) network.run(forMs, [...ways, "udp"]);
        const last = [...(spells.at(-1)?.ways ?? []), "udp" as const];
        network.run(5000, last);
        expect(last).toContain(network.current!);
        // Each way is left at most once more than its holds, 10 s doubled each time, fit in.
        const leftMax = Math.log2(network.nowMs / 10_000 + 1) + network.nowMs / HOLD_MAX_MS + 2;
        expect(network.moveCount).toBeLessThanOrEqual(2 * 2 * Math.ceil(leftMax));
      }),
      { numRuns: 60 },
    );
  });

  test("for any history of all ways: ends on one that works, if there is one", () => {
    const ways = fc.subarray(ALL as Way[]);
    fc.assert(
      fc.property(fc.array(ways, { minLength: 1, maxLength: 20 }), (spells) => {
        const network = new Network();
        for (const each of spells) network.run(4000, each);
        network.run(12_000, spells.at(-1)!);
        if (spells.at(-1)!.length > 0) expect(spells.at(-1)!).toContain(network.current!);
      }),
      { numRuns: 60 },
    );
  });
});
