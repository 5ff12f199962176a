/**
 * The loop's mouth and ears for probes: answers the peers' questions at once, sends our own, and
 * reports what came back. When to ask and what it means is the prober's business, elsewhere.
 *
 * In this thread, so that a round trip is the path's and not that of a busy control plane. Nothing
 * is allocated and nothing throws: a bad datagram is a counter. Who may ask: a known peer, from its
 * endpoint, by its name and by ours. An answer is as small as the smallest question, and each
 * peer's questions are answered up to a rate.
 *
 * @module
 */
import type { LoopClock, ReceiveBatch, SendBatch, UdpPort } from "../../host/packet-ports.ts";
import { encodeAnswer, PROBE_QUESTION, PROBE_SIZE, ProbeFrame } from "../probe/frame.ts";
import { QUESTION, REPORT, REPORT_KIND } from "../probe/mail.ts";
import { MAIL_WIDTH, type MailRing } from "../probe/mail-ring.ts";
import { encodePeerTable, PeerTableView } from "../probe/peer-table.ts";
import { type Arena, PROBE_AREA_SIZE } from "./arena.ts";
import { DROP, type LoopCounters, TOTAL } from "./counters.ts";

/** Questions of one peer that are answered, a second in the long run: `overlay ping -i 10` too. */
export const ANSWERS_PER_SECOND_MAX = 200;
/** And at once after a quiet time: a whole search for a path MTU. */
export const ANSWER_BURST_MAX = 200;

/** An answer that took longer says nothing about the path. */
const ROUND_TRIP_MS_MAX = 60_000;
const MS_PER_SECOND = 1000;

/**
 * How probes are protected, as the sealing of packets sees to it. A sealed probe travels like any
 * sealed packet; what was opened comes in through `ProbeStation.receiveOpened`.
 */
export interface ProbeSeal {
  /** Bytes that sealing adds for the peer with `slot`; 0: its probes are plain. */
  overhead(slot: number): number;
  /** Whether plain probes of the peer with `slot` are not taken. */
  refusesPlain(slot: number): boolean;
  /**
   * Seals the frame of `length` bytes at `at` for the peer with `slot` into `to`. Bytes written:
   * `length` and the overhead; 0 when there is no key, and then nothing is sent.
   */
  seal(slot: number, at: number, length: number, to: number): number;
}

export interface ProbeStationParts {
  readonly arena: Arena;
  readonly udp: UdpPort;
  readonly clock: LoopClock;
  readonly counters: LoopCounters;
  /** From the prober. */
  readonly questions: MailRing;
  /** To the prober. */
  readonly reports: MailRing;
  readonly seal: ProbeSeal;
}

/** One loop's probes. */
export class ProbeStation {
  readonly #view: DataView<ArrayBuffer>;
  readonly #batch: SendBatch;
  readonly #udp: UdpPort;
  readonly #clock: LoopClock;
  readonly #counters: LoopCounters;
  readonly #questions: MailRing;
  readonly #reports: MailRing;
  readonly #seal: ProbeSeal;
  /** Where a question is written, its padding always zero; an answer; a sealed one. */
  readonly #questionAt: number;
  readonly #answerAt: number;
  readonly #sealedAt: number;
  readonly #frame = new ProbeFrame();
  readonly #question = new Float64Array(MAIL_WIDTH);
  readonly #report = new Float64Array(MAIL_WIDTH);
  #table = new PeerTableView(encodePeerTable(undefined, []));
  /** By slot: answers that the peer may still have, and when that was. */
  #tokens = new Float64Array(0);
  #filledMs = new Float64Array(0);

  constructor(parts: ProbeStationParts) {
    const { arena } = parts;
    this.#view = arena.memory.view;
    this.#batch = arena.probeSend;
    this.#udp = parts.udp;
    this.#clock = parts.clock;
    this.#counters = parts.counters;
    this.#questions = parts.questions;
    this.#reports = parts.reports;
    this.#seal = parts.seal;
    this.#questionAt = arena.probeAt;
    this.#answerAt = arena.probeAt + PROBE_AREA_SIZE;
    this.#sealedAt = arena.probeAt + 2 * PROBE_AREA_SIZE;
  }

  /** Knows the peers of `table` from now on. */
  useTable(table: PeerTableView): void {
    this.#table = table;
    if (table.slotCount <= this.#tokens.length) return;
    const tokens = new Float64Array(table.slotCount).fill(ANSWER_BURST_MAX);
    const filledMs = new Float64Array(table.slotCount);
    tokens.set(this.#tokens);
    filledMs.set(this.#filledMs);
    this.#tokens = tokens;
    this.#filledMs = filledMs;
  }

  /** Slot of the peer that sent `message`; −1 for a stranger. The ports are as for packets. */
  slotOf({ sourceAddress, sourcePort, localPort }: ReceiveBatch, message: number): number {
    const slot = this.#table.slotAt(sourceAddress, 4 * message);
    if (slot < 0) return -1;
    const port = sourcePort[message]!;
    return port === localPort || port === this.#table.port(slot) ? slot : -1;
  }

  /** Takes a plain datagram of `length` bytes at `at` that came in `message`. */
  receive(at: number, length: number, batch: ReceiveBatch, message: number): void {
    if (!this.#frame.decode(this.#view, at, length)) {
      this.#counters.drop(DROP.RX_CONTROL, 1);
      return;
    }
    const slot = this.slotOf(batch, message);
    if (slot < 0 || this.#seal.refusesPlain(slot)) {
      this.#counters.drop(DROP.RX_PROBE_STRANGER, 1);
      return;
    }
    this.#take(at, slot);
  }

  /** The same for one that came sealed with the key of the peer with `slot`. */
  receiveOpened(at: number, length: number, slot: number): void {
    if (!this.#frame.decode(this.#view, at, length)) {
      this.#counters.drop(DROP.RX_CONTROL, 1);
      return;
    }
    this.#take(at, slot);
  }

  /** Sends every question that waits. */
  ask(): void {
    while (this.#questions.take(this.#question)) this.#askOne();
  }

  #take(at: number, slot: number): void {
    const frame = this.#frame;
    const table = this.#table;
    if (!table.has(slot) || frame.sender !== table.node(slot) || frame.target !== table.self) {
      this.#counters.drop(DROP.RX_PROBE_STRANGER, 1);
      return;
    }
    if (frame.kind === PROBE_QUESTION) this.#answer(at, slot);
    else this.#reportAnswer(slot);
  }

  #answer(at: number, slot: number): void {
    if (!this.#takeToken(slot)) {
      this.#counters.drop(DROP.RX_PROBE_LIMIT, 1);
      return;
    }
    encodeAnswer(this.#view, this.#answerAt, at, this.#frame, this.#counters.pathMtu(slot));
    const errno = this.#send(slot, this.#answerAt, PROBE_SIZE, false);
    if (errno === 0) this.#counters.add(TOTAL.PROBE_ANSWERS, 1);
  }

  #reportAnswer(slot: number): void {
    const frame = this.#frame;
    const nowMs = this.#clock.nowMs();
    const roundTripMs = nowMs - frame.stamp;
    if (!(roundTripMs >= 0 && roundTripMs <= ROUND_TRIP_MS_MAX)) {
      this.#counters.drop(DROP.RX_CONTROL, 1);
      return;
    }
    this.#counters.seen(slot, nowMs);
    const report = this.#report;
    report[REPORT.KIND] = REPORT_KIND.ANSWERED;
    report[REPORT.SLOT] = slot;
    report[REPORT.SEQUENCE] = frame.sequence;
    report[REPORT.ROUND_TRIP_MS] = roundTripMs;
    report[REPORT.SIZE] = frame.questionSize + this.#seal.overhead(slot);
    report[REPORT.TOKEN] = frame.token;
    report[REPORT.TOLD] = frame.told;
    report[REPORT.ERRNO] = 0;
    // Full: the prober is stopped, and will take it for a loss.
    this.#reports.put(report);
  }

  #askOne(): void {
    const question = this.#question;
    const slot = question[QUESTION.SLOT]!;
    const table = this.#table;
    if (!table.has(slot)) return;
    const size = Math.max(PROBE_SIZE, question[QUESTION.SIZE]! - this.#seal.overhead(slot));
    const frame = this.#frame;
    frame.kind = PROBE_QUESTION;
    frame.size = Math.min(size, PROBE_AREA_SIZE);
    frame.sequence = question[QUESTION.SEQUENCE]!;
    frame.sender = table.self;
    frame.target = table.node(slot);
    frame.token = question[QUESTION.TOKEN]!;
    frame.told = question[QUESTION.TOLD]!;
    frame.questionSize = 0;
    frame.stamp = this.#clock.nowMs();
    frame.encode(this.#view, this.#questionAt);
    const isWhole = question[QUESTION.WHOLE] !== 0;
    const errno = this.#send(slot, this.#questionAt, frame.size, isWhole);
    if (errno === 0) this.#counters.add(TOTAL.PROBE_QUESTIONS, 1);
    else this.#reportRefusal(slot, errno);
  }

  #reportRefusal(slot: number, errno: number): void {
    const report = this.#report;
    report.fill(0);
    report[REPORT.KIND] = REPORT_KIND.REFUSED;
    report[REPORT.SLOT] = slot;
    report[REPORT.SEQUENCE] = this.#frame.sequence;
    report[REPORT.TOKEN] = this.#frame.token;
    report[REPORT.ERRNO] = errno;
    this.#reports.put(report);
  }

  /** Sends one datagram; 0, or the number of the error. A full socket loses it. */
  #send(slot: number, at: number, length: number, isWhole: boolean): number {
    const batch = this.#batch;
    const isSealed = this.#seal.overhead(slot) !== 0;
    const sealed = isSealed ? this.#seal.seal(slot, at, length, this.#sealedAt) : length;
    if (sealed === 0) return 0;
    batch.count = 1;
    batch.pieceStart[1] = 1;
    batch.pieceOffset[0] = isSealed ? this.#sealedAt : at;
    batch.pieceLength[0] = sealed;
    batch.segmentSize[0] = 0;
    batch.targetPort[0] = this.#table.port(slot);
    this.#table.copyEndpoint(slot, batch.targetAddress, 0);
    const result = isWhole ? this.#udp.sendWhole(batch, 0) : this.#udp.send(batch, 0);
    return result > 0 ? 0 : -result;
  }

  #takeToken(slot: number): boolean {
    const nowMs = this.#clock.nowMs();
    const sinceMs = nowMs - this.#filledMs[slot]!;
    const earned = (sinceMs * ANSWERS_PER_SECOND_MAX) / MS_PER_SECOND;
    const tokens = Math.min(ANSWER_BURST_MAX, this.#tokens[slot]! + earned);
    this.#filledMs[slot] = nowMs;
    this.#tokens[slot] = tokens < 1 ? tokens : tokens - 1;
    return tokens >= 1;
  }
}
