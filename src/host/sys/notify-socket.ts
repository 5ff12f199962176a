/**
 * One datagram to the service manager, with a descriptor or none.
 *
 * Source: sd_notify(3): AF_UNIX datagrams to the socket that `$NOTIFY_SOCKET` names; a name that
 * begins with "@" is one in the kernel and no path. Never waits.
 *
 * @module
 */
import { Descriptor } from "./descriptor.ts";
import { lastErrno, libc } from "./libc.ts";
import { kernelBytes, putAddress } from "./memory.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
/** struct sockaddr_un: family 2, path 108. */
const SOCKADDR_UN_SIZE = 110;
const PATH_SIZE_MAX = 107;
const MSGHDR_SIZE = 56;
/** struct cmsghdr 16 and one descriptor, padded. */
const CONTROL_SIZE = 24;
const CONTROL_LENGTH = 20;

/** Whether `path` names a socket of the kind that is spoken here: no vsock. */
export function isNotifySocket(path: string): boolean {
  return /^[/@]/.test(path) && Buffer.byteLength(path) <= PATH_SIZE_MAX;
}

/** Sends `text` to the socket at `path`, with `fd` when there is one; 0, or the error number. */
export function notifyManager(path: string, text: string, fd?: number): number {
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
  const words = new TextEncoder().encode(text);
  const body = kernelBytes(words.length);
  body.bytes.set(words);
  const vector = kernelBytes(16);
  putAddress(vector.view, 0, body.address);
  putAddress(vector.view, 8, words.length);
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
  return c.sendmsg(socket, message.address, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? lastErrno() : 0;
}
