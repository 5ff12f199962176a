/**
 * ICMP echo from one of our own addresses to another host: what ping(8) does, for one question.
 *
 * Source: icmp(7), raw(7), RFC 792, RFC 4443 §4.1. A raw socket, since the kernel's ping sockets
 * are switched off for root on most systems (net.ipv4.ping_group_range). Needs CAP_NET_RAW. On
 * IPv4 answers come with their IP header, on IPv6 without.
 *
 * Most answers come within a millisecond: the first look blocks that long, so that the time is
 * right; later ones are by timer and right to a millisecond or two.
 *
 * @module
 */
import { addressBytes, addressFamily, type Family, type IpAddress } from "../../base/address.ts";
import type { Clock } from "../ports.ts";
import { Descriptor, POLLIN, PollSet } from "../sys/descriptor.ts";
import { checkCall, EPERM, systemError } from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { kernelBytes } from "../sys/memory.ts";
import { AF_INET, AF_INET6, encodeSocketAddress, SOCKADDR_SIZE } from "./socket-address.ts";

const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

interface EchoProtocol {
  readonly domain: number;
  readonly protocol: number;
  readonly request: number;
  readonly reply: number;
}

const PROTOCOLS: Readonly<Record<Family, EchoProtocol>> = {
  4: { domain: AF_INET, protocol: 1, request: 8, reply: 0 },
  6: { domain: AF_INET6, protocol: 58, request: 128, reply: 129 },
};

const HEADER_SIZE = 8;
/** As many data bytes as ping(8) sends. */
const DATA_SIZE = 56;
const RECEIVE_SIZE = 2048;
const FIRST_LOOK_MS = 2;
const LATER_LOOK_MS = 1;

export interface EchoSocketOptions {
  readonly from: IpAddress;
  readonly to: IpAddress;
  readonly clock: Clock;
}

/** One question at a time. */
export interface EchoSocket extends Disposable {
  /** Round trip in milliseconds; undefined when there was no answer in time. */
  echo(timeoutMs: number): Promise<number | undefined>;
}

/** Opens a socket that asks `to` from `from`. Throws `HostError`: EPERM, EADDRNOTAVAIL, others. */
export function openEchoSocket(options: EchoSocketOptions): EchoSocket {
  const family = addressFamily(options.to);
  const { domain, protocol } = PROTOCOLS[family];
  const object = `ICMP socket to ${options.to}`;
  const fd = libc().socket(domain, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0) throw openError(object, lastErrno());
  const descriptor = new Descriptor(fd);
  try {
    const name = kernelBytes(SOCKADDR_SIZE);
    let length = encodeSocketAddress(name.view, addressBytes(options.from), 0);
    checkCall(libc().bind(fd, name.address, length), "bind", object);
    length = encodeSocketAddress(name.view, addressBytes(options.to), 0);
    checkCall(libc().connect(fd, name.address, length), "connect", object);
  } catch (error) {
    descriptor.close();
    throw error;
  }
  // The descriptor's number tells apart what runs at the same time; the sequence does the rest.
  const exchange = new Exchange(fd, family, options.clock, object);
  return {
    echo: (timeoutMs) => exchange.run(timeoutMs),
    [Symbol.dispose]: () => descriptor.close(),
  };
}

class Exchange {
  readonly #fd: number;
  readonly #family: Family;
  readonly #clock: Clock;
  readonly #object: string;
  readonly #sent = kernelBytes(HEADER_SIZE + DATA_SIZE);
  readonly #received = kernelBytes(RECEIVE_SIZE);
  #sequence = 0;

  constructor(fd: number, family: Family, clock: Clock, object: string) {
    this.#fd = fd;
    this.#family = family;
    this.#clock = clock;
    this.#object = object;
  }

  async run(timeoutMs: number): Promise<number | undefined> {
    const startMs = this.#send();
    const poll = new PollSet([this.#fd]);
    poll.watch(0, POLLIN);
    poll.wait(FIRST_LOOK_MS);
    for (;;) {
      if (this.#take()) return this.#clock.nowMs() - startMs;
      if (this.#clock.nowMs() - startMs >= timeoutMs) return undefined;
      await new Promise<void>((done) => void this.#clock.after(LATER_LOOK_MS, done));
    }
  }

  #send(): number {
    const { view, address, bytes } = this.#sent;
    this.#sequence = (this.#sequence + 1) & 0xffff;
    bytes.fill(0);
    view.setUint8(0, PROTOCOLS[this.#family].request);
    view.setUint16(4, this.#fd & 0xffff);
    view.setUint16(6, this.#sequence);
    view.setFloat64(HEADER_SIZE, this.#clock.nowMs());
    // On IPv6 the kernel does it: the sum covers addresses that it chooses.
    if (this.#family === 4) view.setUint16(2, checksum(view, bytes.length));
    const startMs = this.#clock.nowMs();
    const sent = libc().send(this.#fd, address, bytes.length, 0);
    checkCall(sent, "send an echo request through", this.#object);
    return startMs;
  }

  /** Reads what waits; whether our answer is among it. */
  #take(): boolean {
    const { view, address } = this.#received;
    for (;;) {
      const length = libc().recv(this.#fd, address, RECEIVE_SIZE, 0);
      if (length < 0) return false;
      const at = this.#family === 4 ? (view.getUint8(0) & 15) * 4 : 0;
      if (length >= at + HEADER_SIZE + 8 && this.#isOurs(at)) return true;
    }
  }

  #isOurs(at: number): boolean {
    const { view } = this.#received;
    const sent = this.#sent.view;
    return (
      view.getUint8(at) === PROTOCOLS[this.#family].reply &&
      view.getUint32(at + 4) === sent.getUint32(4) &&
      view.getFloat64(at + HEADER_SIZE) === sent.getFloat64(HEADER_SIZE)
    );
  }
}

/** RFC 1071 over an even number of bytes. */
function checksum(view: DataView, length: number): number {
  let sum = 0;
  for (let at = 0; at < length; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function openError(object: string, errno: number) {
  const base = { operation: "open", object, errno };
  if (errno !== EPERM) return systemError(base);
  return systemError({
    ...base,
    reason: "CAP_NET_RAW is missing",
    next: "give it to the agent, or ping without --overlay",
  });
}
