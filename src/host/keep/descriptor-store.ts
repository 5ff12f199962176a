/**
 * The holder under systemd: the descriptor store of our own service.
 *
 * Source: sd_notify(3) (FDSTORE, FDNAME, FDSTOREREMOVE, FDPOLL), sd_listen_fds(3). Descriptors go
 * to the service manager over the notification socket and come back as 3, 4, … at the next start.
 * The unit needs `FileDescriptorStoreMax=` of at least three; without it the manager closes what it
 * gets. They stay over a restart and a crash, and go when the unit is stopped.
 *
 * @module
 */
import type { Log } from "../../base/log.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { errnoName } from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { kernelBytes, putAddress } from "../sys/memory.ts";
import { setCloseOnExec } from "../sys/shared-memory.ts";
import { type DescriptorHolder, KEPT_NAMES, type KeptDescriptors, type KeptName } from "./keep.ts";

/** SD_LISTEN_FDS_START. */
const LISTEN_FDS_START = 3;
const LISTEN_FDS_MAX = 64;
const NAME_PREFIX = "overlay-";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
/** struct sockaddr_un: family 2, path 108. */
const SOCKADDR_UN_SIZE = 110;
const PATH_SIZE_MAX = 107;
const MSGHDR_SIZE = 56;
/** struct cmsghdr 16 and one descriptor, padded. */
const CONTROL_SIZE = 24;
const CONTROL_LENGTH = 20;

/** What the service manager says about itself in the environment. */
export interface ServiceEnvironment {
  readonly NOTIFY_SOCKET?: string | undefined;
  readonly LISTEN_PID?: string | undefined;
  readonly LISTEN_FDS?: string | undefined;
  readonly LISTEN_FDNAMES?: string | undefined;
}

/** The store of the manager that `env` tells of; undefined when this is no service. */
export function openDescriptorStore(
  env: ServiceEnvironment,
  log: Log,
): DescriptorHolder | undefined {
  const { NOTIFY_SOCKET: path } = env;
  if (path === undefined || !/^[/@]/.test(path)) return undefined;
  if (Buffer.byteLength(path) > PATH_SIZE_MAX) return undefined;
  const tell = (text: string, fd?: number) => {
    const errno = notify(path, text, fd);
    if (errno === 0) return;
    log.warn("a restart will interrupt packets", { reason: `NOTIFY_SOCKET: ${errnoName(errno)}` });
  };
  const drop = () => {
    for (const name of KEPT_NAMES) tell(`FDSTOREREMOVE=1\nFDNAME=${NAME_PREFIX}${name}`);
  };
  return {
    takeAll: () => takeListed(env),
    hold(descriptors: KeptDescriptors) {
      drop();
      // Not to be polled: an error that waits in a socket is no reason to close it.
      for (const [name, fd] of descriptors) {
        tell(`FDSTORE=1\nFDPOLL=0\nFDNAME=${NAME_PREFIX}${name}`, fd);
      }
    },
    drop,
  };
}

/** The descriptors that the manager started this process with. Others of its are left alone. */
function takeListed(env: ServiceEnvironment): Map<KeptName, number> {
  const taken = new Map<KeptName, number>();
  if (env.LISTEN_PID !== String(process.pid)) return taken;
  const count = Math.min(Number(env.LISTEN_FDS) || 0, LISTEN_FDS_MAX);
  const names = (env.LISTEN_FDNAMES ?? "").split(":");
  for (let i = 0; i < count; i++) {
    const name = KEPT_NAMES.find((each) => names[i] === NAME_PREFIX + each);
    if (name === undefined || taken.has(name)) continue;
    const fd = LISTEN_FDS_START + i;
    setCloseOnExec(fd);
    taken.set(name, fd);
  }
  return taken;
}

/** One notification, with a descriptor or none; 0, or the error number. */
function notify(path: string, text: string, fd?: number): number {
  const c = libc();
  const socket = c.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return lastErrno();
  using _ = new Descriptor(socket);
  const address = kernelBytes(SOCKADDR_UN_SIZE);
  address.view.setUint16(0, AF_UNIX, true);
  const bytes = new TextEncoder().encode(path);
  address.bytes.set(bytes, 2);
  // "@": a name in the kernel, which begins with a zero byte and has its exact length.
  if (path.startsWith("@")) address.bytes[2] = 0;
  const body = kernelBytes(text.length);
  body.bytes.set(new TextEncoder().encode(text));
  const vector = kernelBytes(16);
  putAddress(vector.view, 0, body.address);
  putAddress(vector.view, 8, text.length);
  const control = kernelBytes(CONTROL_SIZE);
  const message = kernelBytes(MSGHDR_SIZE);
  putAddress(message.view, 0, address.address);
  message.view.setUint32(8, 2 + bytes.length, true);
  putAddress(message.view, 16, vector.address);
  putAddress(message.view, 24, 1);
  if (fd !== undefined) {
    putAddress(control.view, 0, CONTROL_LENGTH);
    control.view.setUint32(8, SOL_SOCKET, true);
    control.view.setUint32(12, SCM_RIGHTS, true);
    control.view.setUint32(16, fd, true);
    putAddress(message.view, 32, control.address);
    putAddress(message.view, 40, CONTROL_SIZE);
  }
  return c.sendmsg(socket, message.address, MSG_NOSIGNAL) < 0 ? lastErrno() : 0;
}
