/**
 * Two sockets as one port: who sends what, whose turn it is to receive, and what is told of it.
 */
import { describe, expect, test } from "bun:test";
import type { ReceiveBatch, SendBatch, UdpPort } from "../packet-ports.ts";
import { type NumberedPort, UdpPorts } from "./udp-ports.ts";

const [NEW, OLD, OTHER] = [9285, 8285, 7000];
const EAGAIN = 11;

/** A socket that notes what it is given, and has room for `room` messages. */
class NotedPort implements UdpPort {
  readonly sent: string[] = [];
  room = Number.POSITIVE_INFINITY;
  waiting = 0;

  send(batch: SendBatch, from: number): number {
    const count = Math.min(this.room, batch.count - from);
    this.room -= count;
    for (let i = from; i < from + count; i++) this.sent.push(`${i}:${batch.targetPort[i]}`);
    return count > 0 ? count : -EAGAIN;
  }

  sendWhole(batch: SendBatch, from: number): number {
    return this.send(batch, from);
  }

  receive(): number {
    const count = this.waiting;
    this.waiting = 0;
    return count;
  }
}

function open() {
  const [current, former] = [new NotedPort(), new NotedPort()];
  const numbered = (port: number, udp: UdpPort): NumberedPort => ({ port, udp });
  const ports = new UdpPorts([numbered(NEW, current), numbered(OLD, former)]);
  return { current, former, ports, alone: () => ports.use([numbered(NEW, current)]) };
}

function batchTo(...targets: readonly number[]): SendBatch {
  const empty = new Int32Array(targets.length + 1);
  return {
    count: targets.length,
    ...{ pieceStart: empty, pieceOffset: empty, pieceLength: empty, segmentSize: empty },
    targetAddress: new Uint32Array(4 * targets.length),
    targetPort: Int32Array.from(targets),
  };
}

/** Sends all of it as the send queue does: what was not taken again, until nothing is. */
function sendAll(ports: UdpPorts, batch: SendBatch): number {
  let from = 0;
  while (from < batch.count) {
    const sent = ports.send(batch, from);
    if (sent <= 0) return sent;
    from += sent;
  }
  return from;
}

describe("sending", () => {
  test("each message goes from the port that it goes to, in order, none twice", () => {
    const { current, former, ports } = open();
    const batch = batchTo(NEW, NEW, OLD, NEW, OLD, OLD, OTHER);
    expect(sendAll(ports, batch)).toBe(7);
    expect(current.sent).toEqual([`0:${NEW}`, `1:${NEW}`, `3:${NEW}`, `6:${OTHER}`]);
    expect(former.sent).toEqual([`2:${OLD}`, `4:${OLD}`, `5:${OLD}`]);
    expect(batch.count).toBe(7);
  });

  test("a full socket holds back what comes behind it, and the batch stays as it was", () => {
    const { current, former, ports } = open();
    former.room = 1;
    const batch = batchTo(OLD, OLD, NEW);
    expect(sendAll(ports, batch)).toBe(-EAGAIN);
    expect([former.sent.length, current.sent.length, batch.count]).toEqual([1, 0, 3]);
    former.room = 1;
    expect(ports.sendWhole(batch, 1)).toBe(1);
    expect(ports.sendWhole(batch, 2)).toBe(1);
    expect(former.sent.concat(current.sent)).toEqual([`0:${OLD}`, `1:${OLD}`, `2:${NEW}`]);
  });

  test("with one port all goes from it", () => {
    const { current, former, ports, alone } = open();
    alone();
    expect(sendAll(ports, batchTo(OLD, NEW))).toBe(2);
    expect([current.sent.length, former.sent.length]).toEqual([2, 0]);
  });
});

describe("receiving", () => {
  const into = () => ({ localPort: -1 }) as ReceiveBatch;

  test("a busy socket does not starve the other, and each says its port", () => {
    const { current, former, ports } = open();
    const came: number[] = [];
    for (let turn = 0; turn < 4; turn++) {
      [current.waiting, former.waiting] = [3, 3];
      const batch = into();
      expect(ports.receive(batch)).toBe(3);
      came.push(batch.localPort);
    }
    expect(came.sort()).toEqual([OLD, OLD, NEW, NEW]);
  });

  test("one that has nothing leaves the turn to the other", () => {
    const { current, former, ports } = open();
    for (const [socket, port] of [
      [current, NEW],
      [current, NEW],
      [former, OLD],
      [former, OLD],
    ] as const) {
      socket.waiting = 1;
      const batch = into();
      expect([ports.receive(batch), batch.localPort]).toEqual([1, port]);
    }
    expect(ports.receive(into())).toBe(0);
  });
});
