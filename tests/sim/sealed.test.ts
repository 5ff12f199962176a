/**
 * Sealed packets through two whole loops in memory: what crosses, what shows, what is refused.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { TOTAL } from "../../src/dataplane/forward/counters.ts";
import { SEAL_OVERHEAD } from "../../src/dataplane/seal/limits.ts";
import { SealNode } from "../../src/dataplane/seal/seal-pair.fake.ts";
import {
  buildPacket,
  expandFrame,
  offloadFrame,
  patternBytes,
  plainFrame,
} from "./packet-builder.ts";
import { openSealedPair, type PacketRig, RIG_PORT, SIDE_A, SIDE_B } from "./packet-rig.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const A = { source: "10.0.1.5", target: "10.0.2.5" };
const A6 = { source: "fd00:0:0:1:0:0:0:5", target: "fd00:0:0:2:0:0:0:5" };
const MARK = new TextEncoder().encode("a text that nobody on the wire may read");

function marked(size: number): Bytes {
  const bytes = patternBytes(size);
  for (let at = 0; at + MARK.length <= size; at += 400) bytes.set(MARK, at);
  return bytes;
}

function holds(bytes: Uint8Array, part: Uint8Array): boolean {
  return Buffer.from(bytes).includes(Buffer.from(part));
}

/** Packets are equal but for the IPv4 identification, which a joined packet counts anew. */
function withoutId(packet: Bytes): Bytes {
  const copy = packet.slice();
  if (copy[0]! >>> 4 === 4) copy.fill(0, 4, 6).fill(0, 10, 12);
  return copy;
}

function delivered(rig: PacketRig): Bytes[] {
  return rig.takeWritten().flatMap((frame) => expandFrame(frame) ?? []);
}

describe("sealed packets through two nodes", () => {
  for (const partialChecksum of [true, false]) {
    for (const addresses of [A, A6]) {
      for (const protocol of ["tcp", "udp"] as const) {
        const how = `${addresses === A ? "IPv4" : "IPv6"} ${protocol} ${partialChecksum ? "partial" : "bare"}`;
        test(`super-packet, ${how}: byte for byte, nothing of it on the wire`, () => {
          const { wire, a, b } = openSealedPair({ partialChecksum });
          const packet = buildPacket({ ...addresses, protocol, payload: marked(30_000) });
          const expected = expandFrame(offloadFrame(packet, 1380))!;
          a.tun.waiting.push(offloadFrame(packet, 1380));
          a.settle();
          b.settle();
          const frames = b.takeWritten();
          expect(frames.length).toBe(1);
          expect(expandFrame(frames[0]!)!.map(withoutId)).toEqual(expected.map(withoutId));
          expect([a.drops(), b.drops()]).toEqual([{}, {}]);
          expect(wire.sent.length).toBe(expected.length);
          for (const [i, { bytes }] of wire.sent.entries()) {
            expect(bytes[0]).toBe(0x11);
            expect(bytes.length).toBe(expected[i]!.length + SEAL_OVERHEAD);
            expect(holds(bytes, MARK.subarray(0, 8))).toBe(false);
            expect(holds(bytes, packet.subarray(12, 20))).toBe(false);
          }
          const inner = expected.reduce((sum, one) => sum + one.length, 0);
          expect([a.total(TOTAL.TX_BYTES), b.total(TOTAL.RX_BYTES)]).toEqual([inner, inner]);
          expect(a.total(TOTAL.TX_MESSAGES)).toBe(1);
        });
      }
    }
  }

  test("many super-packets at once: the sealed region is used again and again", () => {
    const { a, b } = openSealedPair();
    const sent: Bytes[] = [];
    for (let i = 0; i < 12; i++) {
      const sequence = 1 + i * 60_000;
      const packet = buildPacket({ ...A, protocol: "tcp", sequence, payload: marked(60_000) });
      sent.push(...expandFrame(offloadFrame(packet, 1388))!);
      a.tun.waiting.push(offloadFrame(packet, 1388));
    }
    a.settle();
    b.settle();
    const got = delivered(b);
    expect(got.length).toBe(sent.length);
    expect(got.map((one) => withoutId(one).slice(40))).toEqual(sent.map((one) => one.slice(40)));
    expect([a.drops(), b.drops()]).toEqual([{}, {}]);
  });

  test("a full socket in the middle of a super-packet loses nothing and seals nothing twice", () => {
    const { wire, a, b } = openSealedPair();
    a.udp.room = 1;
    const packet = buildPacket({ ...A, protocol: "tcp", payload: marked(60_000) });
    for (let i = 0; i < 4; i++) a.tun.waiting.push(offloadFrame(packet, 700));
    a.settle();
    expect(a.total(TOTAL.TX_PAUSES)).toBeGreaterThan(0);
    for (let i = 0; i < 20; i++) {
      a.udp.room = 1;
      a.settle();
    }
    a.udp.room = Number.POSITIVE_INFINITY;
    a.settle();
    const counters = wire.sent.map(({ bytes }) => Buffer.from(bytes.slice(8, 16)).toString("hex"));
    expect(new Set(counters).size).toBe(4 * 86);
    b.settle();
    expect(b.total(TOTAL.RX_PACKETS)).toBe(4 * 86);
    expect(b.drops()).toEqual({});
  });

  test("replayed datagrams are dropped, each copy counted", () => {
    const { wire, a, b } = openSealedPair();
    const packet = buildPacket({ ...A, protocol: "udp", payload: marked(500) });
    for (let i = 0; i < 10; i++) a.tun.waiting.push(plainFrame(packet));
    a.settle();
    b.settle();
    expect(delivered(b).length).toBe(10);
    for (const { bytes } of wire.sent.slice()) {
      wire.deliver(a.udp.endpoint, b.udp.endpoint.address, RIG_PORT, bytes);
      wire.deliver(b.udp.endpoint, a.udp.endpoint.address, RIG_PORT, bytes);
    }
    b.settle();
    a.settle();
    expect([delivered(a), delivered(b)]).toEqual([[], []]);
    expect(b.drops()).toEqual({ rx_seal_replayed: 10 });
    expect(a.drops()).toEqual({ rx_seal_unknown_key: 10 });
  });

  test("a plain packet of a peer that seals is refused; its sealed one passes from anywhere", () => {
    const { wire, a, b } = openSealedPair();
    const packet = buildPacket({ ...A, protocol: "udp", payload: marked(100) });
    wire.deliver(a.udp.endpoint, b.udp.endpoint.address, RIG_PORT, packet);
    b.settle();
    expect([delivered(b), b.drops()]).toEqual([[], { rx_plain_refused: 1 }]);
    a.tun.waiting.push(plainFrame(packet));
    a.settle();
    const { bytes } = wire.sent.at(-1)!;
    b.udp.queue.splice(0);
    const elsewhere = { address: [0, 0, 0xffff, 0x01020304], port: 999 };
    wire.deliver(elsewhere, b.udp.endpoint.address, RIG_PORT, bytes);
    b.settle();
    expect(delivered(b)).toEqual([packet]);
  });

  test("a peer may seal only what is its own, and only for us", () => {
    const { wire, a, b, nodes } = openSealedPair();
    const foreign = (source: string, target: string) =>
      buildPacket({ source, target, protocol: "udp", payload: marked(60) });
    const c = { prefixes: ["10.0.3.0/24"], address: "192.0.2.3", id: 303 };
    const sealed = { seals: true, refusesPlain: true };
    b.publish([
      { ...SIDE_A, ...sealed },
      { ...c, ...sealed },
    ]);
    const third = new SealNode(303);
    nodes[1].peers = [nodes[0].asPeer(0), third.asPeer(1)];
    b.loop.useKeys(nodes[1].keys);
    nodes[0].publish();
    const cases = [
      { packet: foreign("10.0.3.1", "10.0.2.5"), reason: "rx_foreign_source" },
      { packet: foreign("10.0.9.1", "10.0.2.5"), reason: "rx_unknown_source" },
      { packet: foreign("10.0.2.1", "10.0.2.5"), reason: "rx_own_source" },
      { packet: foreign("10.0.1.1", "10.0.9.5"), reason: "rx_foreign_target" },
      { packet: Uint8Array.from([0x11, ...marked(60)]), reason: "rx_unknown_kind" },
      { packet: Uint8Array.from([0x20, ...marked(60)]), reason: "rx_control" },
      { packet: foreign("10.0.1.1", "10.0.2.5").slice(0, 15), reason: "rx_short" },
    ];
    for (const { packet, reason } of cases) {
      const before = b.drops()[reason] ?? 0;
      const datagram = Uint8Array.from(nodes[0].seal(0, packet));
      wire.deliver(a.udp.endpoint, b.udp.endpoint.address, RIG_PORT, datagram);
      b.settle();
      expect([reason, b.drops()[reason]]).toEqual([reason, before + 1]);
    }
    expect(delivered(b)).toEqual([]);
  });

  test("without a key for a peer that must be sealed to, nothing leaves", () => {
    const { wire, a } = openSealedPair();
    a.publish([{ prefixes: ["10.0.2.0/24"], address: "192.0.2.2", seals: true, node: 2 }]);
    const packet = buildPacket({ ...A, protocol: "udp", payload: marked(100) });
    a.tun.waiting.push(plainFrame(packet));
    a.settle();
    expect([wire.sent.length, a.drops()]).toEqual([0, { tx_seal_no_key: 1 }]);
  });

  test("a closed loop has forgotten every key: it neither seals nor opens", () => {
    const { wire, a, b } = openSealedPair();
    const packet = buildPacket({ ...A, protocol: "udp", payload: marked(100) });
    a.tun.waiting.push(plainFrame(packet));
    a.settle();
    a.loop.close();
    b.loop.close();
    a.tun.waiting.push(plainFrame(packet));
    a.settle();
    b.settle();
    expect([wire.sent.length, a.drops()]).toEqual([1, { tx_seal_no_key: 1 }]);
    expect([delivered(b), b.drops()]).toEqual([[], { rx_seal_unknown_key: 1 }]);
  });

  test("switched while a super-packet is in progress: the rest goes sealed", () => {
    const { wire, a, b } = openSealedPair({ refusesPlain: false });
    const plain = { ...SIDE_B, seals: false };
    a.publish([plain]);
    a.udp.room = 1;
    const packet = buildPacket({ ...A, protocol: "tcp", payload: marked(60_000) });
    for (let i = 0; i < 3; i++) a.tun.waiting.push(offloadFrame(packet, 100));
    a.settle();
    a.publish([{ ...SIDE_B, seals: true }]);
    a.udp.room = Number.POSITIVE_INFINITY;
    a.settle();
    const kinds = wire.sent.map(({ bytes }) => bytes[0]! >>> 4);
    expect(kinds.length).toBe(1800);
    expect(new Set(kinds)).toEqual(new Set([12, 1]));
    expect(kinds.lastIndexOf(12)).toBeLessThan(kinds.indexOf(1));
    b.settle();
    expect(b.total(TOTAL.RX_PACKETS)).toBe(1800);
    expect(b.drops()).toEqual({});
  });
});

describe("hostile sealed datagrams", () => {
  function random(seed: number): (limit: number) => number {
    let state = seed;
    return (limit) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * limit);
    };
  }

  test("mutated, cut, mixed and made up: nothing throws, nothing passes that was not sealed", () => {
    const { wire, a, b } = openSealedPair();
    const next = random(99);
    const originals = new Set<string>();
    let sentCount = 0;
    for (let round = 0; round < 60; round++) {
      wire.sent.splice(0);
      for (let i = 0; i < 20; i++) {
        const payload = patternBytes(next(200));
        const packet = buildPacket({ ...A, protocol: "udp", payload, id: next(65_536) });
        a.tun.waiting.push(plainFrame(packet));
      }
      a.settle();
      b.udp.joins = next(2) === 0;
      const genuine = wire.sent.splice(0).map(({ bytes }) => bytes);
      b.udp.queue.splice(0);
      for (const bytes of genuine) {
        for (let copy = next(3); copy > 0; copy--) {
          const bad = bytes.slice(0, next(4) === 0 ? next(bytes.length) : bytes.length);
          const at = next(Math.max(1, bad.length));
          if (bad.length === bytes.length) bad[at] = bad[at]! ^ (1 << next(8));
          sentCount++;
          wire.deliver(a.udp.endpoint, b.udp.endpoint.address, RIG_PORT, bad);
        }
        originals.add(Buffer.from(bytes).toString("hex"));
        sentCount++;
        wire.deliver(a.udp.endpoint, b.udp.endpoint.address, RIG_PORT, bytes);
      }
      b.settle();
    }
    expect(b.total(TOTAL.RX_PACKETS)).toBe(originals.size);
    const dropped = Object.values(b.drops()).reduce((sum, count) => sum + count, 0);
    // What opening has no business with is as it was: the TUN's region and the header copies.
    const { bytes } = b.arena.memory;
    expect(bytes.subarray(0, b.arena.receive.offset[0]!).every((byte) => byte === 0)).toBe(true);
    // A datagram of no bytes at all is counted when it comes, not when it is cut to that.
    expect(dropped + originals.size).toBe(sentCount);
  });

  test("frames out of the TUN, mutated: whatever leaves is sealed, in its place, and opens", () => {
    const { wire, a, b } = openSealedPair();
    const next = random(7);
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < 30; i++) {
        const protocol = next(2) === 0 ? "tcp" : "udp";
        const packet = buildPacket({ ...A, protocol, payload: patternBytes(next(3000)) });
        for (let k = next(3); k > 0; k--) packet[next(Math.min(60, packet.length))] = next(256);
        const frame = next(2) === 0 ? offloadFrame(packet, 1 + next(1400)) : plainFrame(packet);
        for (let k = next(2); k > 0; k--) frame[next(10)] = next(256);
        a.tun.waiting.push(next(8) === 0 ? frame.slice(0, next(frame.length)) : frame);
      }
      a.settle();
      for (const { bytes } of wire.sent.splice(0)) expect(bytes[0]).toBe(0x11);
      b.settle();
    }
    expect(a.total(TOTAL.TX_PACKETS)).toBeGreaterThan(1000);
    const { bytes } = a.arena.memory;
    expect(bytes.subarray(a.arena.sealEnd).every((byte) => byte === 0)).toBe(true);
    const received = bytes.subarray(a.arena.receive.offset[0]!, a.arena.virtioAt);
    expect(received.every((byte) => byte === 0)).toBe(true);
    const refused = Object.keys(b.drops()).filter((name) => name.includes("seal"));
    expect(refused).toEqual([]);
  });
});
