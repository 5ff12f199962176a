/**
 * Two agents' data planes in memory: the contract, super-packets through both, faults, and fuzz.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { DROP, PEER, PEER_STRIDE, TOTAL } from "../../src/dataplane/forward/counters.ts";
import { OFFLOAD, OFFLOAD_FAILED_IN_USE } from "../../src/dataplane/forward/offload-state.ts";
import { SIDE, TURN } from "../../src/dataplane/forward/packet-loop.ts";
import { type PlaneSide, runPacketPlaneContract } from "../contract/packet-plane.ts";
import {
  buildPacket,
  expandFrame,
  isRight,
  offloadFrame,
  openDatagram,
  patternBytes,
  plainFrame,
} from "./packet-builder.ts";
import { openRigPair, openSealedPair, type PacketRig, RIG_PORT } from "./packet-rig.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const A = { source: "10.0.1.5", target: "10.0.2.5" };
const A6 = { source: "fd00:0:0:1:0:0:0:5", target: "fd00:0:0:2:0:0:0:5" };

function delivered(rig: PacketRig): Bytes[] {
  return rig.takeWritten().flatMap((frame) => expandFrame(frame) ?? []);
}

function runContract(
  name: string,
  openPair: (partialChecksum: boolean) => ReturnType<typeof openRigPair>,
): void {
  runPacketPlaneContract({
    name,
    skipReason: "",
    open: async (partialChecksum) => {
      const { wire, a, b } = openPair(partialChecksum);
      const side = (rig: PacketRig, other: PacketRig): PlaneSide => ({
        send: (packet) => rig.tun.waiting.push(plainFrame(packet)),
        sendDatagram: (payload, port) => {
          const { address } = rig.udp.endpoint;
          wire.deliver({ address, port }, other.udp.endpoint.address, RIG_PORT, payload);
        },
        received: () => delivered(rig),
        drops: (reason) => rig.drops()[reason] ?? 0,
      });
      return {
        a: side(a, b),
        b: side(b, a),
        settle: async () => {
          for (const rig of [a, b, a]) rig.settle();
        },
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  });
}

runContract("memory", openRigPair);
runContract("memory, sealed, plain still taken", (partialChecksum) =>
  openSealedPair({ partialChecksum, refusesPlain: false }),
);

describe("super-packets through two nodes", () => {
  for (const joins of [true, false]) {
    for (const partial of [true, false]) {
      const how = `${partial ? "partial" : "bare"}, datagrams ${joins ? "joined" : "one by one"}`;
      test(`TCP 60 KB, ${how}: one write inside the other node, byte for byte`, () => {
        const { wire, a, b } = openRigPair(partial);
        b.udp.joins = joins;
        const payload = patternBytes(59_000);
        const packet = buildPacket({ ...A, protocol: "tcp", payload, flags: 0x18 });
        a.tun.waiting.push(offloadFrame(packet, 1420));
        a.settle();
        b.settle();
        const [frame, ...rest] = b.takeWritten();
        // One by one they come in more bursts than one; joined they are one super-packet again.
        expect(rest.length).toBe(joins ? 0 : Math.ceil(wire.sent.length / 32) - 1);
        const got = [frame!, ...rest].flatMap((one) => expandFrame(one)!);
        expect(got.map(noId)).toEqual(expandFrame(offloadFrame(packet, 1420))!.map(noId));
        expect(wire.sent.length).toBe(42);
        for (const { bytes } of wire.sent) {
          expect(bytes.length).toBeLessThanOrEqual(1472);
          expect(bytes[0]! >>> 4).toBe(partial ? 12 : 4);
          expect(isRight(openDatagram(bytes))).toBe(true);
        }
      });
    }
  }

  test("UDP and IPv6 super-packets cross too", () => {
    const { a, b } = openRigPair();
    const packets = [
      buildPacket({ ...A, protocol: "udp", payload: patternBytes(20_000) }),
      buildPacket({ ...A6, protocol: "tcp", payload: patternBytes(30_000) }),
      buildPacket({ ...A6, protocol: "udp", payload: patternBytes(10_001) }),
    ];
    for (const packet of packets) a.tun.waiting.push(offloadFrame(packet, 1200));
    a.settle();
    b.settle();
    const frames = b.takeWritten();
    expect(frames.length).toBe(3);
    for (const packet of packets) {
      // Order holds within a flow; between flows it means nothing.
      const frame = frames.find((one) => one.length === packet.length + 10);
      expect(expandFrame(frame!)).toEqual(expandFrame(offloadFrame(packet, 1200)));
    }
  });

  test("counters: packets are segments, per peer and in all", () => {
    const { a, b } = openRigPair();
    const packet = buildPacket({ ...A, protocol: "tcp", payload: patternBytes(10_000) });
    a.tun.waiting.push(offloadFrame(packet, 1000));
    b.nowMs = 7777;
    a.settle();
    b.settle();
    expect([a.total(TOTAL.TX_PACKETS), a.total(TOTAL.TX_READS)]).toEqual([10, 1]);
    expect([a.total(TOTAL.TX_BYTES), a.total(TOTAL.TX_MESSAGES)]).toEqual([10_400, 1]);
    expect([b.total(TOTAL.RX_PACKETS), b.total(TOTAL.RX_WRITES)]).toEqual([10, 1]);
    expect(a.peers.slice(0, 2)).toEqual(new Float64Array([10, 10_400]));
    expect(b.peers.slice(2, 5)).toEqual(new Float64Array([10, 10_400, 7777]));
    expect(b.peers[PEER_STRIDE + PEER.RX_PACKETS]).toBe(0);
  });

  test("small packets of one size share messages; another size or peer starts a new one", () => {
    const { wire, a } = openRigPair();
    const small = (size: number) =>
      plainFrame(buildPacket({ ...A, protocol: "udp", payload: patternBytes(size) }));
    for (let i = 0; i < 40; i++) a.tun.waiting.push(small(64));
    a.tun.waiting.push(small(10), small(64), small(65));
    a.settle();
    expect(wire.sent.length).toBe(43);
    expect(a.total(TOTAL.TX_MESSAGES)).toBe(3); // 40 and the short one; 64; 65.
  });

  test("a super-packet above 65,507 bytes with headers takes two sends", () => {
    const { wire, a } = openRigPair();
    const packet = buildPacket({ ...A, protocol: "tcp", payload: patternBytes(65_000) });
    a.tun.waiting.push(offloadFrame(packet, 1400));
    a.settle();
    expect(wire.sent.length).toBe(47);
    expect(a.total(TOTAL.TX_MESSAGES)).toBe(2);
    expect(a.drops()).toEqual({});
  });
});

describe("surroundings that fail", () => {
  const superFrame = (size = 30_000, gso = 1000) =>
    offloadFrame(buildPacket({ ...A, protocol: "tcp", payload: patternBytes(size) }), gso);

  test("a full socket pauses the TUN, in the middle of a packet too, and loses nothing", () => {
    const { wire, a } = openRigPair();
    for (let i = 0; i < 20; i++) a.tun.waiting.push(superFrame(60_000, 30));
    a.udp.room = 3;
    let turns = 0;
    while (a.tun.waiting.length > 0 || a.loop.turn() !== TURN.IDLE) {
      const turn = a.loop.turn();
      if (turn === TURN.BLOCKED) a.udp.room = (turns % 5) + 1;
      expect(++turns).toBeLessThan(10_000);
    }
    expect(wire.sent.length).toBe(20 * 2000);
    expect(a.drops()).toEqual({});
    expect(a.total(TOTAL.TX_PAUSES)).toBeGreaterThan(10);
    const payloads = wire.sent.reduce((sum, { bytes }) => sum + bytes.length - 40, 0);
    expect(payloads).toBe(20 * 60_000);
  });

  test("a full socket stays known while only the other side is looked at", () => {
    const { wire, a } = openRigPair();
    a.tun.waiting.push(superFrame(5000));
    a.udp.room = 0;
    expect(a.loop.turn()).toBe(TURN.BLOCKED);
    expect(a.loop.turn(SIDE.UDP)).toBe(TURN.BLOCKED);
    a.udp.room = 1;
    expect([a.loop.turn(SIDE.TUN), wire.sent.length]).toEqual([TURN.IDLE, 5]);
  });

  test("full batches say that more may wait; the others do not", () => {
    const { wire, a, b } = openRigPair();
    const small = plainFrame(buildPacket({ ...A, protocol: "udp" }));
    a.tun.waiting.push(...Array.from({ length: 65 }, () => small));
    a.loop.turn();
    expect(a.loop.unfinished).toBe(SIDE.TUN);
    a.loop.turn();
    expect(a.loop.unfinished).toBe(0);
    a.tun.waiting.push(...Array.from({ length: 20 }, () => superFrame(60_000)));
    a.loop.turn(SIDE.TUN);
    expect([a.loop.unfinished, a.tun.waiting.length]).toEqual([SIDE.TUN, 12]);
    b.udp.joins = false;
    b.loop.turn();
    expect([b.loop.unfinished, wire.sent.length > 64]).toEqual([SIDE.UDP, true]);
  });

  test("a table that comes while the socket is full: the rest goes where the new one says", () => {
    const { wire, a } = openRigPair();
    a.tun.waiting.push(superFrame(60_000, 30));
    a.udp.room = 5;
    expect(a.loop.turn()).toBe(TURN.BLOCKED);
    const before = wire.sent.length;
    a.publish([
      { prefixes: ["10.0.7.0/24"], address: "192.0.2.7" },
      { prefixes: ["10.0.2.0/24"], address: "192.0.2.9" },
    ]);
    a.udp.room = 1000;
    a.settle();
    expect(wire.sent.length).toBe(2000);
    expect(before).toBeLessThan(2000);
    expect(a.peers[PEER_STRIDE + PEER.TX_PACKETS]).toBeGreaterThan(0);
    expect(a.peers[PEER.TX_PACKETS]! + a.peers[PEER_STRIDE + PEER.TX_PACKETS]!).toBe(2000);
  });

  test("a table without the way: the rest of the packet is dropped and counted", () => {
    const { wire, a } = openRigPair();
    a.tun.waiting.push(superFrame(60_000, 30));
    a.udp.room = 5;
    expect(a.loop.turn()).toBe(TURN.BLOCKED);
    a.publish([]);
    a.udp.room = 1000;
    a.settle();
    expect(wire.sent.length + a.drop(DROP.TX_NO_ROUTE)).toBe(2000);
    expect(a.drop(DROP.TX_NO_ROUTE)).toBeGreaterThan(0);
  });

  test.each([22, 5, 90])(
    "UDP_SEGMENT fails with errno %i: sent singly, then switched off",
    (errno) => {
      const { wire, a } = openRigPair();
      a.udp.refuse = (segmentSize) => (segmentSize > 0 ? errno : 0);
      for (let i = 0; i < 10; i++) {
        a.tun.waiting.push(superFrame(5000));
        a.settle();
      }
      expect(wire.sent.length).toBe(50);
      expect(a.total(TOTAL.TX_PACKETS)).toBe(50);
      expect(a.offloads[OFFLOAD.GSO]).toBe(errno | OFFLOAD_FAILED_IN_USE);
      expect(a.drops()).toEqual({});
    },
  );

  test("a path that refuses big datagrams does not switch UDP_SEGMENT off for the others", () => {
    const { a } = openRigPair();
    a.udp.refuse = (segmentSize) => (segmentSize > 900 ? 22 : 0);
    for (let i = 0; i < 50; i++) a.tun.waiting.push(superFrame(5000, 1000), superFrame(5000, 500));
    a.settle();
    expect(a.offloads[OFFLOAD.GSO]).toBe(0);
  });

  test.each([
    [101, DROP.TX_UNDERLAY_UNREACHABLE],
    [90, DROP.TX_UNDERLAY_TOO_BIG],
    [1, DROP.TX_SEND_FAILED],
  ])("send fails with errno %i for good: each packet is counted", (errno, reason) => {
    const { a } = openRigPair();
    a.udp.refuse = () => errno;
    a.tun.waiting.push(superFrame(5000), plainFrame(buildPacket({ ...A, protocol: "udp" })));
    a.settle();
    expect(a.drop(reason)).toBe(6);
    expect([a.total(TOTAL.TX_PACKETS), a.offloads[OFFLOAD.GSO]]).toEqual([0, 0]);
  });

  test("the TUN is gone: the loop says so; it fails otherwise: the loop waits", () => {
    const { a } = openRigPair();
    a.tun.readErrno = 5;
    expect(a.loop.turn()).toBe(TURN.STALLED);
    a.tun.readErrno = 77;
    expect([a.loop.turn(), a.loop.lostErrno]).toEqual([TURN.LOST, 77]);
  });

  test("over the overlay MTU: with DF ICMP 3/4 and its MTU, without DF two fragments", () => {
    const { wire, a } = openRigPair();
    const big = (fragment: number) =>
      plainFrame(buildPacket({ ...A, protocol: "udp", payload: patternBytes(1500), fragment }));
    a.tun.waiting.push(big(0x4000), big(0));
    a.settle();
    expect(wire.sent.length).toBe(2);
    expect(a.drops()).toEqual({ tx_too_big: 1 });
    const [error] = delivered(a);
    expect([...error!.slice(20, 28)]).toEqual([3, 4, error![22]!, error![23]!, 0, 0, 5, 192]);
  });

  test("errors to senders are limited, and the limit refills with time", () => {
    const { a } = openRigPair();
    const lost = () =>
      a.tun.waiting.push(plainFrame(buildPacket({ ...A, target: "10.0.9.9", protocol: "udp" })));
    for (let i = 0; i < 500; i++) lost();
    a.settle();
    expect(a.takeWritten().length).toBe(50);
    a.nowMs += 100;
    for (let i = 0; i < 500; i++) lost();
    a.settle();
    expect(a.takeWritten().length).toBe(10);
    expect(a.drop(DROP.TX_NO_ROUTE)).toBe(1000);
  });
});

describe("hostile bytes", () => {
  const random = (seed: number) => {
    let state = seed;
    return (limit: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * limit);
    };
  };

  /** Valid packets, and what a few changed bytes make of them. */
  function mutated(next: (limit: number) => number): Bytes {
    const base = buildPacket({
      ...(next(4) === 0 ? A6 : A),
      protocol: next(2) === 0 ? "tcp" : "udp",
      payload: patternBytes(next(300)),
      options: patternBytes(4 * next(4)),
      sequence: next(5) * 100,
      flags: next(3) === 0 ? next(256) : 0x10,
    });
    const packet = next(3) === 0 ? base.slice(0, next(base.length + 1)) : base;
    for (let i = next(4); i > 0; i--) packet[next(Math.min(60, packet.length))] = next(256);
    return packet;
  }

  test("datagrams: nothing throws, nothing is written that should not pass", () => {
    const { wire, a, b } = openRigPair();
    const next = random(2024);
    const from = a.udp.endpoint;
    for (let round = 0; round < 300; round++) {
      b.udp.joins = next(2) === 0;
      for (let i = 0; i < 40; i++) {
        const bytes =
          next(5) === 0 ? Uint8Array.from({ length: next(200) }, () => next(256)) : mutated(next);
        if (next(2) === 0 && bytes.length > 0) bytes[0] = bytes[0]! | 0x80;
        wire.deliver(from, b.udp.endpoint.address, RIG_PORT, bytes);
      }
      b.settle();
      for (const frame of b.takeWritten()) {
        const packets = expandFrame(frame);
        expect(packets).toBeDefined();
        for (const packet of packets!) expectOwned(packet, "10.0.1", "10.0.2");
      }
    }
    // What receiving has no business with is as it was: the TUN's region and the header copies.
    const { bytes } = b.arena.memory;
    expect(bytes.subarray(0, b.arena.receive.offset[0]!).every((byte) => byte === 0)).toBe(true);
    const counted = Object.values(b.drops()).reduce((sum, count) => sum + count, 0);
    expect(counted + b.total(TOTAL.RX_PACKETS)).toBe(300 * 40);
    expect(b.total(TOTAL.RX_PACKETS)).toBeGreaterThan(1000);
  });

  test("frames out of the TUN: nothing throws, every datagram is a packet of a known kind", () => {
    const { wire, a } = openRigPair();
    const next = random(4711);
    for (let round = 0; round < 300; round++) {
      for (let i = 0; i < 40; i++) {
        const packet = mutated(next);
        const frame = plainFrame(packet);
        if (next(2) === 0) {
          frame.set([1, [0, 1, 4, 5, 3, 255][next(6)]!, 0, 0, next(256), next(2), 20, 0, 16, 0]);
        }
        for (let k = next(3); k > 0; k--) frame[next(10)] = next(256);
        a.tun.waiting.push(next(8) === 0 ? frame.slice(0, next(frame.length)) : frame);
      }
      a.settle();
      for (const { bytes } of wire.sent.splice(0)) {
        expect([4, 6, 12, 14]).toContain(bytes[0]! >>> 4);
      }
    }
    expect(a.total(TOTAL.TX_PACKETS)).toBeGreaterThan(1000);
    const received = a.arena.memory.bytes.subarray(a.arena.receive.offset[0]!, a.arena.virtioAt);
    expect(received.every((byte) => byte === 0)).toBe(true);
  });
});

function noId(packet: Bytes): Bytes {
  return packet.slice().fill(0, 4, 6).fill(0, 10, 12);
}

/** Addresses must be what the table allows, both families. */
function expectOwned(packet: Bytes, source: string, target: string): void {
  if (packet[0]! >>> 4 === 4) {
    expect([...packet.slice(12, 15)].join(".")).toBe(source);
    expect([...packet.slice(16, 19)].join(".")).toBe(target);
  } else {
    expect([packet[15], packet[31]]).toEqual([1, 2]);
  }
}
