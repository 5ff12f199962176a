/**
 * What the kernel's programs ought to do, in slow and plain words: the twin that random packets are
 * tried against. Written apart from src/dataplane/bpf on purpose.
 *
 * @module
 */

/** What the model knows of the world. Addresses are numbers, four bytes in network order. */
export interface ModelWorld {
  readonly self: number;
  readonly port: number;
  /** The longest prefix wins; "blocked" is one whose packets stay in user mode. */
  readonly routes: readonly {
    readonly address: number;
    readonly length: number;
    readonly to: "local" | "blocked" | { readonly endpoint: number; readonly mtu: number };
  }[];
}

export type Judgement =
  | { readonly kind: "pass" }
  | { readonly kind: "user"; readonly reason: string }
  | { readonly kind: "taken"; readonly packet: Uint8Array };

const ETHERNET = 14;
const PASS: Judgement = { kind: "pass" };
const user = (reason: string): Judgement => ({ kind: "user", reason });

/** Internet checksum of `bytes`, as the ones' complement sum of its 16-bit words (RFC 1071). */
export function onesSum(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** Sum of the pseudo-header of an IPv4 packet. */
export function pseudoSum(packet: Uint8Array): number {
  const length = packet.length - 20;
  const tail = Uint8Array.of(0, packet[9]!, length >> 8, length & 255);
  return onesSum(tail, onesSum(packet.subarray(12, 20)));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function routeOf(world: ModelWorld, address: number) {
  const matching = world.routes.filter(
    (route) => address >>> (32 - route.length) === route.address >>> (32 - route.length),
  );
  return matching.sort((a, b) => b.length - a.length)[0]?.to;
}

/** The program at the egress of the overlay link, for one lone packet of a flow at rest. */
export function judgeTransmit(world: ModelWorld, frame: Uint8Array): Judgement {
  if (viewOf(frame).getUint16(12) !== 0x0800) return PASS;
  const packet = frame.slice(ETHERNET);
  const view = viewOf(packet);
  if (packet.length < 28 || packet[0] !== 0x45) return user("tx_not_taken");
  if ((view.getUint16(6) & 0x3fff) !== 0) return user("tx_not_taken");
  const route = routeOf(world, view.getUint32(16));
  if (typeof route !== "object") return user("tx_no_route");
  const protocol = packet[9]!;
  if (![1, 6, 17].includes(protocol)) return user("tx_not_taken");
  if (packet.length > route.mtu) return user("tx_too_big");
  if (view.getUint16(2) !== packet.length) return user("tx_not_taken");
  if (protocol === 1) return { kind: "taken", packet: outer(world, route.endpoint, packet, frame) };
  if (protocol === 6 && packet.length < 40) return user("tx_not_taken");
  if (protocol === 6 && needsClamp(packet, route.mtu)) return user("tx_syn");
  const at = 20 + (protocol === 6 ? 16 : 6);
  const field = view.getUint16(at);
  if (field === 0) return user("tx_checksum");
  const pseudo = pseudoSum(packet);
  const sum = onesSum(packet.subarray(20));
  if (field === pseudo) view.setUint16(at, (sum ^ 0xffff) === 0 ? 0xffff : sum ^ 0xffff);
  else if (onesSum(packet.subarray(20), pseudo) !== 0xffff) return user("tx_checksum");
  return { kind: "taken", packet: outer(world, route.endpoint, packet, frame) };
}

/** Whether a TCP packet is a SYN that does not begin its options with an MSS that fits. */
function needsClamp(packet: Uint8Array, mtu: number): boolean {
  if ((packet[33]! & 2) === 0) return false;
  const isFitting = packet.length >= 44 && packet[40] === 2 && packet[41] === 4;
  return !isFitting || viewOf(packet).getUint16(42) + 40 > mtu;
}

/** `packet` behind the headers that it travels with; the identification is left 0. */
function outer(world: ModelWorld, endpoint: number, packet: Uint8Array, frame: Uint8Array) {
  const out = new Uint8Array(ETHERNET + 28 + packet.length);
  out.set(frame.subarray(0, ETHERNET));
  const ip = viewOf(out.subarray(ETHERNET));
  ip.setUint16(0, 0x4500);
  ip.setUint16(2, 28 + packet.length);
  ip.setUint16(8, (64 << 8) | 17);
  ip.setUint32(12, world.self);
  ip.setUint32(16, endpoint);
  ip.setUint16(20, world.port);
  ip.setUint16(22, world.port);
  ip.setUint16(24, 8 + packet.length);
  out.set(packet, ETHERNET + 28);
  return out;
}

/** The program at the ingress of the underlay. */
export function judgeReceive(world: ModelWorld, frame: Uint8Array): Judgement {
  const isOurs = frame.subarray(0, 6).every((byte) => byte === 0);
  if (viewOf(frame).getUint16(12) !== 0x0800 || !isOurs || frame.length < ETHERNET + 48)
    return PASS;
  const packet = frame.subarray(ETHERNET);
  const view = viewOf(packet);
  if (packet[0] !== 0x45 || packet[9] !== 17 || view.getUint32(16) !== world.self) return PASS;
  if ((view.getUint16(6) & 0x3fff) !== 0 || view.getUint16(22) !== world.port) return PASS;
  if (view.getUint16(26) !== 0) return user("rx_user_mode");
  const inner = packet.subarray(28);
  const innerView = viewOf(inner);
  const lengthsAgree =
    view.getUint16(2) === packet.length &&
    view.getUint16(24) === packet.length - 20 &&
    innerView.getUint16(2) === inner.length;
  if (!lengthsAgree || inner[0] !== 0x45) return user("rx_not_taken");
  if ((innerView.getUint16(6) & 0x3fff) !== 0) return user("rx_not_taken");
  for (const header of [packet, inner]) {
    if (onesSum(header.subarray(0, 20)) !== 0xffff) return user("rx_not_taken");
  }
  if (routeOf(world, innerView.getUint32(16)) !== "local") return user("rx_target");
  const source = routeOf(world, innerView.getUint32(12));
  if (typeof source !== "object") return user("rx_source");
  if (source.endpoint !== view.getUint32(12)) return user("rx_source");
  if (view.getUint16(20) !== world.port) return user("rx_source");
  if (inner[9] === 6 && inner.length < 40) return user("rx_not_taken");
  if (inner[9] === 6 && needsClamp(inner, source.mtu)) return user("rx_syn");
  const out = new Uint8Array(ETHERNET + inner.length);
  out.set(frame.subarray(0, ETHERNET));
  out.set(inner, ETHERNET);
  return { kind: "taken", packet: out };
}
