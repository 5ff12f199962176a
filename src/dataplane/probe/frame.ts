/**
 * The datagram of a probe (first nibble 2): a question, and the answer that echoes it.
 *
 *    0 nibble 2, version    1 kind          2 size of the whole datagram
 *    4 sequence number
 *    8 node id of the sender (two words)
 *   16 node id of the target (two words)
 *   24 stamp: the asker's clock, opaque to whoever answers (two words)
 *   32 token of the asker
 *   36 path MTU that the sender has found towards the target, 0 for none
 *   38 size of the question that an answer is about, 0 in a question
 *   40 padding of a question, zeros
 *
 * Network byte order. A question may be padded to try a path; an answer never is, so nobody is
 * sent more than he sent. Hostile input: `decode` checks every field that a reader relies on.
 *
 * @module
 */
import { FRAME_CONTROL } from "../wire/frame.ts";

/** Bytes of every answer, and the least of a question. */
export const PROBE_SIZE = 40;

const PROBE_VERSION = 1;
const FIRST_BYTE = (FRAME_CONTROL << 4) | PROBE_VERSION;
const KIND_AT = 1;
const SIZE_AT = 2;
const SEQUENCE_AT = 4;
const SENDER_AT = 8;
const TARGET_AT = 16;
const STAMP_AT = 24;
const TOKEN_AT = 32;
const TOLD_AT = 36;
const QUESTION_SIZE_AT = 38;

export const PROBE_QUESTION = 1;
export const PROBE_ANSWER = 2;

/** One probe, read or to be written. Filled in anew for each: borrowed until the next `decode`. */
export class ProbeFrame {
  /** PROBE_QUESTION or PROBE_ANSWER. */
  kind = 0;
  /** Bytes of the datagram. */
  size = 0;
  sequence = 0;
  /** Node ids, as numbers below 2^53. */
  sender = 0;
  target = 0;
  /** The asker's clock in milliseconds; whatever its bits say. */
  stamp = 0;
  token = 0;
  /** Path MTU (whole outer packet, bytes) that the sender has found towards the target. */
  told = 0;
  /** Of an answer: bytes of the question that arrived. */
  questionSize = 0;

  /** Reads the datagram of `length` bytes at `at`; false when it is no probe of this version. */
  decode(view: DataView, at: number, length: number): boolean {
    if (length < PROBE_SIZE || view.getUint8(at) !== FIRST_BYTE) return false;
    this.kind = view.getUint8(at + KIND_AT);
    this.size = view.getUint16(at + SIZE_AT);
    // A datagram that was cut, or joined with another, tells nothing about the path.
    if (this.size !== length) return false;
    if (this.kind !== PROBE_QUESTION && (this.kind !== PROBE_ANSWER || length !== PROBE_SIZE)) {
      return false;
    }
    this.sequence = view.getUint32(at + SEQUENCE_AT);
    this.sender = readId(view, at + SENDER_AT);
    this.target = readId(view, at + TARGET_AT);
    this.stamp = view.getFloat64(at + STAMP_AT);
    this.token = view.getUint32(at + TOKEN_AT);
    this.told = view.getUint16(at + TOLD_AT);
    this.questionSize = view.getUint16(at + QUESTION_SIZE_AT);
    return true;
  }

  /** Writes PROBE_SIZE bytes at `at`; the padding behind them is the caller's. */
  encode(view: DataView, at: number): void {
    view.setUint8(at, FIRST_BYTE);
    view.setUint8(at + KIND_AT, this.kind);
    view.setUint16(at + SIZE_AT, this.size);
    view.setUint32(at + SEQUENCE_AT, this.sequence);
    writeId(view, at + SENDER_AT, this.sender);
    writeId(view, at + TARGET_AT, this.target);
    view.setFloat64(at + STAMP_AT, this.stamp);
    view.setUint32(at + TOKEN_AT, this.token);
    view.setUint16(at + TOLD_AT, this.told);
    view.setUint16(at + QUESTION_SIZE_AT, this.questionSize);
  }
}

/**
 * Writes at `to` the answer to the question at `from` that `question` was decoded from, with the
 * path MTU found on the way back. The stamp is copied as bits: it need not be a number here.
 */
export function encodeAnswer(
  view: DataView,
  to: number,
  from: number,
  question: ProbeFrame,
  told: number,
): void {
  view.setUint8(to, FIRST_BYTE);
  view.setUint8(to + KIND_AT, PROBE_ANSWER);
  view.setUint16(to + SIZE_AT, PROBE_SIZE);
  view.setUint32(to + SEQUENCE_AT, question.sequence);
  writeId(view, to + SENDER_AT, question.target);
  writeId(view, to + TARGET_AT, question.sender);
  view.setUint32(to + STAMP_AT, view.getUint32(from + STAMP_AT));
  view.setUint32(to + STAMP_AT + 4, view.getUint32(from + STAMP_AT + 4));
  view.setUint32(to + TOKEN_AT, question.token);
  view.setUint16(to + TOLD_AT, told);
  view.setUint16(to + QUESTION_SIZE_AT, question.size);
}

/** A node id of two words; 0, which is nobody, when it is none. */
function readId(view: DataView, at: number): number {
  const high = view.getUint32(at);
  return high < 0x20_0000 ? high * 2 ** 32 + view.getUint32(at + 4) : 0;
}

function writeId(view: DataView, at: number, id: number): void {
  view.setUint32(at, Math.floor(id / 2 ** 32));
  view.setUint32(at + 4, id >>> 0);
}
