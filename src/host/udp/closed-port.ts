/**
 * Asks an address by a datagram to a port that nobody has: the kernel there says so (ICMP "port
 * unreachable"), once the datagram has come with a right checksum; with a wrong one it is dropped
 * in silence (RFC 1122 §4.1.3.4). So nothing has to run at the other end.
 *
 * The datagram leaves by one link. Its checksum is left to the link, as for most packets of a
 * socket, or is finished by the kernel: which of both is decided by whether more is to come when
 * the first bytes are given (MSG_MORE; net/ipv4/ip_output.c, __ip_append_data).
 *
 * @module
 */
import { addressBytes, addressFamily, type IpAddress } from "../../base/address.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { checkCall } from "../sys/errno.ts";
import { libc } from "../sys/libc.ts";
import { cString, kernelBytes } from "../sys/memory.ts";
import { AF_INET, AF_INET6, encodeSocketAddress, SOCKADDR_SIZE } from "./socket-address.ts";

const SOCK_DGRAM_CLOEXEC_NONBLOCK = 0o2004002;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_BINDTODEVICE = 25;
const MSG_MORE = 0x8000;
const ECONNREFUSED = 111;

/** Where traceroute begins: nobody listens there on purpose. */
const CLOSED_PORT = 33_434;
/** Zeros: what they sum up to is the same on every machine. */
const PAYLOAD_SIZE = 64;

/** Who finishes the datagram's checksum. */
export type ChecksumBy = "link" | "kernel";

/** How one datagram goes. */
export interface QuestionWay {
  /** Name of the link that it leaves by. */
  readonly link: string;
  /** An address of this machine. */
  readonly source: IpAddress;
  readonly target: IpAddress;
  readonly by: ChecksumBy;
}

/** One datagram on its way. */
export class ClosedPortQuestion implements Disposable {
  readonly #descriptor: Descriptor;

  /** Sends it. Throws `HostError`: ENODEV, EADDRNOTAVAIL, ENETUNREACH and others. */
  constructor({ by, link, source, target }: QuestionWay) {
    const object = `${target} by ${link}`;
    const check = (result: number) => checkCall(result, "ask", object);
    const domain = addressFamily(source) === 4 ? AF_INET : AF_INET6;
    const fd = check(libc().socket(domain, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0));
    this.#descriptor = new Descriptor(fd);
    try {
      const name = cString(link);
      const { length } = name.bytes;
      check(libc().setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name.address, length));
      const address = kernelBytes(SOCKADDR_SIZE);
      const own = encodeSocketAddress(address.view, addressBytes(source), 0);
      check(libc().bind(fd, address.address, own));
      const other = encodeSocketAddress(address.view, addressBytes(target), CLOSED_PORT);
      check(libc().connect(fd, address.address, other));
      const payload = kernelBytes(PAYLOAD_SIZE);
      const first = by === "kernel" ? PAYLOAD_SIZE / 2 : PAYLOAD_SIZE;
      check(libc().send(fd, payload.address, first, by === "kernel" ? MSG_MORE : 0));
      if (by === "kernel") check(libc().send(fd, payload.address, PAYLOAD_SIZE - first, 0));
    } catch (error) {
      this.#descriptor.close();
      throw error;
    }
  }

  /** Whether the other end has said by now that nobody is there. */
  isAnswered(): boolean {
    const [value, size] = [kernelBytes(4), kernelBytes(4)];
    size.view.setUint32(0, 4, true);
    const { fd } = this.#descriptor;
    const result = libc().getsockopt(fd, SOL_SOCKET, SO_ERROR, value.address, size.address);
    return result === 0 && value.view.getInt32(0, true) === ECONNREFUSED;
  }

  [Symbol.dispose](): void {
    this.#descriptor.close();
  }
}
