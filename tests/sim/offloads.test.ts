/**
 * Offloads that are missing, refused or broken: found by their test, switched off in use, and the
 * data plane that goes on without them.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import {
  CHECK_IMPOSSIBLE,
  CHECK_MEMORY_SIZE,
  CHECK_RIGHT,
  CHECK_WRONG,
  checkSegments,
} from "../../src/dataplane/forward/offload-check.ts";
import {
  OFFLOAD,
  OFFLOAD_FAILED_IN_USE,
  OFFLOAD_NAMES,
} from "../../src/dataplane/forward/offload-state.ts";
import { createWireMemory } from "../../src/dataplane/wire/memory.ts";
import type { ReceiveBatch } from "../../src/host/packet-ports.ts";
import { type PlaneSide, runPacketPlaneContract } from "../contract/packet-plane.ts";
import { MemoryUdp, MemoryWire } from "./memory-ports.ts";
import {
  buildPacket,
  expandFrame,
  offloadFrame,
  patternBytes,
  plainFrame,
} from "./packet-builder.ts";
import { openRigPair, type PacketRig, RIG_PORT } from "./packet-rig.ts";

const EIO = 5;
const EINVAL = 22;
const EOPNOTSUPP = 95;
const A = { source: "10.0.1.5", target: "10.0.2.5" };

describe("the test of the sockets' offloads", () => {
  function open(change: (sender: MemoryUdp, receiver: MemoryUdp) => void = () => undefined) {
    const wire = new MemoryWire();
    const memory = createWireMemory(CHECK_MEMORY_SIZE);
    const target = { address: [0, 0, 0xffff, 2], port: 2 };
    const sender = new MemoryUdp(memory, wire, { address: [0, 0, 0xffff, 1], port: 1 });
    const receiver = new MemoryUdp(memory, wire, target);
    change(sender, receiver);
    return checkSegments({ memory, sender, receiver, target, wait: () => undefined });
  }

  /** Changes what the receiving socket says of its first joined message. */
  function spoil(receiver: MemoryUdp, how: (batch: ReceiveBatch, slot: number) => void): void {
    const receive = receiver.receive.bind(receiver);
    receiver.receive = (batch) => {
      const count = receive(batch);
      for (let slot = 0; slot < count; slot++) if (batch.segmentSize[slot]! > 0) how(batch, slot);
      return count;
    };
  }

  test("right, joined or one by one", () => {
    expect(open()).toBe(CHECK_RIGHT);
    expect(
      open((_, receiver) => {
        receiver.joins = false;
      }),
    ).toBe(CHECK_RIGHT);
  });

  test("refused: with the error's number", () => {
    for (const errno of [EINVAL, EIO, EOPNOTSUPP]) {
      expect(
        open((sender) => {
          sender.refuse = (size) => (size > 0 ? errno : 0);
        }),
      ).toBe(errno);
    }
  });

  test("nothing arrives at all: not possible to say", () => {
    expect(
      open((sender) => {
        sender.refuse = () => 101;
      }),
    ).toBe(CHECK_IMPOSSIBLE);
    expect(
      open((_, receiver) => {
        receiver.receive = () => 0;
      }),
    ).toBe(CHECK_IMPOSSIBLE);
  });

  test("accepted, and sent as one, or lost: wrong", () => {
    const uncut = (sender: MemoryUdp) => {
      const send = sender.send.bind(sender);
      sender.send = (batch, from) => {
        batch.segmentSize[0] = 0;
        return send(batch, from);
      };
    };
    expect(open(uncut)).toBe(CHECK_WRONG);
    const lost = (sender: MemoryUdp) => {
      const send = sender.send.bind(sender);
      sender.send = (batch, from) => (batch.segmentSize[0]! > 0 ? 1 : send(batch, from));
    };
    expect(open(lost)).toBe(CHECK_WRONG);
  });

  const spoiled: readonly [string, (batch: ReceiveBatch, slot: number) => void][] = [
    [
      "another segment size",
      (batch, slot) => {
        batch.segmentSize[slot] = batch.segmentSize[slot]! + 1;
      },
    ],
    [
      "no segment size",
      (batch, slot) => {
        batch.segmentSize[slot] = 0;
      },
    ],
    [
      "a truncated message",
      (batch, slot) => {
        batch.truncated[slot] = 1;
      },
    ],
    [
      "bytes of something else",
      (batch, slot) => {
        batch.offset[slot] = batch.offset[slot]! + 1;
      },
    ],
  ];
  for (const [name, how] of spoiled) {
    test(`joined with ${name}: wrong`, () => {
      expect(open((_, receiver) => spoil(receiver, how))).toBe(CHECK_WRONG);
    });
  }
});

/** As a kernel of 5.4 has it, and one without anything. */
const SETS: readonly [string, readonly number[]][] = [
  ["no USO, no GRO (Linux 5.4)", [OFFLOAD.USO, OFFLOAD.GRO, OFFLOAD.UDP_JOIN]],
  ["none at all", Object.values(OFFLOAD)],
];

for (const [name, off] of SETS) {
  runPacketPlaneContract({
    name: `memory, ${name}`,
    skipReason: "",
    open: async (partialChecksum) => {
      const { wire, a, b } = openRigPair(partialChecksum);
      for (const rig of [a, b]) {
        for (const offload of off) rig.offloads[offload] = EOPNOTSUPP;
        rig.udp.joins = false;
      }
      const side = (rig: PacketRig, other: PacketRig): PlaneSide => ({
        send: (packet) => rig.tun.waiting.push(plainFrame(packet)),
        sendDatagram: (payload, port) => {
          const { address } = rig.udp.endpoint;
          wire.deliver({ address, port }, other.udp.endpoint.address, RIG_PORT, payload);
        },
        received: () => rig.takeWritten().flatMap((frame) => expandFrame(frame) ?? []),
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

describe("without offloads", () => {
  test("a super-packet that comes all the same crosses, one datagram a message, one write each", () => {
    const { wire, a, b } = openRigPair();
    for (const rig of [a, b]) {
      for (const offload of Object.values(OFFLOAD)) rig.offloads[offload] = EOPNOTSUPP;
      rig.udp.joins = false;
    }
    const packet = buildPacket({ ...A, protocol: "tcp", payload: patternBytes(20_000) });
    a.tun.waiting.push(offloadFrame(packet, 1400));
    a.settle();
    b.settle();
    const frames = b.takeWritten();
    expect([wire.sent.length, frames.length]).toEqual([15, 15]);
    const got = frames.flatMap((frame) => expandFrame(frame)!);
    expect(got).toEqual(expandFrame(offloadFrame(packet, 1400))!);
  });
});

describe("offloads that fail in use", () => {
  const small = () => buildPacket({ ...A, protocol: "udp", payload: patternBytes(100) });

  test("joined datagrams of a peer that are no packets: joining is switched off", () => {
    const { wire, a, b } = openRigPair();
    const { address, port } = a.udp.endpoint;
    const receive = b.udp.receive.bind(b.udp);
    b.udp.receive = (batch) => {
      const count = receive(batch);
      for (let slot = 0; slot < count; slot++) {
        if (batch.segmentSize[slot]! > 0) batch.segmentSize[slot] = batch.segmentSize[slot]! - 1;
      }
      return count;
    };
    for (let i = 0; i < 10; i++) {
      for (let j = 0; j < 5; j++) {
        wire.deliver({ address, port }, b.udp.endpoint.address, RIG_PORT, small());
      }
      b.settle();
    }
    expect(b.offloads[OFFLOAD.GRO]! & OFFLOAD_FAILED_IN_USE).not.toBe(0);
  });

  test("the same from a stranger, or from a peer that sends right ones too: stays on", () => {
    const { wire, a, b } = openRigPair();
    const junk = () => new Uint8Array(100).fill(0x45);
    const stranger = { address: [0, 0, 0xffff, 0xc0000209], port: RIG_PORT };
    for (let i = 0; i < 200; i++) wire.deliver(stranger, b.udp.endpoint.address, RIG_PORT, junk());
    b.settle();
    const known = a.udp.endpoint;
    for (let i = 0; i < 50; i++) {
      for (const bytes of [junk(), junk(), small(), small()]) {
        wire.deliver(known, b.udp.endpoint.address, RIG_PORT, bytes);
      }
      b.settle();
    }
    expect(b.offloads[OFFLOAD.GRO]).toBe(0);
  });

  for (const [protocol, offload] of [
    ["tcp", OFFLOAD.TSO],
    ["udp", OFFLOAD.USO],
  ] as const) {
    test(`${protocol} super-packets that make no sense: ${OFFLOAD_NAMES[offload]} is switched off`, () => {
      const { a } = openRigPair();
      const packet = buildPacket({ ...A, protocol, payload: patternBytes(5000) });
      const broken = offloadFrame(packet, 1000);
      broken[6] = 77; // Where the kernel says that the transport header starts.
      for (let i = 0; i < 7; i++) a.tun.waiting.push(broken.slice());
      a.tun.waiting.push(offloadFrame(packet, 1000));
      for (let i = 0; i < 7; i++) a.tun.waiting.push(broken.slice());
      a.settle();
      expect(a.offloads[offload]).toBe(0);
      a.tun.waiting.push(broken.slice());
      a.settle();
      expect(a.offloads[offload]! & OFFLOAD_FAILED_IN_USE).not.toBe(0);
    });
  }
});
