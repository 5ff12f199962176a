/**
 * What a kernel makes of a frame that is written to its TUN.
 *
 * @module
 */
import {
  type Bytes,
  checksumAt,
  finishTransport,
  hex,
  onesSum,
  pseudoSum,
  readInner,
  UDP,
  word,
} from "./bytes.ts";
import { cut } from "./transmit-twin.ts";

/** The packets that a kernel delivers for a frame; throws when it would not take it. */
export function deliver(frame: Bytes): Bytes[] {
  const packet = frame.slice(10);
  const inner = readInner(packet);
  if (typeof inner === "string") throw new Error(`written to the TUN: ${inner}: ${hex(frame)}`);
  if (packet[0]! >= 0x80) throw new Error(`written with its mark: ${hex(frame)}`);
  if (inner.version === 4 && onesSum(packet, 0, inner.header) !== 0xffff) {
    throw new Error(`written with a wrong header sum: ${hex(frame)}`);
  }
  const little = (at: number) => frame[at]! | (frame[at + 1]! << 8);
  const type = frame[1]!;
  if (frame[0] === 0 && type === 0) return [packet];
  const isRight =
    frame[0] === 1 &&
    inner.transport > 0 &&
    little(6) === inner.header &&
    little(6) + little(8) === checksumAt(inner) &&
    word(packet, checksumAt(inner)) === pseudoSum(packet, inner);
  if (!isRight) throw new Error(`written with wrong offloads: ${hex(frame)}`);
  if (type === 0) {
    finishTransport(packet, inner);
    return [packet];
  }
  const size = little(4);
  const headers = inner.header + inner.transport;
  const wanted = inner.protocol === UDP ? 5 : inner.version === 4 ? 1 : 4;
  if (type !== wanted || size === 0 || little(2) !== headers || packet.length - headers <= size) {
    throw new Error(`written as a super-packet that is none: ${hex(frame)}`);
  }
  return cut(packet, inner, size);
}
