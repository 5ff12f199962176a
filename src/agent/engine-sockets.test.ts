/**
 * The engine's sockets over changes of the port: real ones, on the loopback.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { parseAddress } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import { openUdpSocket, type UdpSocket } from "../host/udp/udp-socket.ts";
import { EngineSockets, FORMER_PORTS_MAX } from "./engine-sockets.ts";

const LOOPBACK = parseAddress("127.0.0.1")!;

const opened: { close(): void }[] = [];
afterEach(() => {
  for (const each of opened.splice(0)) each.close();
});

/** A port that was free a moment ago. */
function freePort(): number {
  const socket = openUdpSocket({ address: LOOPBACK, port: 0 });
  const { port } = socket;
  socket.close();
  return port;
}

/** Whether nobody listens on `port`. */
function isFree(port: number): boolean {
  try {
    openUdpSocket({ address: LOOPBACK, port }).close();
    return true;
  } catch (error) {
    if (error instanceof HostError) return false;
    throw error;
  }
}

function open(): { first: UdpSocket; sockets: EngineSockets } {
  const first = openUdpSocket({ address: LOOPBACK, port: 0 });
  const sockets = new EngineSockets(LOOPBACK, first);
  opened.push(sockets);
  return { first, sockets };
}

describe("a change of the port", () => {
  test("the former one is open until it is given up and the loop has heard of that", () => {
    const { first, sockets } = open();
    const port = freePort();
    expect(sockets.listen(port, [first.port])).toBeTrue();
    expect(sockets.tell(1)).toEqual([
      { fd: sockets.current.fd, port },
      { fd: first.fd, port: first.port },
    ]);
    sockets.taken(1);
    expect(isFree(first.port)).toBeFalse();
    expect(sockets.listen(port, [])).toBeTrue();
    sockets.taken(1); // No table without it was told yet.
    expect(isFree(first.port)).toBeFalse();
    expect(sockets.tell(2)).toHaveLength(1);
    sockets.taken(1);
    expect(isFree(first.port)).toBeFalse();
    sockets.taken(2);
    expect([isFree(first.port), isFree(port)]).toEqual([true, false]);
  });

  test("nothing new changes nothing", () => {
    const { first, sockets } = open();
    expect(sockets.listen(first.port, [])).toBeFalse();
    expect(sockets.listen(first.port, [first.port])).toBeFalse();
    expect(sockets.listen(first.port, [freePort()])).toBeFalse();
    expect(sockets.open).toEqual([first]);
  });

  test("going back takes the same socket, and what waits in it", () => {
    const { first, sockets } = open();
    const port = freePort();
    sockets.listen(port, [first.port]);
    expect(sockets.listen(first.port, [port])).toBeTrue();
    expect(sockets.current).toBe(first);
    expect(sockets.open.map((socket) => socket.port)).toEqual([first.port, port]);
  });

  test("of many changes in a row the latest ports stay", () => {
    const { first, sockets } = open();
    const ports = [first.port];
    for (let change = 0; change <= FORMER_PORTS_MAX; change++) {
      const port = freePort();
      sockets.listen(port, ports);
      ports.unshift(port);
    }
    expect(sockets.open.map((socket) => socket.port)).toEqual(ports.slice(0, -1));
    sockets.tell(3);
    sockets.taken(3);
    expect(isFree(first.port)).toBeTrue();
  });

  test("a port that somebody else has: told, and all is as it was", () => {
    const { first, sockets } = open();
    const other = openUdpSocket({ address: LOOPBACK, port: 0 });
    opened.push(other);
    expect(() => sockets.listen(other.port, [first.port])).toThrow(HostError);
    expect(sockets.open).toEqual([first]);
    expect(sockets.tell(1)).toEqual([{ fd: first.fd, port: first.port }]);
  });
});
