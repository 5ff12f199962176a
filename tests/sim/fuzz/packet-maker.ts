/**
 * Packets, datagrams and TUN frames made by chance: first right ones, of everything that the
 * formats can say, then damaged where it hurts. Everything follows from the generator's seed.
 *
 * @module
 */
import type { SimRandom } from "../cluster/sim-random.ts";
import {
  type Bytes,
  checksumAt,
  finishHeader,
  finishTransport,
  onesSum,
  pseudoSum,
  putWord,
  readInner,
  TCP,
  UDP,
  word,
} from "./bytes.ts";
import { addressIn, type FuzzPrefix, LOCAL, PEERS, prefixOf, SELF_ID } from "./world.ts";

const POOL_SIZE = 128 * 1024;
const PROBE_SIZE = 40;
const VIRTIO = 10;
/** Flows of one peer that are on their way at a time. */
const FLOW_COUNT = 4;
/** Numbers that lengths and offsets are most often wrong by, or at. */
const EDGES = [0, 1, 2, 7, 8, 19, 20, 21, 39, 40, 59, 60, 120, 128, 0x7fff, 0x8000, 0xfff8, 0xffff];
const PROTOCOLS = [TCP, TCP, TCP, UDP, UDP, UDP, 1, 58, 47, 132, 51, 50, 59, 0, 44, 60];

interface Prefixes {
  readonly v4: readonly FuzzPrefix[];
  readonly v6: readonly FuzzPrefix[];
}

function byFamily(texts: readonly string[]): Prefixes {
  const all = texts.map(prefixOf);
  return {
    v4: all.filter(({ bytes }) => bytes.length === 4),
    v6: all.filter(({ bytes }) => bytes.length === 16),
  };
}

const OURS = byFamily(LOCAL);
const THEIRS = PEERS.map(({ prefixes }) => byFamily(prefixes));
const FOREIGN = byFamily(["10.0.9.0/24", "11.0.0.0/8", "0.0.0.0/0", "fd00:0:0:9::/64", "::/0"]);

/** Segments of one flow, one after the other: what the loop joins. */
interface Flow {
  readonly first: Bytes;
  sequence: number;
  id: number;
}

/** A maker of hostile input. */
export class PacketMaker {
  readonly #random: SimRandom;
  readonly #pool: Bytes;
  /** By slot of the peer that they come from. */
  readonly #flows = PEERS.map((): Flow[] => []);
  #recent: Flow | undefined;

  constructor(random: SimRandom) {
    this.#random = random;
    this.#pool = new Uint8Array(POOL_SIZE);
    const words = new Uint32Array(this.#pool.buffer);
    for (let at = 0; at < words.length; at++) words[at] = random.word();
  }

  /** `count` random bytes, borrowed. */
  noise(count: number): Bytes {
    const at = this.#random.below(POOL_SIZE - count);
    return this.#pool.subarray(at, at + count);
  }

  /** A packet of the peer with `slot` for this node, or nearly so. */
  incoming(slot: number): Bytes {
    if (this.#random.chance(0.35)) return this.#nextOfFlow(slot);
    return this.#packet(this.#sourceOf(slot), this.#mostly(OURS), this.#payloadSize(1460));
  }

  /** A packet of ours for the peer with `slot`, or nearly so. */
  outgoing(slot: number, sizeMax: number): Bytes {
    return this.#packet(this.#mostly(OURS), this.#sourceOf(slot), this.#payloadSize(sizeMax));
  }

  /** Turns a right packet into the datagram whose checksum the receiver finishes, where it may. */
  markPartial(packet: Bytes): Bytes {
    const inner = readInner(packet);
    if (typeof inner === "string" || (inner.transport === 0 && !this.#random.chance(0.02))) {
      return packet;
    }
    if (inner.transport > 0) putWord(packet, checksumAt(inner), pseudoSum(packet, inner));
    packet[0] = packet[0]! | 0x80;
    return packet;
  }

  /** A question or an answer of the peer with `slot`, or nearly so. */
  probe(slot: number): Bytes {
    const random = this.#random;
    const isAnswer = random.chance(0.3);
    const size = isAnswer || random.chance(0.7) ? PROBE_SIZE : PROBE_SIZE + random.below(1400);
    const probe = this.noise(size).slice();
    const view = new DataView(probe.buffer);
    probe.set([0x21, isAnswer ? 2 : 1, size >>> 8, size & 255]);
    view.setBigUint64(8, BigInt(PEERS[slot]!.id));
    view.setBigUint64(16, BigInt(SELF_ID));
    view.setFloat64(24, random.below(2000));
    return random.chance(0.4) ? this.damage(probe) : probe;
  }

  /** A frame of the kernel's around a right packet, then perhaps around one that is not. */
  frame(packet: Bytes): Bytes {
    const frame = new Uint8Array(VIRTIO + packet.length);
    frame.set(packet, VIRTIO);
    const inner = readInner(packet);
    if (typeof inner === "string" || inner.transport === 0 || this.#random.chance(0.2)) {
      return frame;
    }
    const headers = inner.header + inner.transport;
    frame[0] = 1;
    this.#little(frame, 2, headers);
    this.#little(frame, 6, inner.header);
    this.#little(frame, 8, checksumAt(inner) - inner.header);
    putWord(frame, VIRTIO + checksumAt(inner), pseudoSum(packet, inner));
    const isWide = packet.length > 1472;
    if (!this.#random.chance(isWide ? 0.9 : 0.3)) return frame;
    frame[1] = inner.protocol === UDP ? 5 : inner.version === 4 ? 1 : 4;
    if (this.#random.chance(0.05)) frame[1] = frame[1]! | 0x80;
    this.#little(frame, 4, this.#segmentSize(packet.length, headers));
    return frame;
  }

  /** Payload of each segment: what a stack takes, anything, or next to nothing. */
  #segmentSize(length: number, headers: number): number {
    if (this.#random.chance(0.7)) return 1440 - headers;
    if (this.#random.chance(0.1)) return this.#random.below(30);
    return this.#between(Math.max(1, Math.ceil(length / 400)), 1600);
  }

  /** Damage to the virtio-net header of `frame`. */
  damageOffload(frame: Bytes): void {
    const random = this.#random;
    const at = random.pick([0, 1, 1, 2, 4, 4, 6, 8]);
    if (at < 2)
      frame[at] = random.chance(0.5) ? random.pick([0, 1, 4, 5, 0x81, 3]) : random.below(256);
    else this.#little(frame, at, random.chance(0.6) ? random.pick(EDGES) : random.below(65_536));
  }

  /** A copy of `bytes` with one to three things wrong, its IPv4 header sum perhaps right again. */
  damage(bytes: Bytes): Bytes {
    let out = bytes.slice();
    for (let count = 1 + this.#random.below(3); count > 0; count--) out = this.#damageOnce(out);
    if (out.length >= 20 && (out[0]! >>> 4) % 8 === 4 && this.#random.chance(0.7)) {
      this.#repair(out);
    }
    return out;
  }

  /** The header's sum over wrong fields: so that the next check sees them. */
  #repair(packet: Bytes): void {
    const header = (packet[0]! & 15) * 4;
    if (header < 20 || header > packet.length) return;
    if (this.#random.chance(0.5)) putWord(packet, 2, packet.length);
    const marked = packet[0]!;
    packet[0] = marked & 0x7f;
    finishHeader(packet, header);
    packet[0] = marked;
  }

  #damageOnce(bytes: Bytes): Bytes {
    const random = this.#random;
    if (bytes.length === 0) return bytes;
    switch (random.below(9)) {
      case 0:
        return bytes.slice(0, random.below(bytes.length + 1));
      case 1: {
        const longer = new Uint8Array(bytes.length + 1 + random.below(40));
        longer.set(bytes);
        return longer;
      }
      case 2:
        bytes[0] = (bytes[0]! & 15) | (random.below(16) << 4);
        return bytes;
      case 3:
        bytes[0] = (bytes[0]! & 0xf0) | random.below(16);
        return bytes;
      case 4:
      case 5: {
        // Lengths, fragment words, protocols, sums, options: mostly even places of the headers.
        const at = 2 * random.below(40);
        if (at + 2 > bytes.length) return bytes;
        const near = word(bytes, at) + random.pick([-8, -4, -1, 1, 4, 8]);
        putWord(bytes, at, random.chance(0.5) ? random.pick(EDGES) : near & 0xffff);
        return bytes;
      }
      case 6: {
        const at = random.below(bytes.length);
        bytes[at] = bytes[at]! ^ (1 << random.below(8));
        return bytes;
      }
      default:
        bytes[random.below(Math.min(bytes.length, 64))] = random.below(256);
        return bytes;
    }
  }

  #little(bytes: Bytes, at: number, value: number): void {
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
  }

  #between(low: number, high: number): number {
    return low + this.#random.below(Math.max(1, high - low));
  }

  #mostly(prefixes: Prefixes): Prefixes {
    if (!this.#random.chance(0.06)) return prefixes;
    return this.#random.pick([OURS, FOREIGN, this.#random.pick(THEIRS)]);
  }

  #sourceOf(slot: number): Prefixes {
    return this.#mostly(THEIRS[slot]!);
  }

  #payloadSize(max: number): number {
    const random = this.#random;
    if (max > 1500) return random.below(max);
    if (random.chance(0.6)) return random.below(64);
    return random.below(max);
  }

  /** The next segment of a flow that is on its way, or the first of a new one. */
  #nextOfFlow(slot: number): Bytes {
    const random = this.#random;
    const flows = this.#flows[slot]!;
    if (flows.length < FLOW_COUNT || random.chance(0.05)) {
      const size = random.chance(0.5) ? 100 : 20 + random.below(1000);
      const first = this.#packet(THEIRS[slot]!, OURS, size, random.pick([TCP, TCP, UDP]));
      const flow = { first, sequence: 0, id: 1 };
      if (flows.length < FLOW_COUNT) flows.push(flow);
      else flows[random.below(FLOW_COUNT)] = flow;
      return first.slice();
    }
    const isOn = this.#recent !== undefined && flows.includes(this.#recent);
    const flow = isOn && random.chance(0.8) ? this.#recent! : random.pick(flows);
    this.#recent = flow;
    const inner = readInner(flow.first);
    if (typeof inner === "string" || inner.transport === 0) return flow.first.slice();
    const headers = inner.header + inner.transport;
    const isShort = random.chance(0.1);
    const end = isShort
      ? headers + random.below(flow.first.length - headers + 1)
      : flow.first.length;
    const packet = flow.first.slice(0, end);
    if (inner.version === 4) {
      putWord(packet, 4, (word(packet, 4) + flow.id++) & 0xffff);
      putWord(packet, 2, packet.length);
    } else {
      putWord(packet, 4, packet.length - 40);
    }
    if (inner.protocol === TCP) {
      flow.sequence += flow.first.length - headers;
      const view = new DataView(packet.buffer);
      view.setUint32(inner.header + 4, view.getUint32(inner.header + 4) + flow.sequence);
      if (random.chance(0.1)) packet[inner.header + 13] = random.pick([0x18, 0x11, 0x10, 0x02]);
    } else {
      putWord(packet, inner.header + 4, packet.length - inner.header);
    }
    return this.#changed(packet, headers);
  }

  /** A right packet again, which is not quite what would continue its flow now and then. */
  #changed(packet: Bytes, headers: number): Bytes {
    const random = this.#random;
    if (random.chance(0.2)) {
      const at = random.below(headers);
      packet[at] = packet[at]! ^ (1 << random.below(8));
    }
    if (packet[0]! >>> 4 === 4) this.#repair(packet);
    const inner = readInner(packet);
    if (typeof inner === "object" && inner.transport > 0) finishTransport(packet, inner);
    return packet;
  }

  /** A right packet, but for its checksums now and then. */
  #packet(source: Prefixes, target: Prefixes, size: number, protocol?: number): Bytes {
    const random = this.#random;
    const canV6 = source.v6.length > 0 && target.v6.length > 0;
    const isV6 = canV6 && random.chance(0.35);
    const kind = protocol ?? random.pick(PROTOCOLS);
    const transport = this.#transport(kind, size);
    const ip = isV6
      ? this.#ipv6(source.v6, target.v6, kind, transport.length)
      : this.#ipv4(source.v4, target.v4, kind, transport.length);
    const packet = new Uint8Array(ip.length + transport.length);
    packet.set(ip);
    packet.set(transport, ip.length);
    if (!isV6) finishHeader(packet, ip.length);
    const inner = readInner(packet);
    if (typeof inner === "object" && inner.transport > 0 && !random.chance(0.02)) {
      finishTransport(packet, inner);
      if (kind === UDP && random.chance(0.03)) putWord(packet, checksumAt(inner), 0);
    }
    return packet;
  }

  #ipv4(
    sources: readonly FuzzPrefix[],
    targets: readonly FuzzPrefix[],
    protocol: number,
    payload: number,
  ): Bytes {
    const random = this.#random;
    const options = random.chance(0.08) ? 4 * random.below(11) : 0;
    const header = new Uint8Array(20 + options);
    header.set(this.noise(header.length));
    header[0] = 0x45 + options / 4;
    putWord(header, 2, header.length + payload);
    const free = random.chance(0.3) ? 0 : 0x4000;
    putWord(header, 6, random.chance(0.05) ? random.word() & 0xffff : free);
    header[9] = protocol;
    header.set(addressIn(random.pick(sources), this.noise(4)), 12);
    header.set(addressIn(random.pick(targets), this.noise(4)), 16);
    if (options > 0) this.#options(header.subarray(20));
    return header;
  }

  #ipv6(
    sources: readonly FuzzPrefix[],
    targets: readonly FuzzPrefix[],
    protocol: number,
    payload: number,
  ): Bytes {
    const random = this.#random;
    const kinds: number[] = [];
    if (random.chance(0.15)) {
      for (let count = random.below(11); count > 0; count--)
        kinds.push(random.pick([0, 43, 60, 44]));
    }
    const sizes = kinds.map((kind) => (kind === 44 ? 8 : 8 * (1 + random.below(3))));
    const size = sizes.reduce((sum, one) => sum + one, 40);
    const header = new Uint8Array(size);
    header.set(this.noise(8));
    header[0] = 0x60 | (header[0]! & 15);
    putWord(header, 4, size - 40 + payload);
    header[6] = kinds[0] ?? protocol;
    header.set(addressIn(random.pick(sources), this.noise(16)), 8);
    header.set(addressIn(random.pick(targets), this.noise(16)), 24);
    let at = 40;
    for (const [index, kind] of kinds.entries()) {
      header[at] = kinds[index + 1] ?? protocol;
      header[at + 1] = sizes[index]! / 8 - 1;
      if (kind === 44 && random.chance(0.3)) putWord(header, at + 2, random.word() & 0xffff);
      at += sizes[index]!;
    }
    return header;
  }

  /** A transport header, where there is one, and `size` bytes of payload. */
  #transport(protocol: number, size: number): Bytes {
    const random = this.#random;
    if (protocol === UDP) {
      const out = this.noise(8 + size).slice();
      putWord(out, 4, out.length);
      return out;
    }
    if (protocol !== TCP) return this.noise(size).slice();
    const options = random.chance(0.4) ? 4 * random.below(11) : 0;
    const out = this.noise(20 + options + size).slice();
    out[12] = (5 + options / 4) << 4;
    out[13] = random.pick([0x10, 0x10, 0x10, 0x18, 0x02, 0x12, 0x11, 0xc2, random.below(256)]);
    if (options > 0) this.#tcpOptions(out.subarray(20, 20 + options));
    return out;
  }

  #options(options: Uint8Array): void {
    const random = this.#random;
    options.set(this.noise(options.length));
    for (let at = 0; at < options.length; at += 4) {
      const option = random.pick([[1, 1, 1, 1], [7, 4], [0x88, 4], [0x94, 4, 0, 0], [0], [7, 0]]);
      if (random.chance(0.8)) options.set(option, at);
    }
  }

  #tcpOptions(options: Uint8Array): void {
    const random = this.#random;
    if (random.chance(0.15)) return;
    options.fill(1);
    const at = random.chance(0.7) ? 0 : random.below(options.length - 3);
    const mss = random.pick([536, 659, 660, 661, 1240, 1412, 1432, 1433, 1460, 8960, 65_535]);
    options.set([2, 4, mss >>> 8, mss & 255], at);
    if (random.chance(0.1)) options.set([2, 4], options.length - 2);
    if (random.chance(0.2)) options[random.below(options.length)] = random.below(256);
  }
}

/** Whether an ICMP error that the loop wrote is one: its sums, and whom it is for. */
export function isErrorAbout(answer: Bytes, sources: ReadonlySet<string>): boolean {
  const inner = readInner(answer);
  if (typeof inner === "string") return false;
  const isV4 = inner.version === 4;
  const at = inner.header;
  const quoted = at + 8 + (isV4 ? 12 : 8);
  const size = isV4 ? 4 : 16;
  const target = Buffer.from(answer.slice(isV4 ? 16 : 24, isV4 ? 20 : 40)).toString("hex");
  if (!sources.has(target)) return false;
  if (Buffer.from(answer.slice(quoted, quoted + size)).toString("hex") !== target) return false;
  if (isV4 && onesSum(answer, 0, at) !== 0xffff) return false;
  const isType = isV4 ? answer[at] === 3 : answer[at] === 1 || answer[at] === 2;
  const start = isV4 ? 0 : pseudoSum(answer, inner);
  return isType && onesSum(answer, at, answer.length, start) === 0xffff;
}
