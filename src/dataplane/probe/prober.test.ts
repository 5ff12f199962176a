import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseAddress } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import { PROBE_SIZE } from "./frame.ts";
import { REPORT, REPORT_KIND } from "./mail.ts";
import { MAIL_WIDTH } from "./mail-ring.ts";
import {
  AWAY_INTERVAL_MS,
  IDLE_INTERVAL_MS,
  IN_USE_INTERVAL_MS,
  type Question,
  SILENT_ROUNDS,
} from "./peer-path.ts";
import type { ProbePeer } from "./peer-table.ts";
import { IDLE_AFTER_MS, Prober, QUESTIONS_PER_SECOND_MAX } from "./prober.ts";

const ENDPOINT = { address: parseAddress("192.0.2.1")!, port: 8285 };
const OVERHEAD = 28;
const EMSGSIZE = 90;

interface Way {
  /** Largest outer packet that comes through. */
  mtu: number;
  /** Whether anything does. */
  up: boolean;
  roundTripMs: number;
  /** Every so many questions one is lost. */
  lossEvery: number;
}

/** A prober whose peers answer as `ways` say, in simulated time. */
class World {
  nowMs = 1000;
  readonly ways: Way[] = [];
  readonly traffic: number[] = [];
  readonly limits: number[] = [];
  readonly sent: { slot: number; question: Question; atMs: number }[] = [];
  readonly prober: Prober;
  linkMtu: number;
  #answers: { atMs: number; report: Float64Array }[] = [];
  #seed = 1;

  constructor(count: number, linkMtu = 1500) {
    this.linkMtu = linkMtu;
    this.prober = new Prober(
      {
        linkMtu,
        overhead: OVERHEAD,
        below: (limit) => this.below(limit),
        send: (slot, question, told, token) => this.#take(slot, question, told, token),
        traffic: (slot) => this.traffic[slot] ?? 0,
        onPath: (slot, { payloadMax }) => {
          this.limits[slot] = payloadMax;
        },
      },
      this.nowMs,
    );
    for (let slot = 0; slot < count; slot++) {
      this.ways.push({ mtu: 65_535, up: true, roundTripMs: 1, lossEvery: 0 });
    }
    this.prober.setPeers(this.peers(), this.nowMs);
  }

  peers(): ProbePeer[] {
    return this.ways.map((_, slot) => ({ peer: idOf(slot), endpoint: ENDPOINT }));
  }

  below(limit: number): number {
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#seed / 2 ** 32) * limit);
  }

  path(slot = 0) {
    return this.prober.path(slot)!;
  }

  /** Lets time go by, with traffic to the slots of `busy` all the while. */
  run(durationMs: number, busy: readonly number[] = []): void {
    const endMs = this.nowMs + durationMs;
    while (this.nowMs < endMs) {
      for (const slot of busy) this.traffic[slot] = (this.traffic[slot] ?? 0) + 1;
      const due = this.#answers.filter(({ atMs }) => atMs <= this.nowMs);
      this.#answers = this.#answers.filter(({ atMs }) => atMs > this.nowMs);
      for (const { report } of due) this.prober.report(report, this.nowMs);
      const nextMs = this.prober.tick(this.nowMs);
      const answerMs = Math.min(...this.#answers.map(({ atMs }) => atMs));
      this.nowMs = Math.max(this.nowMs + 1, Math.min(nextMs, answerMs, this.nowMs + 100, endMs));
    }
  }

  #take(slot: number, question: Question, _told: number, token: number): boolean {
    const atMs = this.nowMs;
    this.sent.push({ slot, question, atMs });
    const way = this.ways[slot]!;
    const size = question.size + OVERHEAD;
    const report = new Float64Array(MAIL_WIDTH);
    report[REPORT.KIND] = REPORT_KIND.ANSWERED;
    report[REPORT.SLOT] = slot;
    report[REPORT.SEQUENCE] = question.sequence;
    report[REPORT.ROUND_TRIP_MS] = way.roundTripMs;
    report[REPORT.SIZE] = question.size;
    report[REPORT.TOKEN] = token;
    if (question.isWhole && size > this.linkMtu) {
      report[REPORT.KIND] = REPORT_KIND.REFUSED;
      report[REPORT.ERRNO] = EMSGSIZE;
      this.#answers.push({ atMs, report });
      return true;
    }
    const isLost = way.lossEvery > 0 && this.sent.length % way.lossEvery === 0;
    if (!way.up || isLost || (question.isWhole && size > way.mtu)) return true;
    this.#answers.push({ atMs: atMs + way.roundTripMs, report });
    return true;
  }
}

function idOf(slot: number) {
  return decodeNodeId(slot + 100);
}

function smallCount(world: World, fromMs: number, slot = 0): number {
  return world.sent.filter(
    (one) => one.slot === slot && one.atMs >= fromMs && one.question.size === PROBE_SIZE,
  ).length;
}

describe("Prober", () => {
  test("a peer in use is asked every second, an idle one every quarter of a minute", () => {
    const world = new World(2);
    world.run(5000, [0]);
    const fromMs = world.nowMs;
    world.run(60_000, [0]);
    expect(smallCount(world, fromMs, 0)).toBeGreaterThanOrEqual(58);
    expect(smallCount(world, fromMs, 0)).toBeLessThanOrEqual(72);
    expect(smallCount(world, fromMs, 1)).toBeGreaterThanOrEqual(3);
    expect(smallCount(world, fromMs, 1)).toBeLessThanOrEqual(6);
  });

  test("an idle peer that falls silent: asked thrice in a row, then every minute; it is noticed", () => {
    const world = new World(1);
    world.run(2 * IDLE_INTERVAL_MS);
    expect(world.path().isAnswering).toBe(true);
    const changeCount = world.prober.changeCount;
    world.ways[0]!.up = false;
    const fromMs = world.nowMs;
    world.run(IDLE_INTERVAL_MS + 4 * IN_USE_INTERVAL_MS);
    expect(world.path().isAnswering).toBe(false);
    expect(world.prober.changeCount).toBe(changeCount + 1);
    expect(smallCount(world, fromMs)).toBe(SILENT_ROUNDS);
    world.run(10 * AWAY_INTERVAL_MS);
    expect(smallCount(world, fromMs)).toBeGreaterThanOrEqual(SILENT_ROUNDS + 9);
    expect(smallCount(world, fromMs)).toBeLessThanOrEqual(SILENT_ROUNDS + 11);
    // Traffic: it is asked at once, as any other.
    const backMs = world.nowMs;
    world.ways[0]!.up = true;
    world.run(2 * IN_USE_INTERVAL_MS, [0]);
    expect(smallCount(world, backMs)).toBeGreaterThan(0);
    expect(world.path().isAnswering).toBe(true);
    expect(world.prober.changeCount).toBe(changeCount + 2);
  });

  test("one lost probe does not silence a peer", () => {
    const world = new World(1);
    world.run(2 * IDLE_INTERVAL_MS);
    const changeCount = world.prober.changeCount;
    world.ways[0]!.up = false;
    const lost = () => world.path().trips.lostInRow;
    while (lost() === 0) world.run(100);
    world.ways[0]!.up = true;
    world.run(IDLE_INTERVAL_MS);
    expect([lost(), world.path().isAnswering]).toEqual([0, true]);
    expect(world.prober.changeCount).toBe(changeCount);
  });

  test("traffic stops: the peer is idle after a while", () => {
    const world = new World(1);
    world.run(5000, [0]);
    expect(world.path().isInUse).toBe(true);
    world.run(IDLE_AFTER_MS + 2 * IN_USE_INTERVAL_MS);
    expect(world.path().isInUse).toBe(false);
  });

  test("an idle peer gets traffic: asked within two seconds", () => {
    const world = new World(1);
    world.run(3 * IDLE_INTERVAL_MS);
    const fromMs = world.nowMs;
    world.run(2000, [0]);
    expect(smallCount(world, fromMs)).toBeGreaterThan(0);
  });

  test("round trips: last, smoothed, least; loss over the window", () => {
    const world = new World(1);
    world.ways[0]!.roundTripMs = 10;
    world.run(10_000, [0]);
    expect(world.path().trips).toMatchObject({ lastMs: 10, smoothedMs: 10, minMs: 10 });
    expect(world.path().trips.lossPercent).toBe(0);
    world.ways[0]!.roundTripMs = 50;
    world.run(3000, [0]);
    const { smoothedMs, minMs, lastMs } = world.path().trips;
    expect([minMs, lastMs]).toEqual([10, 50]);
    expect(smoothedMs!).toBeGreaterThan(10);
    expect(smoothedMs!).toBeLessThan(50);
    world.ways[0]!.up = false;
    world.run(10_000, [0]);
    expect(world.path().trips.lossPercent!).toBeGreaterThan(25);
    expect(world.path().trips.lostInRow).toBeGreaterThanOrEqual(8);
  });

  test("a peer falls silent: since when; one answer ends it, and no MTU was unlearned", () => {
    const world = new World(1);
    world.run(10_000, [0]);
    const downMs = world.nowMs;
    world.ways[0]!.up = false;
    world.run(20_000, [0]);
    const { silentSinceMs } = world.path();
    expect(silentSinceMs!).toBeGreaterThanOrEqual(downMs);
    expect(silentSinceMs!).toBeLessThan(downMs + 2 * IN_USE_INTERVAL_MS);
    expect(world.path().mtu.found).toBe(1500);
    world.ways[0]!.up = true;
    world.run(2000, [0]);
    expect(world.path().silentSinceMs).toBeUndefined();
    expect(world.limits[0]).toBe(1500 - OVERHEAD);
  });

  test("a peer that never answers keeps the link's MTU, and is not asked every second", () => {
    const world = new World(1);
    world.ways[0]!.up = false;
    world.run(20_000, [0]);
    expect(world.path().isDeaf).toBe(true);
    const fromMs = world.nowMs;
    world.run(60_000, [0]);
    expect(smallCount(world, fromMs)).toBeLessThan(7);
    expect(world.limits[0]).toBe(1500 - OVERHEAD);
  });

  test("a path of 1400: found within seconds, also of an idle peer, and told", () => {
    const world = new World(2);
    for (const way of world.ways) way.mtu = 1400;
    world.run(5000, [0]);
    expect([world.path(0).mtu.found, world.path(1).mtu.found]).toEqual([1400, 1400]);
    expect(world.limits).toEqual([1372, 1372]);
  });

  test("any path, any loss up to a third: found to the byte", () => {
    const path = fc.integer({ min: 576, max: 2000 });
    const lossEvery = fc.constantFrom(0, 3, 5, 7, 11);
    fc.assert(
      fc.property(path, lossEvery, (mtu, every) => {
        const world = new World(1, 1500);
        Object.assign(world.ways[0]!, { mtu, lossEvery: every });
        world.run(every === 0 ? 15_000 : 200_000, [0]);
        expect(world.limits[0]! + OVERHEAD).toBeLessThanOrEqual(Math.min(mtu, 1500));
        if (every === 0) expect(world.path().mtu.found).toBe(Math.min(mtu, 1500));
      }),
      { numRuns: 40 },
    );
  });

  test("a path becomes a black hole for large packets: found within seconds of use", () => {
    const world = new World(1);
    world.run(20_000, [0]);
    expect(world.path().mtu.found).toBe(1500);
    world.ways[0]!.mtu = 1300;
    world.run(8000, [0]);
    expect(world.limits[0]).toBe(1300 - OVERHEAD);
    expect(world.path().mtu.blackHoleCount).toBe(1);
    expect(world.path().trips.lossPercent).toBe(0);
  });

  test("the path carries more again: raised after a while, or at once when asked", () => {
    const world = new World(1);
    world.ways[0]!.mtu = 1300;
    world.run(10_000, [0]);
    world.ways[0]!.mtu = 1500;
    world.run(70_000, [0]);
    expect(world.limits[0]).toBe(1500 - OVERHEAD);
    world.ways[0]!.mtu = 1350;
    world.run(10_000, [0]);
    world.ways[0]!.mtu = 1500;
    world.prober.raise(0, world.nowMs);
    world.run(1000, [0]);
    expect(world.limits[0]).toBe(1500 - OVERHEAD);
  });

  test("the underlay's MTU goes up and down: followed", () => {
    const world = new World(1);
    world.run(3000);
    world.linkMtu = 9000;
    world.prober.setLinkMtu(9000, world.nowMs);
    expect(world.limits[0]).toBe(9000 - OVERHEAD);
    world.ways[0]!.mtu = 8000;
    world.run(8000, [0]);
    expect(world.limits[0]).toBe(8000 - OVERHEAD);
    world.linkMtu = 1400;
    world.prober.setLinkMtu(1400, world.nowMs);
    expect(world.limits[0]).toBe(1400 - OVERHEAD);
  });

  test("the kernel refuses a size before the change is told: believed at once", () => {
    const world = new World(1);
    world.run(3000);
    world.linkMtu = 1400;
    world.run(8000, [0]);
    expect(world.limits[0]).toBe(1400 - OVERHEAD);
  });

  test("a thousand peers in use: bounded a second, and none is left out", () => {
    const world = new World(1000);
    const all = world.ways.map((_, slot) => slot);
    world.run(20_000, all);
    const fromMs = world.nowMs;
    world.run(10_000, all);
    const late = world.sent.filter(({ atMs }) => atMs >= fromMs);
    expect(late.length).toBeLessThanOrEqual(10.5 * QUESTIONS_PER_SECOND_MAX);
    expect(new Set(late.map(({ slot }) => slot)).size).toBe(1000);
    expect(world.limits.every((limit) => limit === 1500 - OVERHEAD)).toBe(true);
  });

  test("a thousand idle peers: spread over the interval", () => {
    const world = new World(1000);
    world.run(2 * IDLE_INTERVAL_MS);
    const fromMs = world.nowMs;
    world.run(IDLE_INTERVAL_MS);
    const seconds = new Map<number, number>();
    for (const { atMs } of world.sent.filter((one) => one.atMs >= fromMs)) {
      const second = Math.floor((atMs - fromMs) / 1000);
      seconds.set(second, (seconds.get(second) ?? 0) + 1);
    }
    expect(Math.max(...seconds.values())).toBeLessThan(300);
  });

  test("reports of strangers and of another life change nothing", () => {
    const world = new World(1);
    world.run(5000);
    const before = world.path().trips.answeredCount;
    const report = new Float64Array(MAIL_WIDTH);
    report[REPORT.KIND] = REPORT_KIND.ANSWERED;
    report[REPORT.TOKEN] = 12345;
    world.prober.report(report, world.nowMs);
    report[REPORT.SLOT] = 77;
    world.prober.report(report, world.nowMs);
    expect(world.path().trips.answeredCount).toBe(before);
  });

  test("pings: answered, lost, nobody", () => {
    const world = new World(1);
    const outcomes: string[] = [];
    const request = () => ({ nowMs: world.nowMs, timeoutMs: 500 });
    const ask = () => world.prober.ping(0, request(), ({ kind }) => outcomes.push(kind));
    expect(ask()).toBe(true);
    world.run(100);
    world.ways[0]!.up = false;
    ask();
    world.run(600);
    expect(outcomes).toEqual(["answered", "lost"]);
    expect(world.prober.ping(9, request(), () => undefined)).toBe(false);
  });

  test("a peer at another endpoint starts anew; the others keep what was measured", () => {
    const world = new World(2);
    world.run(3000);
    const kept = world.path(1);
    const peers = world.peers();
    world.prober.setPeers(
      [{ ...peers[0]!, endpoint: { ...ENDPOINT, port: 9 } }, peers[1]!],
      world.nowMs,
    );
    expect(world.path(0).mtu.found).toBeUndefined();
    expect(world.path(1)).toBe(kept);
  });
});
