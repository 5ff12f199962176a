import { describe, expect, test } from "bun:test";
import { buildPacket, patternBytes } from "../../../tests/sim/packet-builder.ts";
import { createWireMemory } from "../wire/memory.ts";
import { INNER_FAULT, InnerPacket } from "./inner-packet.ts";

const { NONE, SHORT, NOT_IP, BAD_LENGTH, BAD_HEADER } = INNER_FAULT;
const V4 = { source: "10.0.1.5", target: "10.0.2.5" };
const V6 = { source: "fd00:0:0:1:0:0:0:5", target: "fd00:0:0:2:0:0:0:5" };

function parse(bytes: Uint8Array<ArrayBuffer>, length = bytes.length) {
  const memory = createWireMemory(bytes.length + 80);
  memory.bytes.set(bytes, 6);
  const packet = new InnerPacket();
  return { fault: packet.parse(memory, 6, length), packet };
}

/** `packet` with some bytes replaced. */
function patched(
  packet: Uint8Array<ArrayBuffer>,
  changes: Record<number, number>,
): Uint8Array<ArrayBuffer> {
  const copy = packet.slice();
  for (const [at, value] of Object.entries(changes)) copy[Number(at)] = value;
  return copy;
}

describe("InnerPacket", () => {
  const tcp = buildPacket({
    ...V4,
    protocol: "tcp",
    payload: patternBytes(9),
    options: new Uint8Array(12),
  });
  const udp = buildPacket({ ...V4, protocol: "udp", payload: patternBytes(9) });
  const icmp = buildPacket({ ...V4, protocol: "icmp", payload: patternBytes(9) });

  test.each([
    { bytes: tcp, headerLength: 20, transport: 32, payload: 9, why: "TCP with options" },
    { bytes: udp, headerLength: 20, transport: 8, payload: 9, why: "UDP" },
    { bytes: icmp, headerLength: 20, transport: 0, payload: 9, why: "ICMP has no ports" },
    {
      bytes: buildPacket({ ...V6, protocol: "tcp", payload: patternBytes(3) }),
      headerLength: 40,
      transport: 20,
      payload: 3,
      why: "TCP over IPv6",
    },
    {
      bytes: patched(tcp, { 0: 0xc5 }),
      headerLength: 20,
      transport: 32,
      payload: 9,
      why: "a marked packet is what it is without the mark",
    },
  ])("$why", ({ bytes, headerLength, transport, payload }) => {
    const { fault, packet } = parse(bytes);
    expect(fault).toBe(NONE);
    expect([packet.headerLength, packet.transportHeaderLength]).toEqual([headerLength, transport]);
    expect(packet.payloadLength).toBe(payload);
    expect([packet.isFragment, packet.isLaterFragment]).toEqual([false, false]);
  });

  test.each([
    { bytes: new Uint8Array(0), fault: SHORT, why: "nothing" },
    { bytes: tcp.slice(0, 19), fault: SHORT, why: "less than a header" },
    { bytes: patched(tcp, { 0: 0x55 }), fault: NOT_IP, why: "version 5" },
    { bytes: patched(tcp, { 0: 0x44 }), fault: BAD_HEADER, why: "header length below 20" },
    { bytes: patched(icmp, { 0: 0x4f }), fault: BAD_HEADER, why: "header longer than the packet" },
    { bytes: patched(tcp, { 3: 60 }), fault: BAD_LENGTH, why: "total length below the datagram" },
    { bytes: patched(tcp, { 3: 62 }), fault: BAD_LENGTH, why: "total length above the datagram" },
    { bytes: patched(tcp, { 2: 0, 3: 0 }), fault: BAD_LENGTH, why: "total length 0" },
  ])("refused: $why", ({ bytes, fault }) => {
    expect(parse(bytes).fault).toBe(fault);
  });

  test.each([
    { word: 0x2000, first: true, why: "first fragment: MF" },
    { word: 0x0001, first: false, why: "last fragment: an offset alone" },
    { word: 0x3fff, first: false, why: "middle fragment" },
  ])("fragments have no transport header: $why", ({ word, first }) => {
    const { fault, packet } = parse(buildPacket({ ...V4, protocol: "tcp", fragment: word }));
    expect(fault).toBe(NONE);
    expect([packet.isFragment, packet.isLaterFragment]).toEqual([true, !first]);
    expect(packet.transportHeaderLength).toBe(0);
  });

  test.each([
    { bytes: patched(tcp, { 32: 0x40 }), why: "TCP data offset below 20" },
    { bytes: patched(tcp, { 32: 0xf0 }), why: "TCP data offset beyond the packet" },
    { bytes: patched(udp, { 25: 18 }), why: "UDP length beyond the packet" },
    { bytes: patched(udp, { 25: 16 }), why: "UDP length short of the packet" },
    {
      bytes: buildPacket({ ...V4, protocol: 6, payload: new Uint8Array(0) }).slice(),
      why: "a TCP header alone has 20 bytes",
      whole: true,
    },
  ])("no transport header: $why", ({ bytes, whole }) => {
    const { fault, packet } = parse(bytes);
    expect(fault).toBe(NONE);
    expect(packet.transportHeaderLength).toBe(whole === true ? 20 : 0);
  });

  test("IPv6 extension headers are walked: hop options, destination options, fragment", () => {
    const inner = buildPacket({ ...V6, protocol: "udp", payload: patternBytes(5) });
    const extensions = [60, 0, 1, 4, 0, 0, 0, 0, 44, 1, 1, 12, ...new Array(12).fill(0)];
    const fragment = [17, 0, 0, 0, 0, 0, 0, 9];
    const body = [...extensions, ...fragment, ...inner.slice(40)];
    const bytes = new Uint8Array([...inner.slice(0, 40), ...body]);
    bytes[6] = 0;
    bytes[5] = body.length;
    const { fault, packet } = parse(bytes);
    expect(fault).toBe(NONE);
    expect([packet.headerLength, packet.protocol]).toEqual([40 + 8 + 16 + 8, 17]);
    expect([packet.isFragment, packet.transportHeaderLength]).toEqual([false, 8]);
    bytes[40 + 24 + 3] = 8; // Fragment offset 1.
    const later = parse(bytes).packet;
    expect([later.isLaterFragment, later.transportHeaderLength]).toEqual([true, 0]);
  });

  test("IPv6 extension headers cut short, or without end, are refused", () => {
    const chain = (count: number, last: number) => {
      const body = Array.from({ length: count }, (_, i) => [
        i === count - 1 ? last : 60,
        0,
        ...new Array(6).fill(0),
      ]).flat();
      const head = buildPacket({ ...V6, protocol: 60, payload: new Uint8Array(body) });
      return head;
    };
    expect(parse(chain(8, 59)).fault).toBe(NONE);
    expect(parse(chain(9, 59)).fault).toBe(BAD_HEADER);
    expect(parse(chain(3, 60)).fault).toBe(BAD_HEADER);
    const lying = chain(1, 59);
    lying[41] = 255;
    expect(parse(lying).fault).toBe(BAD_HEADER);
  });

  test("random bytes: no exception, and whatever is accepted lies inside the packet", () => {
    let state = 12345;
    const random = () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state >>> 16;
    };
    for (let round = 0; round < 20_000; round++) {
      const bytes = Uint8Array.from({ length: random() % 120 }, random);
      if (bytes.length > 6 && round % 2 === 0) {
        bytes[0] = random() % 2 === 0 ? 0x45 + (random() % 4) : 0x60;
        if (bytes[0]! >>> 4 === 4) bytes.set([0, bytes.length], 2);
        else bytes.set([0, Math.max(0, bytes.length - 40)], 4);
      }
      const { fault, packet } = parse(bytes);
      if (fault !== NONE) continue;
      expect(packet.headerLength + packet.transportHeaderLength).toBeLessThanOrEqual(bytes.length);
      expect(packet.length).toBe(bytes.length);
    }
  });
});
