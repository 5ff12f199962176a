import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MemoryTun } from "../../../tests/sim/memory-ports.ts";
import {
  type BuiltPacket,
  buildPacket,
  expandFrame,
  isRight,
  partialSum,
  patternBytes,
  slowSum,
} from "../../../tests/sim/packet-builder.ts";
import { createArena } from "./arena.ts";
import { COUNTER_COUNT, DROP, DROPS_AT, LoopCounters } from "./counters.ts";
import { INNER_FAULT, InnerPacket } from "./inner-packet.ts";
import { OFFLOAD, OFFLOAD_FAILED_IN_USE, OffloadState } from "./offload-state.ts";
import { SegmentJoiner } from "./segment-joiner.ts";
import { TunWriter } from "./tun-writer.ts";

const V4 = { source: "10.0.2.5", target: "10.0.1.5" };
const V6 = { source: "fd00:0:0:2:0:0:0:5", target: "fd00:0:0:1:0:0:0:5" };

interface Given {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly isPartial: boolean;
}

/** A joiner over a memory TUN; packets are laid into the receive slots one behind the other. */
function openJoiner() {
  const arena = createArena();
  const tun = new MemoryTun(arena.memory);
  const totals = new Float64Array(COUNTER_COUNT);
  const state = new Int32Array(8);
  const counters = new LoopCounters(totals, new Float64Array(8));
  const offloads = new OffloadState(state);
  const writer = new TunWriter(arena, tun, counters, offloads);
  const joiner = new SegmentJoiner(arena.memory, writer, offloads);
  const packet = new InnerPacket();
  const run = (given: readonly Given[]): Uint8Array<ArrayBuffer>[] => {
    let at = arena.receive.offset[0]!;
    for (const { bytes, isPartial } of given) {
      arena.memory.bytes.set(bytes, at);
      expect(packet.parse(arena.memory, at, bytes.length)).toBe(INNER_FAULT.NONE);
      joiner.add(packet, isPartial, 0, 0);
      at += bytes.length;
    }
    joiner.flush();
    writer.flush();
    return tun.written.splice(0);
  };
  /** Marked datagrams of one size, as they come in one message, by runs or one by one. */
  const receive = (message: readonly Uint8Array<ArrayBuffer>[], byRuns: boolean) => {
    const start = arena.receive.offset[0]!;
    const size = message[0]!.length;
    for (const [i, bytes] of message.entries()) arena.memory.bytes.set(bytes, start + i * size);
    const end = start + message.length * size;
    for (let at = start; at < end; at += size) {
      if (byRuns) at += size * joiner.extendRun(at, size, (end - at) / size);
      if (at >= end || joiner.extendRecent(at, size, isMarkedAt(at))) continue;
      const isPartial = isMarkedAt(at);
      if (packet.parse(arena.memory, at, size) !== INNER_FAULT.NONE) continue;
      arena.memory.bytes[at] = arena.memory.bytes[at]! & 0x7f;
      joiner.add(packet, isPartial && packet.transportHeaderLength > 0, 0, 0);
    }
    joiner.flush();
    writer.flush();
    return tun.written.splice(0);
  };
  const isMarkedAt = (at: number) => (arena.memory.bytes[at]! & 0x80) !== 0;
  return { run, receive, tun, totals, state };
}

function asMarked(packet: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { bytes } = asPartial(packet);
  bytes[0] = bytes[0]! | 0x80;
  return bytes;
}

/** The segments of one TCP or UDP transfer, finished, `size` bytes of payload each. */
function transfer(
  spec: BuiltPacket,
  count: number,
  size: number,
  lastSize = size,
): Uint8Array<ArrayBuffer>[] {
  return Array.from({ length: count }, (_, i) =>
    buildPacket({
      ...spec,
      id: ((spec.id ?? 1) + i) & 0xffff,
      sequence: ((spec.sequence ?? 1) + i * size) >>> 0,
      payload: patternBytes(i === count - 1 ? lastSize : size, i),
    }),
  );
}

/** A finished packet as a peer of our own sends it: only the pseudo-header sum in the field. */
function asPartial(packet: Uint8Array<ArrayBuffer>): Given {
  const bytes = packet.slice();
  const isV4 = bytes[0]! >>> 4 === 4;
  const at = (isV4 ? 20 : 40) + ((isV4 ? bytes[9] : bytes[6]) === 6 ? 16 : 6);
  bytes.set([partialSum(packet) >>> 8, partialSum(packet) & 255], at);
  return { bytes, isPartial: true };
}

function asPlain(packet: Uint8Array<ArrayBuffer>): Given {
  return { bytes: packet, isPartial: false };
}

function delivered(frames: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer>[] {
  return frames.flatMap((frame) => expandFrame(frame) ?? []);
}

describe("SegmentJoiner", () => {
  const tcp = (over: Partial<BuiltPacket> = {}): BuiltPacket => ({
    ...V4,
    protocol: "tcp",
    ...over,
  });
  const udp = (over: Partial<BuiltPacket> = {}): BuiltPacket => ({
    ...V4,
    protocol: "udp",
    ...over,
  });

  for (const [kind, given] of [
    ["partial", asPartial],
    ["plain", asPlain],
  ] as const) {
    for (const [name, spec] of [
      ["TCP over IPv4", tcp({ options: patternBytes(12) })],
      ["UDP over IPv4", udp()],
      ["TCP over IPv6", { ...V6, protocol: "tcp" }],
      ["UDP over IPv6", { ...V6, protocol: "udp" }],
    ] as const) {
      test(`${name}, ${kind}: forty segments are one write, and come out as they went in`, () => {
        const packets = transfer(spec, 40, 1400, 77);
        const frames = openJoiner().run(packets.map(given));
        expect(frames.length).toBe(1);
        expect(delivered(frames)).toEqual(packets);
      });
    }
  }

  test("one segment alone is written as it is; partial, with its checksum to be finished", () => {
    const packets = transfer(tcp(), 1, 500);
    const joiner = openJoiner();
    const [plain] = joiner.run(packets.map(asPlain));
    expect(plain).toEqual(new Uint8Array([...new Uint8Array(10), ...packets[0]!]));
    const frames = joiner.run(packets.map(asPartial));
    expect(frames[0]![0]).toBe(1);
    expect(delivered(frames)).toEqual(packets);
  });

  interface Pair {
    readonly why: string;
    readonly first?: Partial<BuiltPacket>;
    readonly second?: Partial<BuiltPacket>;
    readonly frames: number;
  }
  const next = { sequence: 101, id: 2 };
  test.each<Pair>([
    { why: "the next segment joins", second: next, frames: 1 },
    { why: "a gap in the sequence", second: { ...next, sequence: 102 }, frames: 2 },
    { why: "a repeated segment", second: { ...next, sequence: 1 }, frames: 2 },
    { why: "another acknowledgement", second: { ...next, acknowledgement: 2 }, frames: 2 },
    { why: "another window", second: { ...next, window: 501 }, frames: 2 },
    { why: "another option", second: { ...next, options: patternBytes(4, 1) }, frames: 2 },
    { why: "more options", second: { ...next, options: patternBytes(8) }, frames: 2 },
    { why: "another TTL", second: { ...next, ttl: 63 }, frames: 2 },
    { why: "another type of service", second: { ...next, tos: 3 }, frames: 2 },
    { why: "another port", second: { ...next, sourcePort: 1001 }, frames: 2 },
    { why: "another source", second: { ...next, source: "10.0.2.6" }, frames: 2 },
    { why: "another target", second: { ...next, target: "10.0.1.6" }, frames: 2 },
    { why: "DF on one only", second: { ...next, fragment: 0 }, frames: 2 },
    {
      why: "without DF, identifications in order",
      first: { fragment: 0 },
      second: { ...next, fragment: 0 },
      frames: 1,
    },
    {
      why: "without DF, another identification",
      first: { fragment: 0 },
      second: { ...next, fragment: 0, id: 3 },
      frames: 2,
    },
    { why: "with DF, any identification", second: { ...next, id: 9 }, frames: 1 },
    { why: "a longer segment", second: { ...next, payload: patternBytes(101) }, frames: 2 },
    { why: "PSH on the last", second: { ...next, flags: 0x18 }, frames: 1 },
    { why: "FIN on the last", second: { ...next, flags: 0x11 }, frames: 1 },
    { why: "PSH on the first ends it", first: { flags: 0x18 }, second: next, frames: 2 },
    { why: "RST", second: { ...next, flags: 0x14 }, frames: 2 },
    { why: "SYN", first: { flags: 0x02 }, second: next, frames: 2 },
    { why: "URG", second: { ...next, flags: 0x30 }, frames: 2 },
    { why: "ECE", second: { ...next, flags: 0x50 }, frames: 2 },
    { why: "CWR", second: { ...next, flags: 0x90 }, frames: 2 },
    { why: "no ACK", second: { ...next, flags: 0 }, frames: 2 },
    { why: "an empty segment", second: { ...next, payload: new Uint8Array(0) }, frames: 2 },
  ])("two TCP segments: $why: $frames", ({ first = {}, second = {}, frames }) => {
    const base = { options: patternBytes(4), payload: patternBytes(100), id: 1 };
    const packets = [
      buildPacket(tcp({ ...base, ...first })),
      buildPacket(tcp({ ...base, ...second })),
    ];
    for (const given of [asPartial, asPlain]) {
      const written = openJoiner().run(packets.map(given));
      expect(written.length).toBe(frames);
      expect(delivered(written).map(ignoreId)).toEqual(packets.map(ignoreId));
    }
  });

  test("an IPv4 header with options never joins", () => {
    const packets = transfer(tcp(), 2, 100).map((packet) => {
      const options = new Uint8Array([
        0x46,
        ...packet.slice(1, 20),
        1,
        1,
        1,
        0,
        ...packet.slice(20),
      ]);
      options[3] = options[3]! + 4;
      return options;
    });
    expect(openJoiner().run(packets.map(asPlain)).length).toBe(2);
  });

  test("a wrong checksum never joins, first or second, and reaches the kernel as it is", () => {
    for (const broken of [0, 1]) {
      const packets = transfer(tcp(), 3, 100);
      packets[broken]![60] = packets[broken]![60]! ^ 1;
      const written = openJoiner().run(packets.map(asPlain));
      const wrong = delivered(written).filter((packet) => !isRight(packet));
      expect(wrong).toEqual([packets[broken]!]);
      expect(delivered(written)).toEqual(packets);
      expect(written.length).toBe(broken + 2);
    }
  });

  test("UDP without a checksum never joins", () => {
    const packets = transfer(udp(), 2, 100);
    for (const packet of packets) packet.set([0, 0], 26);
    const written = openJoiner().run(packets.map(asPlain));
    expect(written.map((frame) => frame.slice(10))).toEqual(packets);
  });

  test("flows mixed packet by packet are each joined, each in its order", () => {
    const flows = [1, 2, 3, 4, 5].map((n) => transfer(tcp({ sourcePort: n }), 20, 700));
    const mixed = Array.from({ length: 20 }, (_, i) => flows.map((flow) => flow[i]!)).flat();
    const written = openJoiner().run(mixed.map(asPartial));
    expect(written.length).toBe(5);
    expect(delivered(written)).toEqual(flows.flat());
  });

  test("more flows than entries: nothing is lost, nothing overtakes within a flow", () => {
    const flows = Array.from({ length: 20 }, (_, n) => transfer(udp({ sourcePort: n + 1 }), 6, 50));
    const mixed = Array.from({ length: 6 }, (_, i) => flows.map((flow) => flow[i]!)).flat();
    const out = delivered(openJoiner().run(mixed.map(asPlain)));
    expect(out.length).toBe(120);
    for (const [n, flow] of flows.entries()) {
      expect(out.filter((packet) => packet[21] === n + 1)).toEqual(flow);
    }
  });

  test("an acknowledgement of the same flow does not overtake the data before it", () => {
    const data = transfer(tcp(), 3, 100);
    const ack = buildPacket(tcp({ sequence: 301 }));
    const written = openJoiner().run([...data, ack].map(asPartial));
    expect(delivered(written)).toEqual([...data, ack]);
  });

  test("64 KiB is the end of a joined packet", () => {
    const packets = transfer(tcp(), 60, 1400);
    const written = openJoiner().run(packets.map(asPartial));
    expect(written.length).toBe(2);
    expect(Math.max(...written.map((frame) => frame.length))).toBeLessThanOrEqual(10 + 65_535);
    expect(delivered(written)).toEqual(packets);
  });

  test("tiny segments: a joined packet has a limit of segments", () => {
    const packets = transfer(udp(), 300, 1);
    const written = openJoiner().run(packets.map(asPlain));
    expect(written.length).toBe(3);
    expect(delivered(written)).toEqual(packets);
  });

  test("a joined packet that the kernel refuses is written segment by segment", () => {
    for (const [spec, offload] of [
      [tcp({ options: patternBytes(12) }), OFFLOAD.TCP_JOIN],
      [udp(), OFFLOAD.UDP_JOIN],
    ] as const) {
      const { run, tun, state, totals } = openJoiner();
      tun.refuse = (frame) => (frame[1] === 0 ? 0 : 22);
      const packets = transfer(spec, 10, 300, 20);
      for (const given of [asPartial, asPlain]) {
        expect(delivered(run(packets.map(given)))).toEqual(packets);
      }
      for (let i = 0; i < 6; i++) run(packets.map(asPlain));
      expect(state[offload]).toBe(22 | OFFLOAD_FAILED_IN_USE);
      const frames = run(packets.map(asPlain));
      expect(frames.map((frame) => frame.slice(10))).toEqual(packets);
      expect(totals[DROPS_AT + DROP.RX_TUN_REFUSED]).toBe(0);
    }
  });

  test("a refused joined packet whose last segment ends the flow: no other one does", () => {
    const { run, tun } = openJoiner();
    tun.refuse = (frame) => (frame[1] === 0 ? 0 : 22);
    const packets = transfer(tcp(), 4, 300);
    packets[3] = buildPacket(tcp({ sequence: 901, id: 4, flags: 0x19, payload: patternBytes(9) }));
    for (const given of [asPartial, asPlain]) {
      const frames = run(packets.map(given));
      expect(frames.map((frame) => frame[10 + 33])).toEqual([0x10, 0x10, 0x10, 0x19]);
      // A kernel takes an IPv4 header as it is: nobody finishes its sum.
      for (const frame of frames) expect(slowSum(frame.slice(10, 30))).toBe(0xffff);
    }
  });

  test("a TUN that is down: every packet is counted, joined ones by their segments", () => {
    const { run, tun, totals } = openJoiner();
    tun.refuse = () => 5;
    run([...transfer(tcp(), 10, 300), ...transfer(udp(), 1, 5)].map(asPartial));
    expect(totals[DROPS_AT + DROP.RX_TUN_DOWN]).toBe(11);
  });

  test("random mixes of flows, partial and plain: every flow arrives whole and in order", () => {
    const step = fc.record({
      flow: fc.integer({ min: 0, max: 11 }),
      size: fc.integer({ min: 0, max: 1400 }),
      flags: fc.constantFrom(0x10, 0x10, 0x10, 0x18, 0x11, 0x14),
      isPartial: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const sequence = new Array<number>(12).fill(1);
        const given = steps.map(({ flow, size, flags, isPartial }, id) => {
          const isTcp = flow % 2 === 0;
          const packet = buildPacket({
            ...(flow % 3 === 0 ? V6 : V4),
            protocol: isTcp ? "tcp" : "udp",
            sourcePort: flow + 1,
            sequence: sequence[flow]!,
            payload: patternBytes(size, id),
            flags,
            id,
          });
          sequence[flow] = sequence[flow]! + size;
          return isPartial ? asPartial(packet) : asPlain(packet);
        });
        const finished = given.map(({ bytes, isPartial }) =>
          isPartial ? delivered(openJoiner().run([{ bytes, isPartial }]))[0]! : bytes,
        );
        const out = delivered(openJoiner().run(given));
        expect(out.length).toBe(given.length);
        const port = (packet: Uint8Array<ArrayBuffer>) => packet[packet[0]! >>> 4 === 4 ? 21 : 41];
        for (let flow = 0; flow < 12; flow++) {
          const of = (list: readonly Uint8Array<ArrayBuffer>[]) =>
            list.filter((packet) => port(packet) === flow + 1).map((packet) => ignoreId(packet));
          expect(of(out)).toEqual(of(finished));
        }
      }),
      { seed: 7, numRuns: 60 },
    );
  });

  test("runs of segments: whatever is changed in them, the same as one by one", () => {
    const change = fc.record({
      segment: fc.integer({ min: 0, max: 29 }),
      at: fc.integer({ min: 0, max: 51 }),
      bit: fc.integer({ min: 0, max: 7 }),
    });
    const [slow, fast] = [openJoiner(), openJoiner()];
    fc.assert(
      fc.property(
        fc.record({
          size: fc.constantFrom(1, 4, 100, 101, 1420, 2400),
          options: fc.constantFrom(0, 12, 40),
          isTcp: fc.boolean(),
          isV4: fc.boolean(),
          id: fc.constantFrom(0, 7, 0xfff0),
          idStep: fc.constantFrom(0, 1),
          fragment: fc.constantFrom(0, 0x4000),
          sequence: fc.constantFrom(5, 0xffff_f000),
          changes: fc.array(change, { maxLength: 3 }),
        }),
        ({ size, options, isTcp, isV4, id, idStep, fragment, sequence, changes }) => {
          const protocol = isTcp ? "tcp" : "udp";
          const addresses = isV4 ? V4 : V6;
          const message = Array.from({ length: 30 }, (_, i) => {
            const payload = patternBytes(size, i);
            const place = { id: (id + i * idStep) & 0xffff, sequence: (sequence + i * size) >>> 0 };
            const spec = { ...addresses, fragment, options: patternBytes(options), payload };
            return asMarked(buildPacket({ ...spec, ...place, protocol }));
          });
          for (const { segment, at, bit } of changes) {
            const bytes = message[segment]!;
            bytes[at % bytes.length] = bytes[at % bytes.length]! ^ (1 << bit);
          }
          const oneByOne = slow.receive(message, false);
          const asRuns = fast.receive(message, true);
          expect(asRuns.length).toBe(oneByOne.length);
          for (const [i, frame] of oneByOne.entries()) {
            expect(Buffer.compare(asRuns[i]!, frame)).toBe(0);
          }
          const isOne = changes.length === 0 && (fragment !== 0 || idStep === 1 || !isV4);
          if (isOne) expect(oneByOne.length).toBeLessThan(3);
        },
      ),
      { seed: 7, numRuns: 200 },
    );
  });
});

/** With DF an identification means nothing (RFC 6864 §4.1), and cutting numbers anew. */
function ignoreId(packet: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const copy = packet.slice();
  if (copy[0]! >>> 4 === 4) copy.fill(0, 4, 6).fill(0, 10, 12);
  return copy;
}
