import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import { parseAddress } from "../../base/address.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { libc } from "../sys/libc.ts";
import { kernelBytes } from "../sys/memory.ts";
import { encodeSocketAddress, SOCKADDR_SIZE } from "./socket-address.ts";
import { adoptUdpSocket, openUdpSocket } from "./udp-socket.ts";

const LOOPBACK = parseAddress("127.0.0.1")!;
const F_DUPFD_CLOEXEC = 1030;
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;

/** Another descriptor of the same file, as the next process would have it. */
const copyOf = (fd: number) => libc().fcntl(fd, F_DUPFD_CLOEXEC, 0);
const isOpen = (fd: number) => fs.existsSync(`/proc/self/fd/${fd}`);

function sendTo(port: number, text: string): void {
  using from = openUdpSocket({ address: LOOPBACK, port: 0 });
  const target = kernelBytes(SOCKADDR_SIZE);
  const length = encodeSocketAddress(target.view, Uint8Array.of(127, 0, 0, 1), port);
  const body = kernelBytes(text.length);
  body.bytes.set(new TextEncoder().encode(text));
  libc().sendto(from.fd, body.address, text.length, 0, target.address, length);
}

function receive(fd: number): string {
  const body = kernelBytes(100);
  const length = libc().recv(fd, body.address, 100, 0);
  return length < 0 ? "nothing" : new TextDecoder().decode(body.bytes.subarray(0, length));
}

/** A socket on a port of its own, made with `type` and changed by `change`. */
function foreignSocket(type: number, change: (fd: number) => void = () => undefined) {
  const descriptor = new Descriptor(libc().socket(AF_INET, type, 0));
  change(descriptor.fd);
  const name = kernelBytes(SOCKADDR_SIZE);
  const length = encodeSocketAddress(name.view, Uint8Array.of(127, 0, 0, 1), 0);
  libc().bind(descriptor.fd, name.address, length);
  const size = kernelBytes(4);
  size.view.setUint32(0, SOCKADDR_SIZE, true);
  libc().getsockname(descriptor.fd, name.address, size.address);
  return { fd: descriptor.fd, port: name.view.getUint16(2) };
}

describe("adoptUdpSocket", () => {
  test("the socket of an earlier process: what waits in it is there", () => {
    const first = openUdpSocket({ address: LOOPBACK, port: 0 });
    const { port } = first;
    const kept = copyOf(first.fd);
    first.close();
    sendTo(port, "while nobody was there");
    using adopted = adoptUdpSocket({ address: LOOPBACK, port }, kept)!;
    expect([adopted.fd, adopted.port, adopted.family]).toEqual([kept, port, 4]);
    expect(receive(adopted.fd)).toBe("while nobody was there");
    expect(receive(adopted.fd)).toBe("nothing");
  });

  test("another address or port: refused, and closed", () => {
    using first = openUdpSocket({ address: LOOPBACK, port: 0 });
    const other = parseAddress("127.0.0.2")!;
    for (const options of [
      { address: LOOPBACK, port: first.port ^ 1 },
      { address: other, port: first.port },
      { address: parseAddress("::1")!, port: first.port },
    ]) {
      const kept = copyOf(first.fd);
      expect(adoptUdpSocket(options, kept)).toBeUndefined();
      expect(isOpen(kept)).toBe(false);
    }
  });

  test("TCP, blocking, shared with others, no socket at all: refused, and closed", () => {
    const share = (fd: number) => {
      const one = kernelBytes(4);
      one.view.setInt32(0, 1, true);
      libc().setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, one.address, 4);
    };
    for (const { fd, port } of [
      foreignSocket(SOCK_STREAM | SOCK_NONBLOCK),
      foreignSocket(SOCK_DGRAM),
      foreignSocket(SOCK_DGRAM | SOCK_NONBLOCK, share),
      { fd: fs.openSync("/dev/null", "r"), port: 1 },
    ]) {
      expect(adoptUdpSocket({ address: LOOPBACK, port }, fd)).toBeUndefined();
      expect(isOpen(fd)).toBe(false);
    }
    const { fd, port } = foreignSocket(SOCK_DGRAM | SOCK_NONBLOCK);
    adoptUdpSocket({ address: LOOPBACK, port }, fd)!.close();
  });
});
