/**
 * Hostile input for one packet loop, burst after burst: what the twins say must come out comes out,
 * nothing else does, every drop is counted for its reason, and no byte outside a packet changes.
 *
 * A round is one loop and one seed; it repeats exactly.
 *
 * @module
 */
import {
  COUNTER_COUNT,
  DROP_NAMES,
  DROPS_AT,
  PEER,
  PEER_STRIDE,
  TOTAL,
} from "../../../src/dataplane/forward/counters.ts";
import { PacketLoop, TURN } from "../../../src/dataplane/forward/packet-loop.ts";
import { createMailMemory, MAIL_WIDTH, MailRing } from "../../../src/dataplane/probe/mail-ring.ts";
import { SealNode } from "../../../src/dataplane/seal/seal-pair.fake.ts";
import { openLibcryptoAead } from "../../../src/host/sys/libcrypto.ts";
import { SimRandom } from "../cluster/sim-random.ts";
import { type Bytes, finishTransport, hex, keyOf, latin, readInner } from "./bytes.ts";
import { compareFlows, compareTallies, count, expectEqual, flowOf, push } from "./compare.ts";
import { deliver } from "./delivery.ts";
import {
  GuardedArena,
  GuardedTun,
  GuardedUdp,
  type Message,
  type SentDatagram,
} from "./guarded-ports.ts";
import { isErrorAbout, PacketMaker } from "./packet-maker.ts";
import { judgeDatagram, type Origin, type Verdict } from "./receive-twin.ts";
import { FuzzFailure, type RoundReport, type Tally } from "./report.ts";
import { judgeFrame } from "./transmit-twin.ts";
import { encodeWorld, type FuzzEndpoint, PEERS, SELF_ID, STRANGERS } from "./world.ts";

/** Datagrams and frames of one round. */
export const ROUND_CASES = 5000;

const FRAMES_PER_BURST = 40;
const MESSAGES_PER_BURST = 24;
const MESSAGE_SIZE_MAX = 60_000;
const FRAME_SIZE_MAX = 40_000;
const TURN_COUNT_MAX = 100_000;
const REPLAY_COUNT = 200;
const SEALED_KIND = 1;
const PROBE_KIND = 2;
const ANSWER_SIZE = 40;
/** Why a sealed datagram is refused is the seal's business, not the twin's. */
const SEAL_REASONS = ["rx_seal_unknown_key", "rx_seal_replayed", "rx_seal_forged", "rx_short"];
const PROBE_REASONS = ["rx_control", "rx_probe_stranger", "rx_probe_limit"];

/** Runs one round; throws a FuzzFailure. */
export function runPacketRound(seed: number, cases = ROUND_CASES): RoundReport {
  const round = new Round(seed);
  while (round.cases < cases) round.burst();
  round.end();
  return { cases: round.cases, tally: round.tally };
}

class Round {
  cases = 0;
  readonly tally: Tally = new Map();
  readonly #random: SimRandom;
  readonly #maker: PacketMaker;
  readonly #guard = new GuardedArena();
  readonly #tun = new GuardedTun(this.#guard);
  readonly #udp = new GuardedUdp(this.#guard);
  readonly #totals = new Float64Array(COUNTER_COUNT);
  readonly #reports = new MailRing(createMailMemory(64));
  readonly #loop: PacketLoop;
  readonly #self = new SealNode(SELF_ID);
  readonly #nodes = new Map<number, SealNode>();
  /** What a peer sealed for us: by its bytes, what it sealed, until it came once. */
  readonly #genuine = new Map<
    string,
    { readonly slot: number; readonly inner: Bytes; isUsed: boolean }
  >();
  readonly #seen: Bytes[] = [];
  #nowMs = 1000;
  #burstCount = 0;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
    this.#maker = new PacketMaker(this.#random);
    const { arena } = this.#guard;
    const aead = seed % 2 === 0 ? openLibcryptoAead(arena.memory) : undefined;
    const peers = new Float64Array(PEERS.length * PEER_STRIDE);
    for (const [slot, { payloadMax }] of PEERS.entries()) {
      peers[slot * PEER_STRIDE + PEER.PAYLOAD_MAX] = payloadMax;
    }
    this.#loop = new PacketLoop({
      ...{ arena, tun: this.#tun, udp: this.#udp, totals: this.#totals, peers },
      clock: { nowMs: () => this.#nowMs },
      offloads: new Int32Array(8),
      probes: { questions: new MailRing(createMailMemory(1)), reports: this.#reports },
      ...(aead === undefined ? {} : { aead }),
    });
    const world = encodeWorld();
    this.#loop.useTable(world.fib, undefined);
    this.#loop.usePeers(world.peers);
    this.#exchangeKeys();
    this.#tun.refuses = () => this.#random.chance(0.15);
  }

  #exchangeKeys(): void {
    for (const [slot, { seals, id }] of PEERS.entries()) {
      if (seals) this.#nodes.set(slot, new SealNode(id));
    }
    this.#self.peers = [...this.#nodes].map(([slot, node]) => node.asPeer(slot));
    this.#loop.useKeys(this.#self.keys);
    const all = [...this.#nodes.values()];
    for (const node of all) {
      const others = all.filter((other) => other !== node);
      node.peers = [this.#self.asPeer(0), ...others.map((other) => other.asPeer(1))];
      node.publish();
    }
  }

  /** One batch or two of one direction, held against the twin. */
  burst(): void {
    this.#nowMs += 1000;
    this.#burstCount++;
    const before = this.#totals.slice();
    if (this.#random.chance(0.5)) this.#receive(before);
    else this.#transmit(before);
  }

  /** What is looked at once a round. */
  end(): void {
    this.#guard.checkAlways();
    this.#guard.checkReceiveSlots();
    this.#loop.close();
  }

  // From the socket to the TUN

  #receive(before: Float64Array): void {
    const count = 1 + this.#random.below(MESSAGES_PER_BURST);
    const messages = Array.from({ length: count }, () => this.#message());
    const describe = ({ bytes, segmentSize, source }: Message) =>
      `from ${source.text} port ${source.port}, in ${segmentSize || bytes.length}s: ${hex(bytes)}`;
    const work = () => {
      const expected = messages.flatMap((message) => this.#judge(message));
      // An answer that finds no room is lost, as it may be.
      this.#udp.isFull = () => false;
      this.#udp.waiting = messages.slice();
      this.#settle();
      this.#udp.checkAll();
      this.#tun.checkAll();
      if (this.#burstCount % 16 === 0) this.#guard.checkAlways();
      this.#checkReceived(expected, before);
    };
    this.#try(work, () => messages.map(describe));
    this.cases += messages.reduce((sum, message) => sum + pieces(message).length, 0);
  }

  #message(): Message {
    const random = this.#random;
    const slot = random.below(PEERS.length);
    const isOwner = random.chance(0.85);
    const anybody = [...STRANGERS, ...PEERS.map(({ endpoint }) => endpoint)];
    const source = isOwner ? PEERS[slot]!.endpoint : random.pick(anybody);
    const count = random.chance(0.4) ? 1 : 1 + random.below(12);
    const datagrams: Bytes[] = [];
    let size = 0;
    for (let index = 0; index < count && size < MESSAGE_SIZE_MAX; index++) {
      const datagram = this.#datagram(slot);
      const first = datagrams[0]?.length ?? datagram.length;
      if (datagram.length > first || datagram.length === 0) break;
      datagrams.push(datagram);
      size += datagram.length;
      if (datagram.length < first) break;
    }
    const bytes = new Uint8Array(Buffer.concat(datagrams));
    const isLie = random.chance(0.01);
    const lie = random.chance(0.5) ? 1 + random.below(bytes.length + 10) : 41;
    const honest = datagrams.length > 1 ? datagrams[0]!.length : 0;
    const segmentSize = isLie && bytes.length > 0 ? lie : honest;
    return { bytes, segmentSize, isTruncated: random.chance(0.005), source };
  }

  #datagram(slot: number): Bytes {
    const random = this.#random;
    const what = random.below(100);
    if (what < 3)
      return random.chance(0.1) ? new Uint8Array(0) : this.#maker.noise(random.below(200)).slice();
    const inner = what < 8 ? this.#maker.probe(slot) : this.#innerPacket(slot);
    const node = this.#nodes.get(slot);
    if (node === undefined || random.chance(0.1)) return inner;
    return this.#sealed(slot, node, inner);
  }

  #innerPacket(slot: number): Bytes {
    const packet = this.#maker.incoming(slot);
    const datagram = this.#random.chance(0.5) ? this.#maker.markPartial(packet) : packet;
    return this.#random.chance(0.4) ? this.#maker.damage(datagram) : datagram;
  }

  /** `inner` as the peer seals it; or damaged, or one that came before, or of another pair. */
  #sealed(slot: number, node: SealNode, inner: Bytes): Bytes {
    const random = this.#random;
    const what = random.below(20);
    if (what === 0 && this.#seen.length > 0) return random.pick(this.#seen).slice();
    if (what === 1) return Uint8Array.from(node.seal(1, inner));
    const datagram = Uint8Array.from(node.seal(0, inner));
    this.#genuine.set(latin(datagram), { slot, inner: inner.slice(), isUsed: false });
    this.#remember(datagram);
    return what < 6 ? this.#maker.damage(datagram) : datagram;
  }

  #remember(datagram: Bytes): void {
    if (this.#seen.length < REPLAY_COUNT) this.#seen.push(datagram);
    else this.#seen[this.#random.below(REPLAY_COUNT)] = datagram;
  }

  #judge(message: Message): Verdict[] {
    if (message.isTruncated) return [{ kind: "drop", reason: "rx_truncated" }];
    return pieces(message).map((piece) => {
      if (piece.length === 0 || piece[0]! >>> 4 !== SEALED_KIND) {
        return judgeDatagram(piece, message.source);
      }
      const known = this.#genuine.get(latin(piece));
      if (known === undefined || known.isUsed) return { kind: "drop", reason: "sealed" };
      known.isUsed = true;
      const origin: Origin = { slot: known.slot };
      return judgeDatagram(known.inner, origin);
    });
  }

  #checkReceived(expected: readonly Verdict[], before: Float64Array): void {
    const flows = new Map<string, string[]>();
    const wanted: Tally = new Map();
    let [passed, bytes, answerable] = [0, 0, 0];
    for (const verdict of expected) {
      if (verdict.kind === "probe" && verdict.mayAnswer) answerable++;
      if (verdict.kind !== "pass") {
        count(wanted, groupOf(verdict.kind === "probe" ? "probe" : verdict.reason));
        continue;
      }
      passed++;
      bytes += verdict.packet.length;
      push(flows, flowOf(verdict.packet), keyOf(verdict.packet));
    }
    const delivered = new Map<string, string[]>();
    for (const frame of this.#tun.written.splice(0)) {
      for (const packet of deliver(frame)) push(delivered, flowOf(packet), keyOf(packet));
    }
    compareFlows(flows, delivered);
    const answered = this.#checkAnswers() + this.#takeReports();
    if (answered > answerable) throw new Error(`${answered} answers to ${answerable} probes`);
    const counted = this.#dropped(before);
    if (answered > 0) count(counted, "probe", answered);
    compareTallies(wanted, counted);
    expectEqual(
      "packets counted",
      this.#totals[TOTAL.RX_PACKETS]! - before[TOTAL.RX_PACKETS]!,
      passed,
    );
    expectEqual("bytes counted", this.#totals[TOTAL.RX_BYTES]! - before[TOTAL.RX_BYTES]!, bytes);
    if (passed > 0) count(this.tally, "received", passed);
  }

  /** Answers to probes: small, of the right kind, and to a peer. How many there were. */
  #checkAnswers(): number {
    const sent = this.#udp.sent.splice(0);
    for (const { address, port, bytes } of sent) {
      const slot = slotAt(address, port);
      if (slot < 0)
        throw new Error(`an answer to ${address.join()} port ${port}, which is no peer`);
      const { seals } = PEERS[slot]!;
      const kind = seals ? SEALED_KIND : PROBE_KIND;
      if (bytes[0]! >>> 4 !== kind) throw new Error(`an answer of kind ${bytes[0]! >>> 4}`);
      expectEqual("bytes of an answer", bytes.length, ANSWER_SIZE + (seals ? 32 : 0));
    }
    return sent.length;
  }

  #takeReports(): number {
    const report = new Float64Array(MAIL_WIDTH);
    let taken = 0;
    while (this.#reports.take(report)) taken++;
    return taken;
  }

  // From the TUN to the socket

  #transmit(before: Float64Array): void {
    const count = 1 + this.#random.below(FRAMES_PER_BURST);
    const frames = Array.from({ length: count }, () => this.#frame());
    const work = () => {
      this.#udp.isFull = () => this.#random.chance(0.05);
      this.#tun.waiting = frames.slice();
      this.#settle();
      this.#tun.checkAll();
      if (this.#burstCount % 16 === 0) this.#guard.checkReceiveSlots();
      this.#checkSent(frames, before);
    };
    this.#try(work, () => frames.map((frame) => `frame ${hex(frame)}`));
    this.cases += count;
  }

  #frame(): Bytes {
    const random = this.#random;
    if (random.chance(0.02)) return this.#maker.noise(random.below(120)).slice();
    const sizeMax = random.chance(0.015) ? FRAME_SIZE_MAX : 1500;
    let packet = this.#maker.outgoing(random.below(PEERS.length), sizeMax);
    if (random.chance(0.25)) packet = this.#maker.damage(packet);
    const frame = this.#maker.frame(packet);
    if (random.chance(0.15)) this.#maker.damageOffload(frame);
    return random.chance(0.02) ? frame.slice(0, random.below(frame.length)) : frame;
  }

  #checkSent(frames: readonly Bytes[], before: Float64Array): void {
    const flows = new Map<string, string[]>();
    const wanted: Tally = new Map();
    let sentCount = 0;
    for (const frame of frames) {
      const departure = judgeFrame(frame);
      if (departure.kind === "drop") {
        count(wanted, groupOf(departure.reason), departure.count);
        continue;
      }
      sentCount += departure.packets.length;
      for (const packet of departure.packets) push(flows, `to ${departure.slot}`, latin(packet));
    }
    const left = new Map<string, string[]>();
    for (const datagram of this.#udp.sent.splice(0)) {
      const { slot, packet } = this.#arrive(datagram);
      push(left, `to ${slot}`, latin(packet));
    }
    compareFlows(flows, left);
    compareTallies(wanted, this.#dropped(before));
    this.#checkErrors(frames);
    expectEqual(
      "packets counted",
      this.#totals[TOTAL.TX_PACKETS]! - before[TOTAL.TX_PACKETS]!,
      sentCount,
    );
    if (sentCount > 0) count(this.tally, "sent", sentCount);
  }

  /** What the peer makes of a datagram: opened, its mark off, its checksum finished. */
  #arrive({ address, port, bytes }: SentDatagram): { slot: number; packet: Bytes } {
    const slot = slotAt(address, port);
    if (slot < 0) throw new Error(`a packet to ${address.join()} port ${port}, which is no peer`);
    const { partial, seals } = PEERS[slot]!;
    const packet = seals ? this.#openAt(slot, bytes) : bytes;
    if (packet.length === 0 || packet[0]! < 0x80) return { slot, packet };
    if (!partial) throw new Error("an unfinished packet to a peer that takes none");
    packet[0] = packet[0]! & 0x7f;
    const inner = readInner(packet);
    if (typeof inner === "string" || inner.transport === 0) throw new Error("nothing to finish");
    finishTransport(packet, inner);
    return { slot, packet };
  }

  #openAt(slot: number, bytes: Bytes): Bytes {
    const opened = this.#nodes.get(slot)!.open(bytes);
    if (typeof opened === "number")
      throw new Error(`a sealed packet that does not open: ${opened}`);
    // Reflected to us, it must not open.
    this.#remember(bytes);
    return Uint8Array.from(opened.inner);
  }

  /** What was written while nothing came in: ICMP errors to those who sent. */
  #checkErrors(frames: readonly Bytes[]): void {
    const errors = this.#tun.written.splice(0);
    if (errors.length === 0) return;
    const sources = new Set(frames.flatMap((f) => [hex(f.slice(22, 26)), hex(f.slice(18, 34))]));
    for (const frame of errors) {
      const isPlain = frame.subarray(0, 10).every((byte) => byte === 0);
      if (!isPlain || !isErrorAbout(frame.slice(10), sources)) {
        throw new Error(`written, and no ICMP error: ${hex(frame)}`);
      }
    }
    count(this.tally, "icmp error", errors.length);
  }

  // Both

  /** Turns until nothing moves: a full socket makes that more turns. */
  #settle(): void {
    for (let turns = 0; turns < TURN_COUNT_MAX; turns++) {
      const turned = this.#loop.turn();
      if (turned === TURN.IDLE) return;
      if (turned !== TURN.BUSY && turned !== TURN.BLOCKED)
        throw new Error(`the loop says ${turned}`);
    }
    throw new Error("the loop never comes to rest");
  }

  #dropped(before: Float64Array): Tally {
    const counted: Tally = new Map();
    for (const [reason, name] of DROP_NAMES.entries()) {
      const more = this.#totals[DROPS_AT + reason]! - before[DROPS_AT + reason]!;
      if (more === 0) continue;
      count(counted, groupOf(name), more);
      count(this.tally, name, more);
    }
    return counted;
  }

  #try(work: () => void, describeInput: () => string[]): void {
    try {
      work();
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      throw new FuzzFailure(text, describeInput());
    }
  }
}

function pieces({ bytes, segmentSize }: Message): Bytes[] {
  if (bytes.length === 0) return [bytes];
  const step = segmentSize > 0 ? segmentSize : bytes.length;
  const out: Bytes[] = [];
  for (let at = 0; at < bytes.length; at += step) out.push(bytes.slice(at, at + step));
  return out;
}

function slotAt(address: readonly number[], port: number): number {
  const isAt = ({ words, port: own }: FuzzEndpoint) =>
    own === port && words.every((part, at) => part === address[at]);
  return PEERS.findIndex(({ endpoint }) => isAt(endpoint));
}

function groupOf(reason: string): string {
  if (SEAL_REASONS.includes(reason)) return "sealed";
  return PROBE_REASONS.includes(reason) ? "probe" : reason;
}
