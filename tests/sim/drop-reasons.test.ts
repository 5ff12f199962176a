/**
 * Every reason for which the packet loop drops: that it happens, is counted once and under its own
 * name, and that nothing passes meanwhile.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { DROP_NAMES } from "../../src/dataplane/forward/counters.ts";
import { ANSWER_BURST_MAX } from "../../src/dataplane/forward/probe-station.ts";
import { REJECT_AFTER_PACKETS } from "../../src/dataplane/seal/limits.ts";
import { createNodeAead } from "../../src/dataplane/seal/node-aead.ts";
import { type EngineOf, SealNode } from "../../src/dataplane/seal/seal-pair.fake.ts";
import { MemoryWire } from "./memory-ports.ts";
import { buildPacket, offloadFrame, patternBytes, plainFrame } from "./packet-builder.ts";
import { openRigPair, openSealedPair, PacketRig, RIG_PORT, SIDE_A, SIDE_B } from "./packet-rig.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const OUT = { source: "10.0.1.5", target: "10.0.2.5" };
const EIO = 5;
const EBADFD = 77;
const EPERM = 1;
const EHOSTUNREACH = 113;
const EMSGSIZE = 90;

function udp(change: Partial<typeof OUT> = {}, size = 100): Bytes {
  return buildPacket({ ...OUT, ...change, protocol: "udp", payload: patternBytes(size) });
}

function changed(at: number, value: number, bytes = udp()): Bytes {
  bytes[at] = value;
  return bytes;
}

/** A probe of the first node's for the second. */
function probe(sender = SIDE_A.id): Bytes {
  const bytes = new Uint8Array(40);
  bytes.set([0x21, 1, 0, 40]);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(8, BigInt(sender));
  view.setBigUint64(16, BigInt(SIDE_B.id));
  return bytes;
}

/** Puts `frame` into the TUN of a rig made ready by `prepare`. */
function sending(frame: Bytes, prepare: (rig: PacketRig) => void = () => {}) {
  return () => {
    const { a } = openRigPair();
    prepare(a);
    a.tun.waiting.push(frame);
    a.settle();
    return a;
  };
}

/** Brings a rig datagrams from its peer's endpoint. */
function receiving(datagrams: readonly Bytes[], prepare: (rig: PacketRig) => void = () => {}) {
  return () => {
    const { wire, a, b } = openRigPair();
    prepare(b);
    for (const bytes of datagrams) {
      wire.deliver(a.udp.endpoint, b.udp.endpoint.address, RIG_PORT, bytes);
    }
    b.settle();
    return b;
  };
}

/** Brings a sealed datagram, after `damage`, to the node that it was sealed for. */
function receivingSealed(damage: (sealed: Bytes) => readonly Bytes[]) {
  return () => {
    const { wire, a, b, nodes } = openSealedPair();
    nodes[0].publish();
    const sealed = Uint8Array.from(nodes[0].seal(0, udp()));
    for (const bytes of damage(sealed)) {
      wire.deliver(a.udp.endpoint, b.udp.endpoint.address, RIG_PORT, bytes);
    }
    b.settle();
    return b;
  };
}

/** Sends one packet to a peer that is sealed to, with keys made ready by `prepare`. */
function sealing(prepare: (node: SealNode) => void, engineOf: EngineOf = createNodeAead) {
  return () => {
    const [self, peer] = [new SealNode(SIDE_A.id), new SealNode(SIDE_B.id)];
    const a = new PacketRig({
      ...{ wire: new MemoryWire(), address: SIDE_A.address, local: SIDE_A.prefixes },
      peers: [{ ...SIDE_B, seals: true }],
      engineOf,
    });
    self.peers = [peer.asPeer(0)];
    prepare(self);
    a.loop.useKeys(self.keys);
    a.tun.waiting.push(plainFrame(udp()));
    a.settle();
    return a;
  };
}

const failingEngine: EngineOf = (memory) => {
  const engine = createNodeAead(memory);
  const createKey: typeof engine.createKey = (...key) => ({
    ...{ open: () => false, close: () => {} },
    seal: () => engine.createKey(...key) === undefined,
  });
  return { name: "broken", createKey };
};

/** In the order for the sake of the other direction: here a datagram's kind is its version. */
const NEVER = ["rx_not_ip"];

/** By reason: a rig to which exactly that has happened, once. */
const HAPPENS: Record<string, () => PacketRig> = {
  tx_short: sending(plainFrame(udp().slice(0, 12))),
  tx_not_ip: sending(plainFrame(changed(0, 0x55))),
  tx_bad_length: sending(plainFrame(changed(3, 1))),
  tx_bad_header: sending(plainFrame(changed(0, 0x44))),
  tx_bad_offload: sending(changed(4, 0, changed(5, 0, offloadFrame(udp(), 50)))),
  tx_no_route: sending(plainFrame(udp({ target: "10.0.99.1" }))),
  tx_too_big: sending(plainFrame(udp({}, 1473))),
  tx_no_endpoint: sending(plainFrame(udp()), (rig) => {
    rig.publish([{ ...SIDE_B, address: "2001:db8::2" }]);
  }),
  tx_underlay_unreachable: sending(plainFrame(udp()), (rig) => {
    rig.udp.refuse = () => EHOSTUNREACH;
  }),
  tx_underlay_too_big: sending(plainFrame(udp()), (rig) => {
    rig.udp.refuse = () => EMSGSIZE;
  }),
  tx_send_failed: sending(plainFrame(udp()), (rig) => {
    rig.udp.refuse = () => EPERM;
  }),
  rx_short: receiving([udp().slice(0, 19)]),
  rx_bad_length: receiving([udp().slice(0, 50)]),
  rx_bad_header: receiving([changed(0, 0x44)]),
  rx_bad_checksum: receiving([changed(10, 0x77)]),
  rx_bad_partial: receiving([changed(0, 0xc5, changed(9, 47))]),
  rx_truncated: receiving([new Uint8Array(70_000).fill(0x45)]),
  rx_unknown_kind: receiving([changed(0, 0x75)]),
  rx_seal_unknown_key: receivingSealed((sealed) => [changed(1, sealed[1]! ^ 1, sealed)]),
  rx_control: receiving([new Uint8Array([0x20, 1, 2])]),
  rx_unknown_source: receiving([udp({ source: "10.0.99.1" })]),
  rx_foreign_source: receiving([udp({ source: "10.0.3.1" })], (rig) => {
    rig.publish([SIDE_A, { prefixes: ["10.0.3.0/24"], address: "192.0.2.3" }]);
  }),
  rx_own_source: receiving([udp({ source: "10.0.2.9" })]),
  rx_foreign_target: receiving([udp({ target: "10.0.99.1" })]),
  rx_tun_down: receiving([udp()], (rig) => {
    rig.tun.refuse = () => EIO;
  }),
  rx_tun_refused: receiving([udp()], (rig) => {
    rig.tun.refuse = () => EBADFD;
  }),
  rx_probe_stranger: receiving([probe(303)]),
  rx_probe_limit: receiving(Array<Bytes>(ANSWER_BURST_MAX + 1).fill(probe())),
  rx_seal_replayed: receivingSealed((sealed) => [sealed, sealed]),
  rx_seal_forged: receivingSealed((sealed) => [changed(40, sealed[40]! ^ 1, sealed)]),
  rx_plain_refused: receiving([udp()], (rig) => rig.publish([{ ...SIDE_A, refusesPlain: true }])),
  tx_seal_no_key: sealing((node) => {
    node.peers = [];
  }),
  tx_seal_used_up: sealing((node) => {
    new Float64Array(node.own[0]!.memory.buffer)[5] = REJECT_AFTER_PACKETS;
  }),
  tx_seal_failed: sealing(() => {}, failingEngine),
};

describe("why the loop drops", () => {
  test("each reason has a case here", () => {
    expect([...Object.keys(HAPPENS), ...NEVER].sort()).toEqual([...DROP_NAMES].sort());
  });

  for (const [reason, happen] of Object.entries(HAPPENS)) {
    test(`${reason}: counted once, under its own name`, () => {
      expect(happen().drops()).toEqual({ [reason]: 1 });
    });
  }
});

describe("while nodes change to another port, each at its own time", () => {
  const [KNOWN, ANNOUNCED, FOREIGN] = [RIG_PORT, 9285, 7000];

  /** Brings the second node a packet and a probe from `address`:`from` by its own port `to`. */
  function bring(from: number, to: number, address = SIDE_A.address) {
    const { wire, b } = openRigPair();
    b.udp.localPort = to;
    const words = [0, 0, 0xffff, Number(`0x${hexOf(address)}`)];
    for (const bytes of [udp(), probe()]) {
      wire.deliver({ address: words, port: from }, b.udp.endpoint.address, RIG_PORT, bytes);
    }
    b.settle();
    return { packets: b.takeWritten().length, drops: b.drops() };
  }
  const hexOf = (address: string) =>
    address
      .split(".")
      .map((part) => Number(part).toString(16).padStart(2, "0"))
      .join("");

  test("what comes between two equal ports is the node's, and so is what comes from the known one", () => {
    expect(bring(KNOWN, KNOWN)).toEqual({ packets: 1, drops: {} });
    expect(bring(KNOWN, ANNOUNCED)).toEqual({ packets: 1, drops: {} });
    expect(bring(ANNOUNCED, ANNOUNCED)).toEqual({ packets: 1, drops: {} });
  });

  test("any other port is a stranger's, and so is another address with the right port", () => {
    const refused = { packets: 0, drops: { rx_foreign_source: 1, rx_probe_stranger: 1 } };
    expect(bring(FOREIGN, KNOWN)).toEqual(refused);
    expect(bring(FOREIGN, ANNOUNCED)).toEqual(refused);
    expect(bring(ANNOUNCED, KNOWN)).toEqual(refused);
    expect(bring(ANNOUNCED, ANNOUNCED, "192.0.2.77")).toEqual(refused);
  });
});
