/**
 * The underlay socket: UDP, bound to one address and port, with the kernel's batching features.
 *
 * Source: udp(7), ip(7), include/uapi/linux/udp.h. What is not obvious:
 * - No SO_REUSEADDR. For UDP it would let a second agent bind the same port and take packets.
 * - IP_PMTUDISC_OMIT: datagrams leave without DF and are cut to the link's own MTU only. The
 *   overlay MTU makes them fit; where a path is narrower, routers may fragment instead of losing
 *   them, and no forged ICMP message can shrink what we send.
 *
 * @module
 */
import { addressBytes, addressFamily, type IpAddress } from "../../base/address.ts";
import { HostError } from "../../base/host-error.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { checkCall, EADDRINUSE, EADDRNOTAVAIL, systemError } from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { kernelBytes } from "../sys/memory.ts";
import { AF_INET, AF_INET6, encodeSocketAddress, SOCKADDR_SIZE } from "./socket-address.ts";

const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_TYPE = 3;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_REUSEPORT = 15;
const SO_RCVBUFFORCE = 33;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
/** Linux 5.14. */
const SO_NETNS_COOKIE = 71;
const F_GETFL = 3;
const IPPROTO_UDP = 17;
const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_PMTUDISC_OMIT = 5;
const IPPROTO_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
const IPV6_V6ONLY = 26;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

/**
 * Kernel buffer of each direction in bytes: 5 ms at 12 Gbit/s, which is how long the loop's
 * thread may be kept off its core. The kernel counts its own overhead in, and doubles the value.
 */
const SOCKET_BUFFER_SIZE = 8 * 1024 * 1024;

/** An open, bound underlay socket and what the kernel can do for it. */
export interface UdpSocket extends Disposable {
  readonly fd: number;
  readonly family: 4 | 6;
  /** The port that it is bound to; the kernel's choice when 0 was asked for. */
  readonly port: number;
  /** 0 when UDP_SEGMENT (cutting on send) works, else the number of the error. Linux 4.18. */
  readonly gsoErrno: number;
  /** 0 when UDP_GRO (joining on receive) is on, else the number of the error. Linux 5.0. */
  readonly groErrno: number;
  close(): void;
}

export interface UdpSocketOptions {
  /** Underlay address of this node. */
  readonly address: IpAddress;
  /** 0 lets the kernel choose. */
  readonly port: number;
}

/**
 * The socket `fd` of an earlier process, with the datagrams that wait in it. Undefined, and `fd`
 * closed, when it is not what `openUdpSocket` would make now.
 */
export function adoptUdpSocket(options: UdpSocketOptions, fd: number): UdpSocket | undefined {
  const descriptor = new Descriptor(fd);
  try {
    if (isWanted(fd, options)) return configure(descriptor, options);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
  }
  descriptor.close();
  return undefined;
}

function isWanted(fd: number, { address, port }: UdpSocketOptions): boolean {
  const isV4 = addressFamily(address) === 4;
  const flags = libc().fcntl(fd, F_GETFL, 0);
  if (flags < 0 || (flags & SOCK_NONBLOCK) === 0) return false;
  if (getOption(fd, SOL_SOCKET, SO_TYPE) !== SOCK_DGRAM) return false;
  if (getOption(fd, SOL_SOCKET, SO_PROTOCOL) !== IPPROTO_UDP) return false;
  if (getOption(fd, SOL_SOCKET, SO_DOMAIN) !== (isV4 ? AF_INET : AF_INET6)) return false;
  for (const shared of [SO_REUSEADDR, SO_REUSEPORT]) {
    if (getOption(fd, SOL_SOCKET, shared) !== 0) return false;
  }
  if (!isV4 && getOption(fd, IPPROTO_IPV6, IPV6_V6ONLY) !== 1) return false;
  return isBoundTo(fd, { address, port }) && isInOwnNamespace(fd);
}

function isBoundTo(fd: number, { address, port }: UdpSocketOptions): boolean {
  const [bound, wanted] = [kernelBytes(SOCKADDR_SIZE), kernelBytes(SOCKADDR_SIZE)];
  const length = kernelBytes(4);
  length.view.setUint32(0, SOCKADDR_SIZE, true);
  if (libc().getsockname(fd, bound.address, length.address) < 0) return false;
  const size = encodeSocketAddress(wanted.view, addressBytes(address), port);
  return (
    length.view.getUint32(0, true) === size &&
    Buffer.compare(bound.bytes.subarray(0, size), wanted.bytes.subarray(0, size)) === 0
  );
}

/** Whether it is where a new socket would be; a kernel that cannot say is believed. */
function isInOwnNamespace(fd: number): boolean {
  const made = libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (made < 0) return false;
  using own = new Descriptor(made);
  const [ours, its] = [own.fd, fd].map((one) => {
    const memory = kernelBytes(8);
    const length = kernelBytes(4);
    length.view.setUint32(0, 8, true);
    const result = libc().getsockopt(
      one,
      SOL_SOCKET,
      SO_NETNS_COOKIE,
      memory.address,
      length.address,
    );
    return result < 0 ? 0n : memory.view.getBigUint64(0, true);
  });
  return ours === its;
}

/** An integer option; -1 when the kernel does not say. */
function getOption(fd: number, level: number, name: number): number {
  const [memory, length] = [kernelBytes(4), kernelBytes(4)];
  length.view.setUint32(0, 4, true);
  const result = libc().getsockopt(fd, level, name, memory.address, length.address);
  return result < 0 ? -1 : memory.view.getInt32(0, true);
}

/** Opens the underlay socket. Throws `HostError`: EADDRINUSE, EADDRNOTAVAIL and others. */
export function openUdpSocket(options: UdpSocketOptions): UdpSocket {
  const family = addressFamily(options.address);
  const domain = family === 4 ? AF_INET : AF_INET6;
  const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const made = checkCall(libc().socket(domain, type, 0), "open UDP", formatEndpoint(options));
  const descriptor = new Descriptor(made);
  try {
    if (family === 6) setOption(made, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    bindSocket(made, options);
    return configure(descriptor, options);
  } catch (error) {
    descriptor.close();
    throw error;
  }
}

/** Sets all that a bound socket needs and says what the kernel can do for it. */
function configure(descriptor: Descriptor, options: UdpSocketOptions): UdpSocket {
  const { fd } = descriptor;
  const family = addressFamily(options.address);
  growBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
  growBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
  if (family === 4) setOption(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
  else setOption(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_OMIT);
  return {
    fd,
    family,
    port: boundPort(fd, formatEndpoint(options)),
    // Setting size 0 changes nothing and tells whether the kernel knows the option.
    gsoErrno: setOption(fd, SOL_UDP, UDP_SEGMENT, 0),
    groErrno: setOption(fd, SOL_UDP, UDP_GRO, 1),
    close: () => descriptor.close(),
    [Symbol.dispose]: () => descriptor.close(),
  };
}

function bindSocket(fd: number, options: UdpSocketOptions): void {
  const name = kernelBytes(SOCKADDR_SIZE);
  const length = encodeSocketAddress(name.view, addressBytes(options.address), options.port);
  if (libc().bind(fd, name.address, length) < 0) throw bindError(options, lastErrno());
}

function bindError(options: UdpSocketOptions, errno: number): HostError {
  const base = { operation: "open UDP", object: formatEndpoint(options), errno };
  if (errno === EADDRINUSE) {
    return systemError({
      ...base,
      reason: `port ${options.port} is taken`,
      next: "stop the other agent, or the program that uses this port",
    });
  }
  if (errno === EADDRNOTAVAIL) {
    return systemError({
      ...base,
      reason: "no link of this host has the address",
      next: "check --iface and --public-ip",
    });
  }
  return systemError(base);
}

/** Past the host's limit with CAP_NET_ADMIN, up to it without; never fails. */
function growBuffer(fd: number, force: number, polite: number): void {
  if (setOption(fd, SOL_SOCKET, force, SOCKET_BUFFER_SIZE) !== 0) {
    setOption(fd, SOL_SOCKET, polite, SOCKET_BUFFER_SIZE);
  }
}

/** Switches joining on receive (UDP_GRO) of an open socket; 0, or the error number. */
export function setJoining(fd: number, isOn: boolean): number {
  return setOption(fd, SOL_UDP, UDP_GRO, isOn ? 1 : 0);
}

/** Sets an integer option; 0, or the error number. */
function setOption(fd: number, level: number, name: number, value: number): number {
  const memory = kernelBytes(4);
  memory.view.setInt32(0, value, true);
  return libc().setsockopt(fd, level, name, memory.address, 4) < 0 ? lastErrno() : 0;
}

function boundPort(fd: number, object: string): number {
  const name = kernelBytes(SOCKADDR_SIZE);
  const length = kernelBytes(4);
  length.view.setUint32(0, SOCKADDR_SIZE, true);
  checkCall(libc().getsockname(fd, name.address, length.address), "look at UDP", object);
  return name.view.getUint16(2);
}

function formatEndpoint(options: UdpSocketOptions): string {
  const host = addressFamily(options.address) === 6 ? `[${options.address}]` : options.address;
  return `${host}:${options.port}`;
}
