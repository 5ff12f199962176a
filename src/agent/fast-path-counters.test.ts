import { expect, test } from "bun:test";
import { decodeNodeId } from "../base/ids.ts";
import { addKernelCounters } from "./fast-path-counters.ts";
import type { PacketCounters } from "./packet-engine.ts";

const [A, B, C] = [decodeNodeId(1), decodeNodeId(2), decodeNodeId(3)];
const one = { txPackets: 1, txBytes: 10, rxPackets: 2, rxBytes: 20 };
const USER: PacketCounters = {
  totals: { ...one, txReads: 5 },
  drops: { tx_no_route: 1 },
  peers: [
    { peer: A, ...one, lastSeenAgoMs: 7 },
    { peer: B, ...one, lastSeenAgoMs: undefined },
    { peer: C, ...one, lastSeenAgoMs: 7 },
  ],
};
const two = { txPackets: 100, txBytes: 1000, rxPackets: 200, rxBytes: 2000 };
const KERNEL = {
  peers: new Map([
    [A, { ...two, seenNs: 9_000_000 }],
    [B, { ...two, seenNs: 0 }],
  ]),
  gone: { txPackets: 1, txBytes: 2, rxPackets: 3, rxBytes: 4, seenNs: 1 },
  reasons: { tx_super_packet: 4 },
  nowNs: 12_000_000,
};

test("addKernelCounters: packets of both, the kernel's part, and the later time", () => {
  const { totals, drops, peers } = addKernelCounters(USER, KERNEL);
  expect(totals).toEqual({
    txPackets: 202,
    txBytes: 2012,
    rxPackets: 405,
    rxBytes: 4024,
    txReads: 5,
    kernelTxPackets: 201,
    kernelRxPackets: 403,
    userTxSuperPacket: 4,
  });
  expect(drops).toBe(USER.drops);
  expect(peers.map((peer) => peer.txBytes)).toEqual([1010, 1010, 10]);
  expect(peers.map((peer) => peer.lastSeenAgoMs)).toEqual([3, undefined, 7]);
});
