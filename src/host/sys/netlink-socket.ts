/**
 * Netlink sockets: the few system calls that open, send, receive and close them.
 *
 * Two uses. `openNetlinkSocket` gives a blocking socket for short exchanges: the kernel has
 * answered before `send` returns, so `receive` does not wait, and a time limit on the socket
 * guards against the case that it would. `openNetlinkGroups` gives a bare non-blocking
 * descriptor that carries multicast events, for an event loop to read.
 *
 * Not a codec: bytes in, bytes out. Layouts: include/uapi/linux/netlink.h.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";
import { Descriptor } from "./descriptor.ts";
import { checkCall, EAGAIN, EINTR, systemError } from "./errno.ts";
import { lastErrno, libc } from "./libc.ts";
import { addressOf, kernelBytes } from "./memory.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;

const SOCKADDR_NL_SIZE = 12;
/** struct timeval: seconds 8, microseconds 8. */
const TIMEVAL_SIZE = 16;

/** Longer than any answer takes; only a kernel in trouble makes us wait that long. */
const RECEIVE_TIMEOUT_SECONDS = 5;
/** Multicast events queue here while the event loop is busy; past it the kernel says ENOBUFS. */
const EVENT_BUFFER_BYTES = 1024 * 1024;
/** One nf_tables transaction is one send. */
const SEND_BUFFER_BYTES = 1024 * 1024;

const THE_KERNEL = "the kernel (netlink)";

/** The part of the kernel that a socket talks to. */
export type NetlinkProtocol = "route" | "netfilter" | "xfrm";

/** NETLINK_ROUTE, NETLINK_NETFILTER and NETLINK_XFRM. */
const PROTOCOL_NUMBERS: Readonly<Record<NetlinkProtocol, number>> = {
  route: 0,
  netfilter: 12,
  xfrm: 6,
};

/** A socket for requests. All calls throw `HostError`. */
export interface NetlinkSocket {
  /** Sends one datagram, which the kernel has worked through when the call returns. */
  send(message: Uint8Array): void;
  /**
   * Writes the next datagram to the start of `into`.
   *
   * @returns its length in bytes; more than `into.length` means that the rest is lost.
   */
  receive(into: Uint8Array): number;
  close(): void;
}

/** Opens a socket for exchanges with acknowledgements that say in words what is wrong. */
export function openNetlinkSocket(protocol: NetlinkProtocol): NetlinkSocket {
  const socket = openDescriptor(protocol, 0);
  try {
    setNetlinkOption(socket, NETLINK_EXT_ACK, 1);
    setNetlinkOption(socket, NETLINK_CAP_ACK, 1);
    // Without it, dump requests are neither checked nor filtered (a habit kept for old programs).
    if (protocol === "route") setNetlinkOption(socket, NETLINK_GET_STRICT_CHK, 1);
    const timeout = kernelBytes(TIMEVAL_SIZE);
    timeout.view.setUint32(0, RECEIVE_TIMEOUT_SECONDS, true);
    checkCall(
      libc().setsockopt(socket.fd, SOL_SOCKET, SO_RCVTIMEO, timeout.address, TIMEVAL_SIZE),
      "limit the waiting of",
      "a netlink socket",
    );
    // Needs CAP_NET_ADMIN; without it the kernel would refuse the transaction itself, too.
    setSocketOption(socket, SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
  } catch (error) {
    socket.close();
    throw error;
  }
  return createSocket(socket);
}

/**
 * Opens a non-blocking descriptor on which the events of multicast `groups` arrive from now on.
 *
 * The caller owns the descriptor. When events come faster than they are read, one read fails
 * with ENOBUFS and events are missing.
 */
export function openNetlinkGroups(protocol: NetlinkProtocol, groups: readonly number[]): number {
  const socket = openDescriptor(protocol, SOCK_NONBLOCK);
  try {
    if (!setSocketOption(socket, SO_RCVBUFFORCE, EVENT_BUFFER_BYTES)) {
      setSocketOption(socket, SO_RCVBUF, EVENT_BUFFER_BYTES);
    }
    for (const group of groups) setNetlinkOption(socket, NETLINK_ADD_MEMBERSHIP, group);
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket.fd;
}

function createSocket(socket: Descriptor): NetlinkSocket {
  const c = libc();
  return {
    send(message) {
      for (;;) {
        const sent = c.send(socket.fd, addressOf(message), message.length, 0);
        if (sent === message.length) return;
        assert(sent < 0, "netlink sends whole messages or none");
        const errno = lastErrno();
        if (errno !== EINTR) throw systemError({ operation: "ask", object: THE_KERNEL, errno });
      }
    },
    receive(into) {
      for (;;) {
        const length = c.recv(socket.fd, addressOf(into), into.length, MSG_TRUNC);
        if (length >= 0) return length;
        const errno = lastErrno();
        if (errno === EINTR) continue;
        const subject = { operation: "hear from", object: THE_KERNEL };
        if (errno !== EAGAIN) throw systemError({ ...subject, errno });
        const reason = `no answer within ${RECEIVE_TIMEOUT_SECONDS} s`;
        throw new HostError({ ...subject, reason });
      }
    },
    close: () => socket.close(),
  };
}

function openDescriptor(protocol: NetlinkProtocol, flags: number): Descriptor {
  const type = SOCK_RAW | SOCK_CLOEXEC | flags;
  const fd = libc().socket(AF_NETLINK, type, PROTOCOL_NUMBERS[protocol]);
  const socket = new Descriptor(checkCall(fd, "open", `a netlink socket for "${protocol}"`));
  const address = kernelBytes(SOCKADDR_NL_SIZE); // nl_pid 0: the kernel chooses our port.
  address.view.setUint16(0, AF_NETLINK, true);
  const bound = libc().bind(socket.fd, address.address, SOCKADDR_NL_SIZE);
  if (bound < 0) {
    const failure = systemError({
      operation: "bind",
      object: `a netlink socket for "${protocol}"`,
      errno: lastErrno(),
    });
    socket.close();
    throw failure;
  }
  return socket;
}

function setNetlinkOption(socket: Descriptor, option: number, value: number): void {
  const memory = kernelBytes(4);
  memory.view.setInt32(0, value, true);
  const result = libc().setsockopt(socket.fd, SOL_NETLINK, option, memory.address, 4);
  checkCall(result, "set", `option ${option} of a netlink socket to ${value}`);
}

/** Buffer sizes are wishes; whether the kernel granted this one is all that can be said. */
function setSocketOption(socket: Descriptor, option: number, value: number): boolean {
  const memory = kernelBytes(4);
  memory.view.setInt32(0, value, true);
  return libc().setsockopt(socket.fd, SOL_SOCKET, option, memory.address, 4) === 0;
}
