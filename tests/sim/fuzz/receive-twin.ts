/**
 * Who may send, in slow and plain words: what must become of a datagram, written apart from
 * src/dataplane/forward on purpose.
 *
 * A packet passes when the endpoint (or the key) that it came from is that of the peer that holds
 * its inner source, and its inner target is ours; and when every length agrees with every other.
 *
 * @module
 */
import {
  type Bytes,
  finishHeader,
  finishTransport,
  type Inner,
  lowerMss,
  onesSum,
  readInner,
} from "./bytes.ts";
import { type FuzzEndpoint, LOCAL_OWNER, mtuTo, NOBODY, ownerOf, PEERS } from "./world.ts";

/** Where a datagram came from: an endpoint, or the peer whose key sealed it. */
export type Origin = FuzzEndpoint | { readonly slot: number };

/**
 * The packet that the kernel must get, or why there is none. What a probe says is not the twin's
 * business, only whether its sender may have an answer.
 */
export type Verdict =
  | { readonly kind: "pass"; readonly packet: Bytes; readonly slot: number }
  | { readonly kind: "drop"; readonly reason: string }
  | { readonly kind: "probe"; readonly mayAnswer: boolean };

const drop = (reason: string): Verdict => ({ kind: "drop", reason });

/** Judges one datagram that is not sealed any more. */
export function judgeDatagram(datagram: Uint8Array, origin: Origin): Verdict {
  if (datagram.length === 0) return drop("rx_short");
  const kind = datagram[0]! >>> 4;
  if (kind === 2) return { kind: "probe", mayAnswer: isAskedByPeer(origin) };
  if (![4, 6, 12, 14].includes(kind)) return drop("rx_unknown_kind");
  const inner = readInner(datagram);
  if (typeof inner === "string") return drop(`rx_${inner}`);
  const isPartial = kind >= 12;
  if (isPartial && inner.transport === 0) return drop("rx_bad_partial");
  const packet = Uint8Array.from(datagram);
  packet[0] = packet[0]! & 0x7f;
  if (inner.version === 4 && onesSum(packet, 0, inner.header) !== 0xffff) {
    return drop("rx_bad_checksum");
  }
  const size = inner.version === 4 ? 4 : 16;
  const sourceAt = inner.version === 4 ? 12 : 8;
  const slot = ownerOf(packet, sourceAt, size);
  const reason = refusal(packet, { slot, size, targetAt: sourceAt + size }, origin);
  if (reason !== "") return drop(reason);
  lowerMss(packet, inner, mtuTo(slot) - (inner.version === 4 ? 40 : 60), !isPartial);
  if (isPartial) finish(packet, inner);
  return { kind: "pass", packet, slot };
}

function refusal(
  packet: Uint8Array,
  { slot, size, targetAt }: { slot: number; size: number; targetAt: number },
  origin: Origin,
): string {
  if (slot === NOBODY) return "rx_unknown_source";
  if (slot === LOCAL_OWNER) return "rx_own_source";
  if (!isFrom(slot, origin)) return "rx_foreign_source";
  if (!("slot" in origin) && PEERS[slot]!.refusesPlain) return "rx_plain_refused";
  return ownerOf(packet, targetAt, size) === LOCAL_OWNER ? "" : "rx_foreign_target";
}

/** Whether the origin is a peer's at all, and one whose probes count. */
function isAskedByPeer(origin: Origin): boolean {
  if ("slot" in origin) return true;
  return PEERS.some(({ refusesPlain }, slot) => isFrom(slot, origin) && !refusesPlain);
}

function isFrom(slot: number, origin: Origin): boolean {
  if ("slot" in origin) return origin.slot === slot;
  const { words, port } = PEERS[slot]!.endpoint;
  return port === origin.port && words.every((part, at) => part === origin.words[at]);
}

function finish(packet: Bytes, inner: Inner): void {
  if (inner.version === 4) finishHeader(packet, inner.header);
  finishTransport(packet, inner);
}
