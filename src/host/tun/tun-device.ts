/**
 * A TUN device: made or attached to, its offloads agreed with the kernel.
 *
 * Source: include/uapi/linux/if_tun.h, drivers/net/tun.c. The device is persistent: link, address
 * and routes stay when the agent stops or is killed, and the next one attaches to them. While
 * nobody holds it open the link has no carrier and its packets are dropped; while somebody does
 * (host/keep) they wait in its queue, and the next one takes over the open descriptor.
 * Address, MTU, routes and "up" are netlink's business, not this file's.
 *
 * @module
 */
import fs from "node:fs";
import { HostError } from "../../base/host-error.ts";
import { Descriptor } from "../sys/descriptor.ts";
import {
  EACCES,
  EBUSY,
  EINVAL,
  ENODEV,
  ENOENT,
  ENXIO,
  EPERM,
  errnoName,
  systemError,
} from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { cString, kernelBytes } from "../sys/memory.ts";

const TUN_PATH = "/dev/net/tun";
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;

/** struct ifreq: name 16, then a union of 24 bytes (linux/if.h). */
const IFREQ_SIZE = 40;
const IFNAMSIZ = 16;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUNGETIFF = 0x800454d2;
const TUNGETDEVNETNS = 0x54e3;
/** Flags of TUNGETIFF that tell what kind of device it is; others tell of options. */
const KIND_FLAGS = 0x0001 | 0x0002 | 0x1000 | 0x4000;
const F_GETFL = 3;
const F_SETFL = 4;

const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_TSO_ECN = 0x08;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;

/** struct virtio_net_hdr without the merged-buffers field. */
const VIRTIO_NET_HEADER_SIZE = 10;

/** What to ask for, best first; USO is new in Linux 6.2, TSO as old as the header itself. */
const OFFLOAD_STEPS = [
  {
    flags: TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
    tso: true,
    uso: true,
  },
  { flags: TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN, tso: true, uso: false },
  { flags: TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, tso: true, uso: false },
  { flags: TUN_F_CSUM, tso: false, uso: false },
  { flags: 0, tso: false, uso: false },
] as const;

/** An open TUN device and what the kernel granted. */
export interface TunDevice extends Disposable {
  readonly name: string;
  readonly fd: number;
  /** TCP super-packets (TSO); false when the kernel refused. */
  readonly tso: boolean;
  /** UDP super-packets (USO); false before Linux 6.2. */
  readonly uso: boolean;
  /** Number of the error with which the first refused step failed; 0 when none was. */
  readonly refusedErrno: number;
  /** Has the kernel hand over super-packets, or no more; 0, or the error number. */
  setOffloads(wanted: { readonly tso: boolean; readonly uso: boolean }): number;
  /** Whether the device outlives this descriptor. Removing takes effect at `close`. */
  setPersistent(persistent: boolean): void;
  close(): void;
}

/**
 * Makes TUN `name`, persistent, or attaches to one that exists and that nobody holds.
 * Throws `HostError`: ENOENT, EPERM, EBUSY, EINVAL, each with what the operator can do.
 */
export function openTunDevice(name: string): TunDevice {
  if (name === "" || name.length >= IFNAMSIZ || /[\s/\0]/.test(name)) {
    throw new HostError({
      operation: "open TUN",
      object: JSON.stringify(name),
      reason: `a link name has 1 to ${IFNAMSIZ - 1} characters, without blanks and slashes`,
    });
  }
  const path = cString(TUN_PATH);
  const fd = libc().open(path.address, O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) throw pathError(name, lastErrno());
  const descriptor = new Descriptor(fd);
  try {
    return attach(name, descriptor);
  } catch (error) {
    descriptor.close();
    throw error;
  }
}

/**
 * TUN `name` on the open descriptor `fd` of an earlier process, with the packets that wait in it.
 * Undefined, and `fd` closed, when it is another device, gone, or of another network namespace.
 */
export function adoptTunDevice(name: string, fd: number): TunDevice | undefined {
  const descriptor = new Descriptor(fd);
  try {
    if (isTun(fd, name) && setNonBlocking(fd)) return agree(name, descriptor);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
  }
  descriptor.close();
  return undefined;
}

function isTun(fd: number, name: string): boolean {
  const request = kernelBytes(IFREQ_SIZE);
  if (libc().ioctl(fd, TUNGETIFF, request.address) < 0) return false;
  const end = request.bytes.indexOf(0);
  if (new TextDecoder().decode(request.bytes.subarray(0, end)) !== name) return false;
  const kind = request.view.getUint16(IFNAMSIZ, true) & KIND_FLAGS;
  return kind === (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR) && isInOwnNamespace(fd);
}

/** Whether the link is where this thread's sockets are; a kernel that cannot say is believed. */
function isInOwnNamespace(fd: number): boolean {
  const opened = libc().ioctl(fd, TUNGETDEVNETNS, 0);
  if (opened < 0) return true;
  using namespace = new Descriptor(opened);
  return fs.fstatSync(namespace.fd).ino === fs.statSync("/proc/thread-self/ns/net").ino;
}

function setNonBlocking(fd: number): boolean {
  const flags = libc().fcntl(fd, F_GETFL, 0);
  return flags >= 0 && libc().fcntl(fd, F_SETFL, flags | O_NONBLOCK) === 0;
}

function attach(name: string, descriptor: Descriptor): TunDevice {
  const { fd } = descriptor;
  const request = kernelBytes(IFREQ_SIZE);
  request.bytes.set(new TextEncoder().encode(name));
  request.view.setUint16(IFNAMSIZ, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, true);
  if (libc().ioctl(fd, TUNSETIFF, request.address) < 0) throw attachError(name, lastErrno());
  return agree(name, descriptor);
}

/** Has the kernel speak as the packet loop does. */
function agree(name: string, descriptor: Descriptor): TunDevice {
  const { fd } = descriptor;
  const headerSize = kernelBytes(4);
  headerSize.view.setInt32(0, VIRTIO_NET_HEADER_SIZE, true);
  if (libc().ioctl(fd, TUNSETVNETHDRSZ, headerSize.address) < 0)
    throw attachError(name, lastErrno());

  const granted = negotiateOffloads(fd);
  const setPersistent = (persistent: boolean) => {
    if (libc().ioctl(fd, TUNSETPERSIST, persistent ? 1 : 0) < 0) {
      throw systemError({ operation: "keep TUN", object: `"${name}"`, errno: lastErrno() });
    }
  };
  setPersistent(true);
  return {
    name,
    fd,
    ...granted,
    setOffloads: (wanted) => setOffloads(fd, wanted),
    setPersistent,
    close: () => descriptor.close(),
    [Symbol.dispose]: () => descriptor.close(),
  };
}

/** Asks for exactly what is wanted; TCP with ECN marks only where the kernel takes it. */
function setOffloads(fd: number, wanted: { readonly tso: boolean; readonly uso: boolean }): number {
  let errno = 0;
  for (const { flags, tso, uso } of OFFLOAD_STEPS) {
    if (tso !== (wanted.tso || wanted.uso) || uso !== wanted.uso) continue;
    if (libc().ioctl(fd, TUNSETOFFLOAD, flags) === 0) return 0;
    errno = lastErrno();
  }
  return errno;
}

function negotiateOffloads(fd: number): { tso: boolean; uso: boolean; refusedErrno: number } {
  let refusedErrno = 0;
  for (const { flags, tso, uso } of OFFLOAD_STEPS) {
    if (libc().ioctl(fd, TUNSETOFFLOAD, flags) === 0) return { tso, uso, refusedErrno };
    if (refusedErrno === 0) refusedErrno = lastErrno();
  }
  return { tso: false, uso: false, refusedErrno };
}

function pathError(name: string, errno: number): HostError {
  const object = `"${name}"`;
  if (errno === ENOENT || errno === ENODEV || errno === ENXIO) {
    return new HostError({
      operation: "open TUN",
      object,
      errno: errnoName(errno),
      reason: `${TUN_PATH} is missing`,
      next: "load the tun module or pass the device into the container",
    });
  }
  if (errno === EACCES || errno === EPERM) return privilegeError(object, errno);
  return systemError({ operation: "open TUN", object, errno, reason: TUN_PATH });
}

function attachError(name: string, errno: number): HostError {
  const object = `"${name}"`;
  if (errno === EPERM) return privilegeError(object, errno);
  if (errno === EBUSY) {
    return systemError({
      operation: "open TUN",
      object,
      errno,
      reason: "another process holds it",
      next: "stop the other agent, or the program that made this link",
    });
  }
  if (errno === EINVAL) {
    return systemError({
      operation: "open TUN",
      object,
      errno,
      reason: "a link of this name exists and is not a TUN of this agent",
      next: `remove or rename that link (ip link show ${name})`,
    });
  }
  return systemError({ operation: "open TUN", object, errno });
}

function privilegeError(object: string, errno: number): HostError {
  return systemError({
    operation: "open TUN",
    object,
    errno,
    reason: "CAP_NET_ADMIN is missing",
    next: "run the agent as root or give it CAP_NET_ADMIN",
  });
}
