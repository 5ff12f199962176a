/**
 * A little of what `scripts/fuzz packets` does for long: random and damaged packets through the
 * packet loop, and that what is wrong would be seen.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { finishHeader, keyOf, readInner } from "./bytes.ts";
import { deliver } from "./delivery.ts";
import { GuardedArena, GuardedUdp } from "./guarded-ports.ts";
import { runPacketRound } from "./packet-fuzz.ts";
import { judgeDatagram } from "./receive-twin.ts";
import type { Tally } from "./report.ts";
import { judgeFrame } from "./transmit-twin.ts";
import { PEERS, STRANGERS } from "./world.ts";

const SEEDS = [1, 2, 3, 4];
const CASES = 4000;
const MUST_HAPPEN = [
  ...["sent", "received", "icmp error", "tx_bad_offload", "tx_too_big", "tx_no_route"],
  ...["rx_bad_length", "rx_bad_header", "rx_bad_checksum", "rx_bad_partial", "rx_truncated"],
  ...["rx_unknown_source", "rx_foreign_source", "rx_own_source", "rx_foreign_target"],
  ...["rx_seal_replayed", "rx_seal_forged", "rx_seal_unknown_key", "rx_plain_refused"],
];

/** A UDP packet of 4 bytes from the first peer to us. */
function honest(): Uint8Array<ArrayBuffer> {
  const packet = Uint8Array.from([
    ...[0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 1, 5, 10, 0, 2, 5],
    ...[0, 7, 0, 7, 0, 12, 0, 0, 1, 2, 3, 4],
  ]);
  finishHeader(packet, 20);
  return packet;
}

describe("random and damaged packets through the loop", () => {
  const all: Tally = new Map();
  for (const seed of SEEDS) {
    test(`seed ${seed}: what the twins say comes out, and nothing else`, () => {
      const { cases, tally } = runPacketRound(seed, CASES);
      expect(cases).toBeGreaterThanOrEqual(CASES);
      for (const [name, count] of tally) all.set(name, (all.get(name) ?? 0) + count);
    });
  }

  test("they reach deep: every check has refused something, and packets passed", () => {
    expect(MUST_HAPPEN.filter((name) => (all.get(name) ?? 0) === 0)).toEqual([]);
  });

  test("a seed repeats exactly", () => {
    expect([...runPacketRound(9, 500).tally]).toEqual([...runPacketRound(9, 500).tally]);
  });
});

describe("the twins", () => {
  const [owner, neighbor] = [PEERS[0]!.endpoint, PEERS[1]!.endpoint];
  const change = (at: number, value: number) => {
    const packet = honest();
    packet[at] = value;
    finishHeader(packet, 20);
    return packet;
  };
  const refused: readonly (readonly [string, Uint8Array, typeof owner, string])[] = [
    ["of the same address at another port", honest(), neighbor, "rx_foreign_source"],
    ["of a stranger", honest(), STRANGERS[0]!, "rx_foreign_source"],
    ["from our own subnet", change(14, 2), owner, "rx_own_source"],
    ["from nobody's", change(14, 99), owner, "rx_unknown_source"],
    ["for another", change(18, 3), owner, "rx_foreign_target"],
    ["longer than it says", Uint8Array.from([...honest(), 0]), owner, "rx_bad_length"],
  ];
  for (const [why, datagram, source, reason] of refused) {
    test(`a packet ${why} is refused`, () => {
      expect(judgeDatagram(datagram, source)).toEqual({ kind: "drop", reason });
    });
  }

  test("a right packet passes as it is", () => {
    const packet = honest();
    expect(judgeDatagram(packet, owner)).toEqual({ kind: "pass", packet, slot: 0 });
  });

  test("a frame to a peer leaves; one that lies about its segments does not", () => {
    const frame = new Uint8Array([...new Uint8Array(10), ...honest()]);
    frame.set([10, 0, 1, 5], 10 + 16);
    expect(judgeFrame(frame)).toMatchObject({ kind: "sent", slot: 0 });
    frame[1] = 5;
    expect(judgeFrame(frame)).toEqual({ kind: "drop", reason: "tx_bad_offload", count: 1 });
  });

  test("a frame that a kernel would not take is seen", () => {
    const frame = new Uint8Array([...new Uint8Array(10), ...honest()]);
    expect(deliver(frame)).toEqual([honest()]);
    frame[1] = 5;
    expect(() => deliver(frame)).toThrow("wrong offloads");
    expect(() => deliver(frame.slice(0, 30))).toThrow("bad_length");
  });

  test("only what may change on the way has no part in the comparison", () => {
    const other = change(5, 77);
    expect(keyOf(other)).toBe(keyOf(honest()));
    expect(keyOf(change(8, 63))).not.toBe(keyOf(honest()));
    expect(readInner(other)).toMatchObject({ header: 20, transport: 8 });
  });
});

describe("the canaries", () => {
  test("one byte behind a message, and one behind the arena, are seen", () => {
    const guard = new GuardedArena();
    const udp = new GuardedUdp(guard);
    const { receive, memory, sealEnd } = guard.arena;
    const source = PEERS[0]!.endpoint;
    udp.waiting = [{ bytes: honest(), segmentSize: 0, isTruncated: false, source }];
    expect(udp.receive(receive)).toBe(1);
    memory.bytes[receive.offset[0]! + 32] = 0;
    expect(() => udp.checkAll()).toThrow("written outside the packet: byte 0");
    guard.checkAlways();
    memory.bytes[sealEnd + 5] = 0;
    expect(() => guard.checkAlways()).toThrow("byte 5 of the memory behind the arena");
  });
});
