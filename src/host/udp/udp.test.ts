import { describe, expect, test } from "bun:test";
import { type IpAddress, parseAddress } from "../../base/address.ts";
import { HostError } from "../../base/host-error.ts";
import type { PacketMemory, ReceiveBatch, SendBatch } from "../packet-ports.ts";
import { POLLIN, PollSet } from "../sys/descriptor.ts";
import { encodeSocketAddress, takeSocketSource } from "./socket-address.ts";
import { UdpSocketPort } from "./udp-port.ts";
import { openUdpSocket, type UdpSocket } from "./udp-socket.ts";

const LOOPBACK = parseAddress("127.0.0.1")!;
const LOOPBACK_WORDS = [0, 0, 0xffff, 0x7f000001];

function memoryOf(size: number): PacketMemory {
  const buffer = new ArrayBuffer(size);
  return {
    bytes: new Uint8Array(buffer),
    words: new Uint32Array(buffer),
    view: new DataView(buffer),
  };
}

/** Messages of `texts` at the start of `memory`, in pieces as given. */
function sendBatch(memory: PacketMemory, messages: readonly (readonly string[])[]): SendBatch {
  const batch: SendBatch = {
    count: messages.length,
    pieceStart: new Int32Array(9),
    pieceOffset: new Int32Array(64),
    pieceLength: new Int32Array(64),
    segmentSize: new Int32Array(8),
    targetAddress: new Uint32Array(32),
    targetPort: new Int32Array(8),
  };
  let offset = 0;
  let piece = 0;
  for (const [message, texts] of messages.entries()) {
    batch.pieceStart[message] = piece;
    for (const text of texts) {
      memory.bytes.set(new TextEncoder().encode(text), offset);
      batch.pieceOffset[piece] = offset;
      batch.pieceLength[piece++] = text.length;
      offset += text.length;
    }
    batch.pieceStart[message + 1] = piece;
  }
  return batch;
}

function receiveBatch(start: number, slotSize: number): ReceiveBatch {
  return {
    offset: Int32Array.from({ length: 4 }, (_, slot) => start + slot * slotSize),
    slotSize,
    length: new Int32Array(4),
    segmentSize: new Int32Array(4),
    truncated: new Uint8Array(4),
    sourceAddress: new Uint32Array(16),
    sourcePort: new Int32Array(4),
    localPort: -1,
  };
}

function portOf(socket: UdpSocket, memory: PacketMemory): UdpSocketPort {
  const { fd, family } = socket;
  const limits = { sendCountMax: 8, pieceCountMax: 64, receiveCountMax: 4 };
  return new UdpSocketPort(memory, { fd, family, ...limits });
}

function open(address: IpAddress = LOOPBACK): UdpSocket {
  return openUdpSocket({ address, port: 0 });
}

/** All datagrams that wait, as text, cut where the kernel joined them. */
function receiveAll(socket: UdpSocket, port: UdpSocketPort, memory: PacketMemory, slot = 2000) {
  const batch = receiveBatch(1024, slot);
  const poll = new PollSet([socket.fd]);
  const texts: string[] = [];
  const info: { joined: boolean; truncated: boolean; source: number[]; port: number }[] = [];
  // Loopback delivers before the send returns; the wait only guards against a wrong test.
  while (poll.wait(0) > 0 && poll.events(0) === POLLIN) {
    const count = port.receive(batch);
    if (count <= 0) break;
    for (let i = 0; i < count; i++) {
      const length = batch.length[i]!;
      const size = batch.segmentSize[i]! || length;
      const start = batch.offset[i]!;
      for (let at = 0; at < length; at += size) {
        const end = start + Math.min(at + size, length);
        texts.push(new TextDecoder().decode(memory.bytes.slice(start + at, end)));
      }
      info.push({
        joined: batch.segmentSize[i]! > 0,
        truncated: batch.truncated[i] === 1,
        source: [...batch.sourceAddress.subarray(i * 4, i * 4 + 4)],
        port: batch.sourcePort[i]!,
      });
    }
  }
  return { texts, info };
}

describe("openUdpSocket", () => {
  test("a port that is taken is named in the error", () => {
    using first = open();
    let thrown: unknown;
    try {
      openUdpSocket({ address: LOOPBACK, port: first.port });
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(HostError);
    expect((thrown as HostError).errno).toBe("EADDRINUSE");
    expect((thrown as HostError).message).toBe(
      `Cannot open UDP 127.0.0.1:${first.port}: port ${first.port} is taken (EADDRINUSE); ` +
        "stop the other agent, or the program that uses this port",
    );
  });

  test("an address of another host is named in the error", () => {
    const address = parseAddress("192.0.2.1")!;
    expect(() => openUdpSocket({ address, port: 0 })).toThrow(
      "Cannot open UDP 192.0.2.1:0: no link of this host has the address (EADDRNOTAVAIL)",
    );
  });

  test("close: the port is free again at once", () => {
    const first = open();
    first.close();
    using second = openUdpSocket({ address: LOOPBACK, port: first.port });
    expect(second.port).toBe(first.port);
  });
});

describe("UdpSocketPort", () => {
  test("send and receive: pieces are gathered, sources are IPv4-mapped words", () => {
    using a = open();
    using b = open();
    const memory = memoryOf(16_384);
    const sender = portOf(a, memory);
    const batch = sendBatch(memory, [["he", "llo"], ["world!"]]);
    for (let i = 0; i < 2; i++) {
      batch.targetAddress.set(LOOPBACK_WORDS, i * 4);
      batch.targetPort[i] = b.port;
    }
    expect(sender.send(batch, 0)).toBe(2);
    const got = receiveAll(b, portOf(b, memory), memory);
    expect(got.texts).toEqual(["hello", "world!"]);
    expect(got.info[0]).toEqual({
      joined: false,
      truncated: false,
      source: LOOPBACK_WORDS,
      port: a.port,
    });
  });

  test("send: one message is cut into datagrams of the segment size", () => {
    using a = open();
    using b = open();
    if (a.gsoErrno !== 0) return;
    const memory = memoryOf(16_384);
    const batch = sendBatch(memory, [["aaaa", "bbbb", "cc"]]);
    batch.segmentSize[0] = 4;
    batch.targetAddress.set(LOOPBACK_WORDS);
    batch.targetPort[0] = b.port;
    expect(portOf(a, memory).send(batch, 0)).toBe(1);
    expect(receiveAll(b, portOf(b, memory), memory).texts).toEqual(["aaaa", "bbbb", "cc"]);
  });

  test("send: from a later message on, only those leave", () => {
    using a = open();
    using b = open();
    const memory = memoryOf(16_384);
    const batch = sendBatch(memory, [["one"], ["two"], ["three"]]);
    for (let i = 0; i < 3; i++) {
      batch.targetAddress.set(LOOPBACK_WORDS, i * 4);
      batch.targetPort[i] = b.port;
    }
    expect(portOf(a, memory).send(batch, 1)).toBe(2);
    expect(receiveAll(b, portOf(b, memory), memory).texts).toEqual(["two", "three"]);
  });

  test("send: a refused first message gives its error, a later one the count before it", () => {
    using a = open();
    using b = open();
    const memory = memoryOf(140_000);
    const batch = sendBatch(memory, [["fits"], ["x"]]);
    for (let i = 0; i < 2; i++) {
      batch.targetAddress.set(LOOPBACK_WORDS, i * 4);
      batch.targetPort[i] = b.port;
    }
    batch.pieceLength[1] = 65_508; // One byte over the largest IPv4 datagram.
    const port = portOf(a, memory);
    expect(port.send(batch, 0)).toBe(1);
    expect(port.send(batch, 1)).toBe(-90); // EMSGSIZE
    expect(port.send(batch, 2)).toBe(0);
  });

  test("receive: nothing waits is 0; a datagram larger than its slot is marked", () => {
    using a = open();
    using b = open();
    const memory = memoryOf(16_384);
    const receiver = portOf(b, memory);
    expect(receiver.receive(receiveBatch(1024, 2000))).toBe(0);
    const batch = sendBatch(memory, [["0123456789"]]);
    batch.targetAddress.set(LOOPBACK_WORDS);
    batch.targetPort[0] = b.port;
    portOf(a, memory).send(batch, 0);
    const got = receiveAll(b, receiver, memory, 4);
    expect(got.texts).toEqual(["0123"]);
    expect(got.info[0]?.truncated).toBe(true);
  });

  test("both families: an IPv6 socket sends to and hears from four words", () => {
    let a: UdpSocket;
    try {
      a = open(parseAddress("::1"));
    } catch {
      return; // A host without IPv6; the codec's own test below still holds.
    }
    using b = open(parseAddress("::1"));
    const memory = memoryOf(16_384);
    const batch = sendBatch(memory, [["six"]]);
    batch.targetAddress.set([0, 0, 0, 1]);
    batch.targetPort[0] = b.port;
    expect(portOf(a, memory).send(batch, 0)).toBe(1);
    const got = receiveAll(b, portOf(b, memory), memory);
    expect(got.texts).toEqual(["six"]);
    expect(got.info[0]).toMatchObject({ source: [0, 0, 0, 1], port: a.port });
    a.close();
  });
});

describe("socket addresses", () => {
  test.each([
    [[10, 0, 53, 1], [0, 0, 0xffff, 0x0a003501], 16],
    [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], [0x20010db8, 0, 0, 9], 28],
  ])("encode and take: %j", (bytes, expected, length) => {
    const view = new DataView(new ArrayBuffer(32));
    expect(encodeSocketAddress(view, new Uint8Array(bytes), 8285)).toBe(length);
    expect(view.getUint16(2)).toBe(8285);
    const words = new Uint32Array(8);
    takeSocketSource(view, 0, words, 4);
    expect([...words.subarray(4)]).toEqual(expected);
  });
});
