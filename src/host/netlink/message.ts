/**
 * Netlink messages: the header, the walk through a datagram, and the kernel's verdict.
 *
 *          0       1       2       3       4       5       6       7
 *         +-------+-------+-------+-------+-------+-------+-------+-------+
 *       0 | nlmsg_len                     | nlmsg_type    | nlmsg_flags   |  nlmsghdr
 *       8 | nlmsg_seq                     | nlmsg_pid                     |
 *      16 | body: a fixed part of the message type, then attributes
 *
 * The answer to a request is NLMSG_ERROR with error 0; the end of a dump is NLMSG_DONE. Both
 * carry a negative errno on failure and, with NETLINK_EXT_ACK, a sentence that says why
 * (Documentation/userspace-api/netlink/intro.rst). Integers in host byte order. Pure.
 *
 * @module
 */
import { align, decodeAttributes, decodeText } from "./attribute.ts";

export const NLMSGHDR_SIZE = 16;

export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export const NLM_F_REQUEST = 0x001;
export const NLM_F_ACK = 0x004;
/** On messages of a dump: the table changed while it was read, so the dump may be torn. */
export const NLM_F_DUMP_INTR = 0x010;
/** NLM_F_ROOT | NLM_F_MATCH. */
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const ERRNO_SIZE = 4;

/** One message of a datagram. `body` is a view of the datagram: borrowed as long as that is. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** What a datagram holds. `torn` says that its end made no sense; the messages before it stand. */
export interface Datagram {
  readonly messages: readonly Message[];
  readonly torn: boolean;
}

/** How the kernel answered: `errno` 0 is success. `text` is its own explanation, if it gave one. */
export interface Verdict {
  readonly errno: number;
  readonly text: string | undefined;
}

/** Writes a header whose length `finishRequest` completes; the result is where the body starts. */
export function beginRequest(
  out: DataView,
  header: { readonly type: number; readonly flags: number; readonly sequence: number },
): number {
  out.setUint16(4, header.type, true);
  out.setUint16(6, NLM_F_REQUEST | header.flags, true);
  out.setUint32(8, header.sequence, true);
  out.setUint32(12, 0, true); // nlmsg_pid: 0 addresses the kernel.
  return NLMSGHDR_SIZE;
}

/** Completes the request that ends at `end`; the result is its length in bytes. */
export function finishRequest(out: DataView, end: number): number {
  out.setUint32(0, end, true);
  return end;
}

/** The messages in `bytes`. Never throws; hostile lengths end the walk. */
export function decodeDatagram(bytes: Uint8Array): Datagram {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: Message[] = [];
  let offset = 0;
  while (offset + NLMSGHDR_SIZE <= bytes.length) {
    const length = view.getUint32(offset, true);
    if (length < NLMSGHDR_SIZE || offset + length > bytes.length) return { messages, torn: true };
    messages.push({
      type: view.getUint16(offset + 4, true),
      flags: view.getUint16(offset + 6, true),
      sequence: view.getUint32(offset + 8, true),
      body: bytes.subarray(offset + NLMSGHDR_SIZE, offset + length),
    });
    offset += align(length);
  }
  return { messages, torn: offset < bytes.length };
}

/** The verdict in an NLMSG_ERROR or NLMSG_DONE message, or undefined when it is too short. */
export function decodeVerdict(message: Message): Verdict | undefined {
  const { body, flags, type } = message;
  if (body.length < ERRNO_SIZE) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const errno = 0 - view.getInt32(0, true);
  if (errno < 0) return undefined;
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, text: undefined };

  // After the error code: in NLMSG_ERROR the header of the failed request, and its body too
  // unless the answer is capped; in NLMSG_DONE nothing.
  let start = ERRNO_SIZE;
  if (type === NLMSG_ERROR) {
    if (body.length < ERRNO_SIZE + NLMSGHDR_SIZE) return { errno, text: undefined };
    const capped = (flags & NLM_F_CAPPED) !== 0;
    start += capped ? NLMSGHDR_SIZE : align(view.getUint32(ERRNO_SIZE, true));
  }
  const attributes = decodeAttributes(body.subarray(start));
  return { errno, text: decodeText(attributes?.get(NLMSGERR_ATTR_MSG)) };
}
