import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type BuiltPacket,
  buildPacket,
  expandFrame,
  isRight,
  offloadFrame,
  openDatagram,
  patternBytes,
} from "../../../tests/sim/packet-builder.ts";
import { createWireMemory, type WireMemory } from "../wire/memory.ts";
import { HEADER_SIZE } from "./arena.ts";
import { INNER_FAULT, InnerPacket } from "./inner-packet.ts";
import { finishChecksum, SEGMENT_COUNT_MAX, Segmenter } from "./segmenter.ts";

const V4 = { source: "10.0.1.5", target: "10.0.2.5" };
const V6 = { source: "fd00:0:0:1:0:0:0:5", target: "fd00:0:0:2:0:0:0:5" };
const VIRTIO = 6;
const IP = 16;

function load(frame: Uint8Array<ArrayBuffer>): { memory: WireMemory; packet: InnerPacket } {
  const memory = createWireMemory(VIRTIO + frame.length + 64 + HEADER_SIZE);
  memory.bytes.set(frame, VIRTIO);
  const packet = new InnerPacket();
  expect(packet.parse(memory, IP, frame.length - 10)).toBe(INNER_FAULT.NONE);
  return { memory, packet };
}

/** All segments of `frame`, or undefined when it is refused. */
function segmentsOf(
  frame: Uint8Array<ArrayBuffer>,
  isPartial: boolean,
): Uint8Array<ArrayBuffer>[] | undefined {
  const { memory, packet } = load(frame);
  const segmenter = new Segmenter(memory);
  if (!segmenter.begin(VIRTIO, packet, isPartial, 65_535)) return undefined;
  const headerAt = memory.bytes.length - HEADER_SIZE;
  const segments: Uint8Array<ArrayBuffer>[] = [];
  while (segmenter.hasNext) {
    segmenter.putHeader(headerAt);
    const header = memory.bytes.slice(headerAt, headerAt + segmenter.headerLength);
    const { payloadAt, payloadLength } = segmenter;
    const payload = memory.bytes.slice(payloadAt, payloadAt + payloadLength);
    segments.push(new Uint8Array([...header, ...payload]));
  }
  return segments;
}

/** The same by `putRun`, at most `countMax` at a time. */
function segmentsOfRuns(
  frame: Uint8Array<ArrayBuffer>,
  isPartial: boolean,
  countMax: number,
): Uint8Array<ArrayBuffer>[] {
  const { memory: small } = load(frame);
  const memory = createWireMemory(small.bytes.length + countMax * HEADER_SIZE);
  memory.bytes.set(small.bytes);
  const packet = new InnerPacket();
  expect(packet.parse(memory, IP, frame.length - 10)).toBe(INNER_FAULT.NONE);
  const segmenter = new Segmenter(memory);
  expect(segmenter.begin(VIRTIO, packet, isPartial, 65_535)).toBe(true);
  const headersAt = memory.bytes.length - countMax * HEADER_SIZE;
  const segments: Uint8Array<ArrayBuffer>[] = [];
  while (segmenter.hasNext) {
    const count = segmenter.putRun(headersAt, countMax);
    expect(count).toBeLessThanOrEqual(countMax);
    let { payloadAt } = segmenter;
    for (let i = 0; i < count; i++) {
      const isLast = i === count - 1;
      const length = isLast ? segmenter.lastPayloadLength : segmenter.payloadLength;
      const at = headersAt + i * HEADER_SIZE;
      const header = memory.bytes.slice(at, at + segmenter.headerLength);
      const payload = memory.bytes.slice(payloadAt, payloadAt + length);
      segments.push(new Uint8Array([...header, ...payload]));
      payloadAt += length;
    }
  }
  return segments;
}

describe("Segmenter", () => {
  const shapes: readonly { name: string; spec: BuiltPacket; gsoSize: number }[] = [
    {
      name: "TCP over IPv4, PSH and FIN and CWR",
      spec: { ...V4, protocol: "tcp", payload: patternBytes(5000), flags: 0x99, id: 0xfffe },
      gsoSize: 1420,
    },
    {
      name: "TCP with options, sequence number wraps",
      spec: {
        ...V4,
        protocol: "tcp",
        payload: patternBytes(4001),
        options: patternBytes(12),
        sequence: 0xffff_fc00,
      },
      gsoSize: 999,
    },
    {
      name: "UDP over IPv4",
      spec: { ...V4, protocol: "udp", payload: patternBytes(2001) },
      gsoSize: 500,
    },
    {
      name: "TCP over IPv6",
      spec: { ...V6, protocol: "tcp", payload: patternBytes(3000) },
      gsoSize: 1400,
    },
    {
      name: "UDP over IPv6",
      spec: { ...V6, protocol: "udp", payload: patternBytes(3000) },
      gsoSize: 1400,
    },
    {
      name: "one segment only",
      spec: { ...V4, protocol: "tcp", payload: patternBytes(10) },
      gsoSize: 1400,
    },
  ];
  for (const { name, spec, gsoSize } of shapes) {
    test(`${name}: the same segments as the slow twin, with finished checksums`, () => {
      const frame = offloadFrame(buildPacket(spec), gsoSize);
      const segments = segmentsOf(frame, false);
      expect(segments).toEqual(expandFrame(frame)!);
      for (const segment of segments!) expect(isRight(segment)).toBe(true);
    });

    test(`${name}: partial segments are marked and finish to the same`, () => {
      const frame = offloadFrame(buildPacket(spec), gsoSize);
      const segments = segmentsOf(frame, true)!;
      expect(segments.map((segment) => segment[0]! >>> 4)).toEqual(
        segments.map(() => (spec.source.includes(".") ? 12 : 14)),
      );
      expect(segments.map(openDatagram)).toEqual(expandFrame(frame)!);
    });
  }

  test("random super-packets agree with the slow twin", () => {
    fc.assert(
      fc.property(
        fc.record({
          isV4: fc.boolean(),
          isTcp: fc.boolean(),
          size: fc.integer({ min: 1, max: 6000 }),
          gsoSize: fc.integer({ min: 1, max: 3000 }),
          flags: fc.integer({ min: 0, max: 255 }),
          sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
          id: fc.integer({ min: 0, max: 0xffff }),
          words: fc.integer({ min: 0, max: 10 }),
          isPartial: fc.boolean(),
          runMax: fc.integer({ min: 1, max: 20 }),
        }),
        (r) => {
          fc.pre(r.size / r.gsoSize <= 300);
          const packet = buildPacket({
            ...(r.isV4 ? V4 : V6),
            protocol: r.isTcp ? "tcp" : "udp",
            payload: patternBytes(r.size, r.id),
            flags: r.flags,
            sequence: r.sequence,
            id: r.id,
            options: patternBytes(r.words * 4),
          });
          const frame = offloadFrame(packet, r.gsoSize);
          const segments = segmentsOf(frame, r.isPartial)!;
          expect(segments.map(openDatagram)).toEqual(expandFrame(frame)!);
          expect(segmentsOfRuns(frame, r.isPartial, r.runMax)).toEqual(segments);
        },
      ),
      { seed: 42, numRuns: 300 },
    );
  });

  const frame = () =>
    offloadFrame(buildPacket({ ...V4, protocol: "tcp", payload: patternBytes(3000) }), 1400);
  interface Change {
    readonly at: number;
    readonly value: number;
    readonly why: string;
    readonly and?: number;
    readonly also?: boolean;
  }
  test.each<Change>([
    { at: 0, value: 0, why: "no checksum asked for" },
    { at: 1, value: 4, why: "IPv6 type on an IPv4 packet" },
    { at: 1, value: 5, why: "UDP type on a TCP packet" },
    { at: 1, value: 3, why: "UFO, which was never agreed on" },
    { at: 4, value: 0, and: 5, why: "gso size 0" },
    { at: 4, value: 1, and: 5, why: "gso size 1: more segments than the limit" },
    { at: 6, value: 24, why: "checksum start inside TCP" },
    { at: 8, value: 6, why: "checksum offset of UDP" },
    { at: 10 + 9, value: 1, why: "neither TCP nor UDP" },
    { at: 10 + 32, value: 0xf0, also: true, why: "data offset of 60 is within, so it is cut" },
  ])("begin refuses what does not fit together: $why", ({ at, value, and, also }) => {
    const bad = frame();
    bad[at] = value;
    if (and !== undefined) bad[and] = 0;
    expect(segmentsOf(bad, false) === undefined).toBe(also !== true);
  });

  test("begin refuses a fragment", () => {
    const packet = buildPacket({ ...V4, protocol: "tcp", payload: patternBytes(3000) });
    packet[6] = 0x20;
    expect(segmentsOf(offloadFrame(packet, 1400), false)).toBeUndefined();
  });

  test("the limit on segments is where it says", () => {
    const packet = buildPacket({
      ...V4,
      protocol: "udp",
      payload: patternBytes(SEGMENT_COUNT_MAX),
    });
    expect(segmentsOf(offloadFrame(packet, 1), true)?.length).toBe(SEGMENT_COUNT_MAX);
    const over = buildPacket({
      ...V4,
      protocol: "udp",
      payload: patternBytes(SEGMENT_COUNT_MAX + 1),
    });
    expect(segmentsOf(offloadFrame(over, 1), true)).toBeUndefined();
  });

  test("cancel: nothing more comes, and the rest is counted", () => {
    const { memory, packet } = load(frame());
    const segmenter = new Segmenter(memory);
    segmenter.begin(VIRTIO, packet, true, 65_535);
    segmenter.putHeader(memory.bytes.length - HEADER_SIZE);
    expect([segmenter.cancel(), segmenter.hasNext]).toEqual([2, false]);
  });
});

describe("finishChecksum", () => {
  test.each([
    { protocol: "tcp", start: 20, offset: 16 },
    { protocol: "udp", start: 20, offset: 6 },
  ] as const)("$protocol: the checksum is right afterwards", ({ protocol, start, offset }) => {
    const packet = buildPacket({ ...V4, protocol, payload: patternBytes(101) });
    const loaded = load(offloadFrame(packet));
    expect(finishChecksum(loaded.memory, loaded.packet, start, offset)).toBe(true);
    expect(loaded.memory.bytes.slice(IP, IP + packet.length)).toEqual(packet);
  });

  test.each([
    { start: 0, offset: 16, why: "in the IP header" },
    { start: 120, offset: 16, why: "at the end" },
    { start: 65_535, offset: 65_535, why: "far outside" },
  ])("refused: $why", ({ start, offset }) => {
    const loaded = load(
      offloadFrame(buildPacket({ ...V4, protocol: "udp", payload: patternBytes(101) })),
    );
    const before = loaded.memory.bytes.slice();
    expect(finishChecksum(loaded.memory, loaded.packet, start, offset)).toBe(false);
    expect(loaded.memory.bytes).toEqual(before);
  });
});
