/**
 * A UDP socket of one link: what it sends leaves by that link, whichever route would be the best,
 * and it gets only what comes in by it. For few and small datagrams, one system call each.
 *
 * Source: socket(7), SO_BINDTODEVICE; ip(7), IP_MTU_DISCOVER. The kernel looks among the routes
 * through that link only, so a route that is not the best is tried without anybody else using it.
 * Everything is sent with "don't fragment", and cut to what no route or router says of the path.
 * The link is found by its number: when it is deleted the socket is of no use, also if there is
 * another of its name.
 *
 * @module
 */
import { addressBytes, addressFamily, decodeAddress, type IpAddress } from "../../base/address.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { checkCall } from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { cString, type KernelMemory, kernelBytes, putAddress } from "../sys/memory.ts";
import { AF_INET, AF_INET6, encodeSocketAddress, SOCKADDR_SIZE } from "./socket-address.ts";

const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
/** Level and name of IP_MTU_DISCOVER and IPV6_MTU_DISCOVER. */
const MTU_DISCOVER = { 4: { level: 0, name: 10 }, 6: { level: 41, name: 23 } } as const;
/** "Don't fragment", whatever is believed of the path. */
const IP_PMTUDISC_PROBE = 3;
/** struct msghdr: name 0, name length 8, vector 16, its length 24, control 32 and 40, flags 48. */
const MSGHDR_SIZE = 56;
const MSG_TRUNC = 0x20;
/** IFNAMSIZ. */
const LINK_NAME_SIZE = 16;

export interface LinkSocketOptions {
  /** Name of the link. */
  readonly link: string;
  /** An address of this machine, of whatever link. */
  readonly address: IpAddress;
  readonly port: number;
  /** Largest datagram in bytes. */
  readonly sizeMax: number;
}

/** Where a datagram came from. */
export interface Received {
  readonly length: number;
  readonly address: IpAddress;
  readonly port: number;
}

/** One open socket. */
export class LinkSocket implements Disposable {
  /** What `send` sends, and where `receive` puts a datagram. */
  readonly memory: KernelMemory;
  readonly #descriptor: Descriptor;
  readonly #link: string;
  readonly #name = kernelBytes(SOCKADDR_SIZE);
  readonly #vector = kernelBytes(16);
  readonly #header = kernelBytes(MSGHDR_SIZE);

  /** Throws `HostError`: ENODEV without the link, EADDRNOTAVAIL, EADDRINUSE and others. */
  constructor({ link, address, port, sizeMax }: LinkSocketOptions) {
    const family = addressFamily(address);
    const domain = family === 4 ? AF_INET : AF_INET6;
    const object = `UDP ${address} port ${port} on ${link}`;
    const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.#link = link;
    this.memory = kernelBytes(sizeMax);
    this.#descriptor = new Descriptor(checkCall(libc().socket(domain, type, 0), "open", object));
    try {
      const name = cString(link);
      this.#set({ level: SOL_SOCKET, name: SO_BINDTODEVICE }, name, object);
      const discover = kernelBytes(4);
      discover.view.setInt32(0, IP_PMTUDISC_PROBE, true);
      this.#set(MTU_DISCOVER[family], discover, object);
      const length = encodeSocketAddress(this.#name.view, addressBytes(address), port);
      checkCall(libc().bind(this.#descriptor.fd, this.#name.address, length), "open", object);
    } catch (error) {
      this.#descriptor.close();
      throw error;
    }
    putAddress(this.#vector.view, 0, this.memory.address);
    putAddress(this.#vector.view, 8, sizeMax);
    putAddress(this.#header.view, 0, this.#name.address);
    putAddress(this.#header.view, 16, this.#vector.address);
    putAddress(this.#header.view, 24, 1);
  }

  /** Sends the first `length` bytes of `memory`; 0, or the number of the error. */
  send(length: number, target: IpAddress, port: number): number {
    const size = encodeSocketAddress(this.#name.view, addressBytes(target), port);
    const { fd } = this.#descriptor;
    const sent = libc().sendto(fd, this.memory.address, length, 0, this.#name.address, size);
    return sent < 0 ? lastErrno() : 0;
  }

  /** Takes a datagram that waits, into `memory`; undefined when there is none. */
  receive(): Received | undefined {
    this.#header.view.setUint32(8, SOCKADDR_SIZE, true);
    this.#header.view.setInt32(48, 0, true);
    const length = libc().recvmsg(this.#descriptor.fd, this.#header.address, 0);
    if (length < 0) return undefined;
    const { view, bytes } = this.#name;
    const isV4 = view.getUint16(0, true) === AF_INET;
    const address = decodeAddress(isV4 ? bytes.slice(4, 8) : bytes.slice(8, 24));
    // Cut, it is not what was sent: as if it was empty.
    const isWhole = (this.#header.view.getInt32(48, true) & MSG_TRUNC) === 0;
    return { length: isWhole ? length : 0, address, port: view.getUint16(2) };
  }

  /** Whether the link of this name is still the one that it was. */
  isOfLink(): boolean {
    const [name, length] = [kernelBytes(LINK_NAME_SIZE), kernelBytes(4)];
    length.view.setUint32(0, LINK_NAME_SIZE, true);
    const { fd } = this.#descriptor;
    const [at, size] = [name.address, length.address];
    if (libc().getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, at, size) < 0) return false;
    const end = Math.max(0, length.view.getUint32(0, true) - 1);
    return new TextDecoder().decode(name.bytes.subarray(0, end)) === this.#link;
  }

  [Symbol.dispose](): void {
    this.#descriptor.close();
  }

  #set(
    option: { readonly level: number; readonly name: number },
    { address, bytes }: KernelMemory,
    object: string,
  ): void {
    const { fd } = this.#descriptor;
    const result = libc().setsockopt(fd, option.level, option.name, address, bytes.length);
    checkCall(result, "open", object);
  }
}
