/**
 * Names of error numbers (asm-generic/errno-base.h and errno.h; the same on x86-64 and arm64).
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import { lastErrno } from "./libc.ts";

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ENOSPC = 28;
export const EBADFD = 77;
export const EMSGSIZE = 90;
export const ENOPROTOOPT = 92;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ENETUNREACH = 101;
export const ENOBUFS = 105;

const NAMES: readonly (string | undefined)[] = names(
  "1 EPERM 2 ENOENT 3 ESRCH 4 EINTR 5 EIO 6 ENXIO 7 E2BIG 8 ENOEXEC 9 EBADF 10 ECHILD 11 EAGAIN " +
    "12 ENOMEM 13 EACCES 14 EFAULT 15 ENOTBLK 16 EBUSY 17 EEXIST 18 EXDEV 19 ENODEV 20 ENOTDIR " +
    "21 EISDIR 22 EINVAL 23 ENFILE 24 EMFILE 25 ENOTTY 26 ETXTBSY 27 EFBIG 28 ENOSPC 29 ESPIPE " +
    "30 EROFS 31 EMLINK 32 EPIPE 33 EDOM 34 ERANGE 35 EDEADLK 36 ENAMETOOLONG 37 ENOLCK " +
    "38 ENOSYS 39 ENOTEMPTY 40 ELOOP 61 ENODATA 71 EPROTO 74 EBADMSG 75 EOVERFLOW 77 EBADFD " +
    "88 ENOTSOCK 89 EDESTADDRREQ 90 EMSGSIZE 91 EPROTOTYPE 92 ENOPROTOOPT 93 EPROTONOSUPPORT " +
    "95 EOPNOTSUPP 97 EAFNOSUPPORT 98 EADDRINUSE 99 EADDRNOTAVAIL 100 ENETDOWN 101 ENETUNREACH " +
    "102 ENETRESET 103 ECONNABORTED 104 ECONNRESET 105 ENOBUFS 106 EISCONN 107 ENOTCONN " +
    "110 ETIMEDOUT 111 ECONNREFUSED 112 EHOSTDOWN 113 EHOSTUNREACH 114 EALREADY " +
    "115 EINPROGRESS 116 ESTALE 122 EDQUOT 125 ECANCELED",
);

/** "EPERM" for 1, and so on; "errno 4711" for a number that has no name here. */
export function errnoName(errno: number): string {
  return NAMES[errno] ?? `errno ${errno}`;
}

export interface SystemCallFailure {
  /** What was attempted, as an imperative: "open TUN". */
  readonly operation: string;
  /** On what, quoted where it is a name. */
  readonly object: string;
  readonly errno: number;
  readonly reason?: string;
  readonly next?: string;
}

/** The error of a failed system call, its number turned into its name. */
export function systemError(failure: SystemCallFailure): HostError {
  return new HostError({ ...failure, errno: errnoName(failure.errno) });
}

/** `result` when it is not negative; throws the call's `HostError` otherwise. */
export function checkCall(result: number, operation: string, object: string): number {
  if (result < 0) throw systemError({ operation, object, errno: lastErrno() });
  return result;
}

function names(table: string): (string | undefined)[] {
  const words = table.split(" ");
  const list: (string | undefined)[] = [];
  for (let i = 0; i + 1 < words.length; i += 2) list[Number(words[i])] = words[i + 1];
  return list;
}
