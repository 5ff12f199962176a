import { describe, expect, test } from "bun:test";
import { sumBytes } from "./checksum.ts";
import { encodeTooBig, encodeUnreachable, mayAnswer, type OffendingPacket } from "./icmp.ts";
import { isIpv4ChecksumRight, pseudoSum, putIpv4Checksum, sumAddresses } from "./ip.ts";
import { createWireMemory, type WireMemory } from "./memory.ts";
import { tcpHeaderLength } from "./transport.ts";
import { putPlainVirtioHeader, putVirtioHeader, VIRTIO_GSO_TCPV4 } from "./virtio.ts";

/** A header seen on the wire: 172.16.10.99 to 172.16.10.12, TTL 64, TCP; its checksum is b1e6. */
const CAPTURED = "4500003c1c4640004006b1e6ac100a63ac100a0c";

function memoryWith(hex: string, at = 0, size = 4096): WireMemory {
  const memory = createWireMemory(size);
  memory.bytes.set(Buffer.from(hex, "hex"), at);
  return memory;
}

describe("IPv4 header checksum", () => {
  test("a captured header is right, and written anew is the same", () => {
    const memory = memoryWith(CAPTURED, 4);
    expect(isIpv4ChecksumRight(memory, 4, 20)).toBe(true);
    memory.view.setUint16(14, 0x1234);
    expect(isIpv4ChecksumRight(memory, 4, 20)).toBe(false);
    putIpv4Checksum(memory, 4, 20);
    expect(memory.view.getUint16(14)).toBe(0xb1e6);
  });
});

describe("pseudo-header", () => {
  test("IPv4: addresses, protocol and length", () => {
    const memory = memoryWith(CAPTURED);
    const expected = 0xac10 + 0x0a63 + 0xac10 + 0x0a0c + 6 + 40;
    const folded = (expected & 0xffff) + (expected >>> 16);
    expect(pseudoSum(sumAddresses(memory, 0, 4), 6, 40)).toBe(folded);
  });
});

describe("virtio-net header", () => {
  test("plain: ten zero bytes and nothing beyond", () => {
    const memory = createWireMemory(16);
    memory.bytes.fill(0xaa);
    putPlainVirtioHeader(memory.view, 2);
    expect(Buffer.from(memory.bytes).toString("hex")).toBe(`aaaa${"00".repeat(10)}aaaaaaaa`);
  });

  test("super-packet: golden bytes, little-endian", () => {
    const memory = createWireMemory(12);
    putVirtioHeader(memory.view, 0, {
      gsoType: VIRTIO_GSO_TCPV4,
      headerLength: 52,
      gsoSize: 1420,
      checksumStart: 20,
      checksumOffset: 16,
    });
    expect(Buffer.from(memory.bytes).toString("hex")).toBe("010134008c05140010000000");
  });
});

test("tcpHeaderLength: the high half of byte 12, in words", () => {
  const memory = createWireMemory(20);
  memory.bytes[12] = 0x8f;
  expect(tcpHeaderLength(memory.view, 0)).toBe(32);
});

describe("ICMP errors", () => {
  const source = new Uint32Array([0, 0, 0xffff, 0x0a00_3500]);
  const offending = (change: Partial<OffendingPacket> = {}): OffendingPacket => ({
    ip: 2000,
    length: 60,
    version: 4,
    protocol: 6,
    headerLength: 20,
    isLaterFragment: false,
    ...change,
  });

  test("3/0: golden header, quotes the packet, checksums hold", () => {
    const memory = memoryWith(`${CAPTURED}${"5a".repeat(40)}`, 2000);
    const length = encodeUnreachable(memory, 0, offending(), source);
    expect(length).toBe(20 + 8 + 60);
    expect(Buffer.from(memory.bytes.slice(0, 10)).toString("hex")).toBe("45c00058000000004001");
    expect(Buffer.from(memory.bytes.slice(12, 20)).toString("hex")).toBe("0a003500ac100a63");
    expect(Buffer.from(memory.bytes.slice(20, 22)).toString("hex")).toBe("0300");
    expect(isIpv4ChecksumRight(memory, 0, 20)).toBe(true);
    expect(sumBytes(memory, 20, 68)).toBe(0xffff);
    expect(memory.bytes.slice(28, 88)).toEqual(memory.bytes.slice(2000, 2060));
  });

  test("3/4: carries the MTU and at most 576 bytes", () => {
    const memory = memoryWith(CAPTURED, 2000);
    const length = encodeTooBig(memory, 0, offending({ length: 1500 }), source, 1472);
    expect(length).toBe(576);
    expect(memory.view.getUint32(20) >>> 16).toBe(0x0304);
    expect(memory.view.getUint32(24)).toBe(1472);
    expect(sumBytes(memory, 20, 556)).toBe(0xffff);
  });

  test("IPv6: no route is 1/0, too big is 2/0, with the pseudo-header in the checksum", () => {
    const header = `6000000000143a40${"20010db8".padEnd(32, "1")}${"20010db8".padEnd(32, "2")}`;
    const packet = offending({ version: 6, length: 60, headerLength: 40, protocol: 17 });
    const from = new Uint32Array([0x20010db8, 0, 0, 1]);
    for (const [length, type, detail] of [
      [encodeUnreachable(memoryWith(header, 2000), 0, packet, from), 0x0100, 0],
      [encodeTooBig(memoryWith(header, 2000), 0, packet, from, 1400), 0x0200, 1400],
    ] as const) {
      const memory = memoryWith(header, 2000);
      if (type === 0x0100) encodeUnreachable(memory, 0, packet, from);
      else encodeTooBig(memory, 0, packet, from, detail);
      expect(length).toBe(40 + 8 + 60);
      expect([memory.view.getUint16(40), memory.view.getUint32(44)]).toEqual([type, detail]);
      const sum = pseudoSum(sumAddresses(memory, 0, 6), 58, 68) + sumBytes(memory, 40, 68);
      expect(sum % 0xffff).toBe(0);
      expect(memory.bytes.slice(24, 40)).toEqual(memory.bytes.slice(2008, 2024));
    }
  });

  const V4 = (sourceHex: string, targetHex: string) =>
    `4500003c1c4640004006b1e6${sourceHex}${targetHex}`;
  interface Answered {
    readonly hex: string;
    readonly answer: boolean;
    readonly why: string;
    readonly protocol?: number;
    readonly length?: number;
    readonly later?: boolean;
  }
  test.each<Answered>([
    { hex: V4("0a000101", "0a000201"), answer: true, why: "two hosts" },
    { hex: V4("0a000101", "e0000001"), answer: false, why: "multicast target" },
    { hex: V4("0a000101", "ffffffff"), answer: false, why: "broadcast target" },
    { hex: V4("00000000", "0a000201"), answer: false, why: "unspecified source" },
    { hex: V4("7f000001", "0a000201"), answer: false, why: "loopback source" },
    { hex: V4("e0000001", "0a000201"), answer: false, why: "multicast source" },
    { hex: `${V4("0a000101", "0a000201")}08`, protocol: 1, answer: true, why: "about an echo" },
    { hex: `${V4("0a000101", "0a000201")}03`, protocol: 1, answer: false, why: "about an error" },
    { hex: `${V4("0a000101", "0a000201")}0b`, protocol: 1, answer: false, why: "about an error" },
    { hex: V4("0a000101", "0a000201"), protocol: 1, length: 20, answer: false, why: "no type" },
    { hex: V4("0a000101", "0a000201"), later: true, answer: false, why: "later fragment" },
  ])("mayAnswer: $why: $answer", ({ hex, answer, protocol = 6, length = 60, later = false }) => {
    const packet = offending({ protocol, length, isLaterFragment: later });
    expect(mayAnswer(memoryWith(hex, 2000), packet)).toBe(answer);
  });

  test.each([
    { source: "20", target: "20", type: 128, answer: true, why: "echo between hosts" },
    { source: "20", target: "20", type: 1, answer: false, why: "about an error" },
    { source: "20", target: "ff", type: 128, answer: false, why: "multicast target" },
    { source: "00", target: "20", type: 128, answer: false, why: "unspecified source" },
  ])("mayAnswer, IPv6: $why: $answer", ({ source, target, type, answer }) => {
    const address = (first: string) => first.padEnd(32, "0");
    const memory = memoryWith(`6000000000143a40${address(source)}${address(target)}`, 2000);
    memory.bytes[2040] = type;
    const packet = offending({ version: 6, protocol: 58, headerLength: 40 });
    expect(mayAnswer(memory, packet)).toBe(answer);
  });
});
