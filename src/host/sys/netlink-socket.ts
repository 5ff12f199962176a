/**
 * Netlink sockets: the few libc calls that open, send, receive and close them.
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
import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { getSystemErrorMessage, getSystemErrorName } from "node:util";
import { assert } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";

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
const EINTR = 4;
const EAGAIN = 11;

const SOCKADDR_NL_SIZE = 12;
const TIMEVAL_SIZE = 16;

/** Longer than any answer takes; only a kernel in trouble makes us wait that long. */
const RECEIVE_TIMEOUT_SECONDS = 5;
/** Multicast events queue here while the event loop is busy; past it, the kernel reports ENOBUFS. */
const EVENT_BUFFER_BYTES = 1024 * 1024;
/** One nf_tables transaction is one send. */
const SEND_BUFFER_BYTES = 1024 * 1024;

/** glibc, then musl by the names it has on the machines that we build for. */
const LIBC_NAMES = [
  "libc.so.6",
  "libc.musl-x86_64.so.1",
  "libc.musl-aarch64.so.1",
  "ld-musl-x86_64.so.1",
  "ld-musl-aarch64.so.1",
];

const { i32, ptr: pointer } = FFIType;

const SYMBOLS = {
  socket: { args: [i32, i32, i32], returns: i32 },
  bind: { args: [i32, pointer, i32], returns: i32 },
  setsockopt: { args: [i32, i32, i32, pointer, i32], returns: i32 },
  send: { args: [i32, pointer, i32, i32], returns: i32 },
  recv: { args: [i32, pointer, i32, i32], returns: i32 },
  close: { args: [i32], returns: i32 },
  __errno_location: { args: [], returns: pointer },
} as const;

type Libc = ReturnType<typeof openLibc>;

let loaded: Libc | undefined;

/** The kernel's part that a socket talks to, by its number in include/uapi/linux/netlink.h. */
export type NetlinkProtocol = "route" | "netfilter";

const PROTOCOL_NUMBERS: Readonly<Record<NetlinkProtocol, number>> = { route: 0, netfilter: 12 };

/** A socket for requests. All calls throw `HostError`. */
export interface NetlinkSocket {
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
  const libc = loadLibc();
  const descriptor = openDescriptor(libc, protocol, 0);
  try {
    const on = int32(1);
    setOption(libc, { descriptor, level: SOL_NETLINK, option: NETLINK_EXT_ACK, value: on });
    setOption(libc, { descriptor, level: SOL_NETLINK, option: NETLINK_CAP_ACK, value: on });
    if (protocol === "route") {
      // Without it, older semantics apply: dump requests are not checked and not filtered.
      const option = NETLINK_GET_STRICT_CHK;
      setOption(libc, { descriptor, level: SOL_NETLINK, option, value: on });
    }
    const timeout = new Uint8Array(TIMEVAL_SIZE);
    new DataView(timeout.buffer).setUint32(0, RECEIVE_TIMEOUT_SECONDS, true);
    setOption(libc, { descriptor, level: SOL_SOCKET, option: SO_RCVTIMEO, value: timeout });
    // Needs CAP_NET_ADMIN; without it no transaction would be accepted anyway.
    const size = int32(SEND_BUFFER_BYTES);
    libc.setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, ptr(size), size.length);
  } catch (error) {
    libc.close(descriptor);
    throw error;
  }
  return createSocket(libc, descriptor);
}

/**
 * Opens a non-blocking descriptor on which the events of multicast `groups` arrive from now on.
 *
 * The caller owns the descriptor. When events come faster than they are read, one read fails
 * with ENOBUFS and events are missing.
 */
export function openNetlinkGroups(protocol: NetlinkProtocol, groups: readonly number[]): number {
  const libc = loadLibc();
  const descriptor = openDescriptor(libc, protocol, SOCK_NONBLOCK);
  try {
    const size = int32(EVENT_BUFFER_BYTES);
    const forced = libc.setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, ptr(size), size.length);
    if (forced < 0) {
      setOption(libc, { descriptor, level: SOL_SOCKET, option: SO_RCVBUF, value: size });
    }
    for (const group of groups) {
      const option = NETLINK_ADD_MEMBERSHIP;
      setOption(libc, { descriptor, level: SOL_NETLINK, option, value: int32(group) });
    }
  } catch (error) {
    libc.close(descriptor);
    throw error;
  }
  return descriptor;
}

function createSocket(libc: Libc, descriptor: number): NetlinkSocket {
  let open = true;
  return {
    send(message) {
      assert(open, "netlink socket is closed");
      for (;;) {
        const sent = libc.send(descriptor, ptr(message), message.length, 0);
        if (sent === message.length) return;
        assert(sent < 0, "netlink sends whole messages or none");
        if (errno(libc) !== EINTR) throw hostError(libc, "send to");
      }
    },
    receive(into) {
      assert(open, "netlink socket is closed");
      for (;;) {
        const length = libc.recv(descriptor, ptr(into), into.length, MSG_TRUNC);
        if (length >= 0) return length;
        const code = errno(libc);
        if (code === EAGAIN) {
          const reason = `no answer within ${RECEIVE_TIMEOUT_SECONDS} s`;
          throw new HostError({ operation: "receive from", object: "the kernel", reason });
        }
        if (code !== EINTR) throw hostError(libc, "receive from");
      }
    },
    close() {
      if (open) libc.close(descriptor);
      open = false;
    },
  };
}

function openDescriptor(libc: Libc, protocol: NetlinkProtocol, flags: number): number {
  const number = PROTOCOL_NUMBERS[protocol];
  const descriptor = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, number);
  if (descriptor < 0) throw hostError(libc, "open a netlink socket to");
  const address = new Uint8Array(SOCKADDR_NL_SIZE); // nl_pid 0: the kernel chooses our port.
  new DataView(address.buffer).setUint16(0, AF_NETLINK, true);
  if (libc.bind(descriptor, ptr(address), address.length) < 0) {
    const error = hostError(libc, "bind a netlink socket to");
    libc.close(descriptor);
    throw error;
  }
  return descriptor;
}

interface SocketOption {
  readonly descriptor: number;
  readonly level: number;
  readonly option: number;
  readonly value: Uint8Array;
}

function setOption(libc: Libc, { descriptor, level, option, value }: SocketOption): void {
  if (libc.setsockopt(descriptor, level, option, ptr(value), value.length) < 0) {
    throw hostError(libc, `set option ${option} of a netlink socket to`);
  }
}

function int32(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}

function errno(libc: Libc): number {
  const location = libc.__errno_location();
  assert(location !== null, "libc must have an errno");
  return read.i32(location, 0);
}

function hostError(libc: Libc, operation: string): HostError {
  const code = errno(libc);
  return new HostError({
    operation,
    object: "the kernel",
    errno: getSystemErrorName(-code),
    reason: getSystemErrorMessage(-code),
  });
}

function loadLibc(): Libc {
  loaded ??= openLibc();
  return loaded;
}

function openLibc() {
  for (const name of LIBC_NAMES) {
    try {
      return dlopen(name, SYMBOLS).symbols;
    } catch {
      // Not this libc; the next name may be the one.
    }
  }
  throw new HostError({
    operation: "open",
    object: "the C library",
    reason: `none of ${LIBC_NAMES.join(", ")} is there`,
  });
}
