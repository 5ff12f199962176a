/**
 * The prober on the agent's clock, over a link whose other end a test plays.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { parseAddress, parsePrefix } from "../base/address.ts";
import { decodeNodeId } from "../base/ids.ts";
import { PEER, PEER_STRIDE } from "../dataplane/forward/counters.ts";
import { QUESTION, REPORT, REPORT_KIND } from "../dataplane/probe/mail.ts";
import { MAIL_WIDTH, MailRing } from "../dataplane/probe/mail-ring.ts";
import { PeerProber } from "./peer-prober.ts";
import { ProbeLink } from "./probe-link.ts";

const PEER_ID = decodeNodeId(9);
const ROUND_TRIP_MS = 0.25;

/** A loop that answers at once, while `isUp`, what fits `mtu`. */
class FakeLoop {
  readonly clock = new ManualClock();
  readonly counters = new Float64Array(4 * PEER_STRIDE);
  readonly grown: Float64Array[] = [];
  readonly link: ProbeLink;
  readonly prober: PeerProber;
  isUp = true;
  mtu = 1500;
  wakeCount = 0;

  constructor() {
    this.link = new ProbeLink({
      family: 4,
      wake: () => this.#answer(),
      arrays: () => [this.counters, ...this.grown],
      slotOf: (peer) => (peer === PEER_ID ? 2 : undefined),
    });
    this.prober = new PeerProber({
      link: this.link,
      linkMtu: 1500,
      clock: this.clock,
      random: { below: (limit) => limit >>> 1, bytes: (count) => new Uint8Array(count) },
    });
    this.publish("192.0.2.9");
  }

  publish(address: string): void {
    const endpoint = { address: parseAddress(address)!, port: 8285 };
    const row = { prefix: parsePrefix("10.0.9.0/24")!, peer: PEER_ID, endpoint };
    const rows = [{ ...row, partialChecksum: true }];
    this.link.encodeTable({ local: [], rows }, decodeNodeId(1));
    this.prober.follow();
  }

  #answer(): void {
    this.wakeCount++;
    const questions = new MailRing(this.link.questionMemory);
    const reports = new MailRing(this.link.reportMemory);
    const [question, report] = [new Float64Array(MAIL_WIDTH), new Float64Array(MAIL_WIDTH)];
    while (questions.take(question)) {
      const isLost = question[QUESTION.WHOLE] === 1 && question[QUESTION.SIZE]! + 28 > this.mtu;
      if (!this.isUp || isLost) continue;
      report[REPORT.KIND] = REPORT_KIND.ANSWERED;
      report[REPORT.SLOT] = question[QUESTION.SLOT]!;
      report[REPORT.SEQUENCE] = question[QUESTION.SEQUENCE]!;
      report[REPORT.ROUND_TRIP_MS] = ROUND_TRIP_MS;
      report[REPORT.SIZE] = question[QUESTION.SIZE]!;
      report[REPORT.TOKEN] = question[QUESTION.TOKEN]!;
      report[REPORT.TOLD] = 1400;
      reports.put(report);
    }
  }

  /** What the packet loop reads of the peer. */
  at(field: number): number {
    return this.counters[2 * PEER_STRIDE + field]!;
  }

  path() {
    return this.prober.path(PEER_ID)!;
  }
}

describe("PeerProber", () => {
  test("measures, tells the loop what fits, and rests in between", async () => {
    const loop = new FakeLoop();
    expect(loop.at(PEER.PAYLOAD_MAX)).toBe(1472);
    await loop.clock.advance(2000);
    expect(loop.path()).toMatchObject({
      rttMs: ROUND_TRIP_MS,
      lossPercent: 0,
      pathMtu: 1500,
      pathMtuBack: 1400,
      innerMtu: 1472,
      isInUse: false,
      silentForMs: undefined,
    });
    expect(loop.at(PEER.PATH_MTU)).toBe(1500);
    const before = loop.wakeCount;
    await loop.clock.advance(60_000);
    expect(loop.wakeCount - before).toBeLessThanOrEqual(6);
    loop.prober.close();
  });

  test("a narrow path reaches the loop; sealing and the overlay's MTU count for people", async () => {
    const loop = new FakeLoop();
    loop.mtu = 1400;
    await loop.clock.advance(20_000);
    expect([loop.at(PEER.PAYLOAD_MAX), loop.path().isNarrow]).toEqual([1372, true]);
    loop.prober.setOverlay(1440, 32);
    expect(loop.path().innerMtu).toBe(1340);
    loop.prober.setOverlay(1300, 0);
    expect(loop.path().innerMtu).toBe(1300);
    loop.prober.close();
  });

  test("counters that grow know the paths too", async () => {
    const loop = new FakeLoop();
    loop.mtu = 1400;
    loop.grown.push(new Float64Array(8 * PEER_STRIDE));
    await loop.clock.advance(20_000);
    expect(loop.grown[0]![2 * PEER_STRIDE + PEER.PAYLOAD_MAX]).toBe(1372);
    loop.prober.close();
  });

  test("another endpoint: what was measured counts no more", async () => {
    const loop = new FakeLoop();
    await loop.clock.advance(2000);
    loop.publish("192.0.2.10");
    expect(loop.path()).toMatchObject({ rttMs: undefined, pathMtu: undefined });
    loop.publish("192.0.2.10");
    await loop.clock.advance(2000);
    expect(loop.path().pathMtu).toBe(1500);
    loop.prober.close();
  });

  test("a ping is answered, lost, or has nobody to go to", async () => {
    const loop = new FakeLoop();
    await loop.clock.advance(2000);
    const answered = loop.prober.ping(PEER_ID, 500);
    await loop.clock.advance(20);
    expect(await answered).toEqual({ kind: "answered", roundTripMs: ROUND_TRIP_MS });
    loop.isUp = false;
    const lost = loop.prober.ping(PEER_ID, 500);
    await loop.clock.advance(600);
    expect(await lost).toEqual({ kind: "lost" });
    expect(await loop.prober.ping(decodeNodeId(77), 500)).toBeUndefined();
    const cut = loop.prober.ping(PEER_ID, 500);
    loop.prober.close();
    expect(await cut).toEqual({ kind: "lost" });
  });

  test("after close nothing is asked", async () => {
    const loop = new FakeLoop();
    await loop.clock.advance(2000);
    loop.prober.close();
    const before = loop.wakeCount;
    await loop.clock.advance(60_000);
    expect(loop.wakeCount).toBe(before);
  });
});
