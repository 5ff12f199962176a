/**
 * Requests and their answers over one netlink socket.
 *
 * Synchronous on purpose: the kernel answers within the system call that asks, in microseconds,
 * so waiting would cost more than it gives. Multicast events never arrive on this socket (see
 * `watch.ts`); whatever is not an answer to the running request is passed over.
 *
 * @module
 */
import { getSystemErrorMessage } from "node:util";
import { HostError } from "../../base/host-error.ts";
import { errnoName } from "../sys/errno.ts";
import type { NetlinkSocket } from "../sys/netlink-socket.ts";
import {
  decodeDatagram,
  decodeVerdict,
  type Message,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
} from "./message.ts";

/** A request has a few attributes of 16 bytes, a rule of nf_tables some 500 bytes. */
const REQUEST_SIZE_MAX_BYTES = 16 * 1024;
/** The kernel fills at most 32 KiB of a dump into one datagram, however large the buffer. */
const RECEIVE_SIZE_BYTES = 64 * 1024;
/** A dump that is torn this often in a row is given up: something changes faster than we read. */
const DUMP_ATTEMPTS_MAX = 5;
const SEQUENCE_MAX = 0xffff_ffff;

/** What a request is for, in the words of an error message. */
export interface Purpose {
  /** An imperative: "replace route". */
  readonly operation: string;
  /** On what: "10.0.0.0/16 on overlay0". */
  readonly object: string;
}

/** Writes one request into `out` under `sequence` and returns its length in bytes. */
export type Encode = (out: DataView, sequence: number) => number;

/** Writes several requests into `out`, all under `sequence`. */
export type EncodeTransaction = (
  out: DataView,
  sequence: number,
) => { readonly length: number; readonly acknowledgements: number };

/** A conversation with the kernel. Every call throws `HostError` with the kernel's own words. */
export interface Exchange {
  /** Sends one request that asks for an acknowledgement, and waits for it. */
  request(purpose: Purpose, encode: Encode): void;
  /** Sends one request that is answered by one message; `decode` sees its body. */
  query<T>(purpose: Purpose, encode: Encode, decode: (body: Uint8Array) => T | undefined): T;
  /** Sends one transaction, and waits for as many acknowledgements as it asks for. */
  transact(purpose: Purpose, encode: EncodeTransaction): void;
  /**
   * All that `decode` makes of the messages of a dump; what it answers undefined to is left out.
   * A dump that was interrupted by a change is repeated.
   */
  dump<T>(purpose: Purpose, encode: Encode, decode: (body: Uint8Array) => T | undefined): T[];
  close(): void;
}

/** Takes over `socket` and closes it with the exchange. */
export function createExchange(socket: NetlinkSocket): Exchange {
  const out = new DataView(new ArrayBuffer(REQUEST_SIZE_MAX_BYTES));
  const inbox = new Uint8Array(RECEIVE_SIZE_BYTES);
  let sequence = 0;

  function nextSequence(): number {
    sequence = sequence === SEQUENCE_MAX ? 1 : sequence + 1;
    return sequence;
  }

  function send(encode: Encode): void {
    socket.send(new Uint8Array(out.buffer, 0, encode(out, nextSequence())));
  }

  /** Hands the answers of the running request to `visit` until it returns true. */
  function receive(purpose: Purpose, visit: (message: Message) => boolean): void {
    for (;;) {
      const length = socket.receive(inbox);
      if (length > inbox.length) throw failure(purpose, "the kernel's answer is too long");
      const datagram = decodeDatagram(inbox.subarray(0, length));
      for (const message of datagram.messages) {
        const ours = message.sequence === sequence && message.type !== NLMSG_NOOP;
        if (ours && visit(message)) return;
      }
      if (datagram.torn) throw failure(purpose, "the kernel's answer makes no sense");
    }
  }

  function dumpOnce<T>(
    purpose: Purpose,
    encode: Encode,
    decode: (body: Uint8Array) => T | undefined,
  ): { readonly items: T[]; readonly interrupted: boolean } {
    const items: T[] = [];
    let interrupted = false;
    send(encode);
    receive(purpose, (message) => {
      interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
      if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) {
        check(purpose, message);
        return true;
      }
      const item = decode(message.body);
      if (item !== undefined) items.push(item);
      return false;
    });
    return { items, interrupted };
  }

  return {
    request(purpose, encode) {
      send(encode);
      receive(purpose, (message) => {
        if (message.type !== NLMSG_ERROR) return false;
        check(purpose, message);
        return true;
      });
    },
    transact(purpose, encode) {
      const { acknowledgements, length } = encode(out, nextSequence());
      let missing = acknowledgements;
      socket.send(new Uint8Array(out.buffer, 0, length));
      receive(purpose, (message) => {
        if (message.type !== NLMSG_ERROR) return false;
        // The first failure says why; what else is said of this transaction is passed over.
        check(purpose, message);
        missing--;
        return missing === 0;
      });
    },
    query(purpose, encode, decode) {
      let answer: ReturnType<typeof decode>;
      send(encode);
      receive(purpose, (message) => {
        if (message.type === NLMSG_ERROR) check(purpose, message);
        else answer = decode(message.body);
        return true;
      });
      if (answer === undefined) throw failure(purpose, "the kernel's answer makes no sense");
      return answer;
    },
    dump(purpose, encode, decode) {
      for (let attempt = 1; attempt <= DUMP_ATTEMPTS_MAX; attempt++) {
        const { items, interrupted } = dumpOnce(purpose, encode, decode);
        if (!interrupted) return items;
      }
      throw failure(purpose, `changed ${DUMP_ATTEMPTS_MAX} times while it was read`);
    },
    close: () => socket.close(),
  };
}

/** Throws unless the kernel says that the request succeeded. */
function check(purpose: Purpose, message: Message): void {
  const verdict = decodeVerdict(message);
  if (verdict === undefined) throw failure(purpose, "the kernel's answer makes no sense");
  if (verdict.errno === 0) return;
  throw new HostError({
    ...purpose,
    errno: errnoName(verdict.errno),
    reason: verdict.text ?? errnoText(verdict.errno),
  });
}

function failure(purpose: Purpose, reason: string): HostError {
  return new HostError({ ...purpose, reason });
}

/** Words for `errno`; the kernel may answer with a number that libc has none for. */
function errnoText(errno: number): string {
  try {
    return getSystemErrorMessage(-errno);
  } catch {
    return "refused";
  }
}
