/**
 * The agent's end of the probes: rings to and from the packet loop, and what the loop is told of
 * each peer's path. Peers are counter slots here, as the loop knows them.
 *
 * @module
 */
import { addressFamily, type Family } from "../base/address.ts";
import type { NodeId } from "../base/ids.ts";
import {
  ENCAPSULATION_OVERHEAD_V4,
  ENCAPSULATION_OVERHEAD_V6,
} from "../dataplane/backends/overhead.ts";
import type { FibTable } from "../dataplane/fib/row.ts";
import { PEER, PEER_STRIDE } from "../dataplane/forward/counters.ts";
import { QUESTION, QUESTION_COUNT_MAX, REPORT_COUNT_MAX } from "../dataplane/probe/mail.ts";
import { createMailMemory, MAIL_WIDTH, MailRing } from "../dataplane/probe/mail-ring.ts";
import type { Question } from "../dataplane/probe/peer-path.ts";
import { encodePeerTable, type ProbePeer } from "../dataplane/probe/peer-table.ts";
import type { KnownPath } from "../dataplane/probe/prober.ts";

export interface ProbeLinkOptions {
  /** Family of the underlay socket. */
  readonly family: Family;
  /** Wakes the loop. */
  readonly wake: () => void;
  /** The counters of the peers, all that the loop may be reading; the present ones first. */
  readonly arrays: () => readonly Float64Array[];
}

/** One engine's probes. */
export class ProbeLink {
  readonly questionMemory = createMailMemory(QUESTION_COUNT_MAX);
  readonly reportMemory = createMailMemory(REPORT_COUNT_MAX);
  /** Outer IP and UDP headers in bytes. */
  readonly overhead: number;
  readonly #options: ProbeLinkOptions;
  readonly #questions = new MailRing(this.questionMemory);
  readonly #reports = new MailRing(this.reportMemory);
  readonly #message = new Float64Array(MAIL_WIDTH);
  #peers: readonly ProbePeer[] = [];
  #peerOf = new Map<number, NodeId>();
  /** Inner packets to and from a peer that the loop does not see, so far. */
  trafficElsewhere: (peer: NodeId) => number = () => 0;

  constructor(options: ProbeLinkOptions) {
    this.#options = options;
    this.overhead = options.family === 4 ? ENCAPSULATION_OVERHEAD_V4 : ENCAPSULATION_OVERHEAD_V6;
  }

  /** The peers of the last table that can be probed. */
  get peers(): readonly ProbePeer[] {
    return this.#peers;
  }

  /** Every peer of `table` at its endpoint, as the loop reads it. */
  encodeTable(
    table: FibTable,
    self: NodeId | undefined,
    slotOf: (peer: NodeId) => number | undefined,
  ): SharedArrayBuffer {
    const peers = new Map<NodeId, ProbePeer>();
    for (const { peer, endpoint } of table.rows) {
      const slot = slotOf(peer);
      if (slot === undefined || addressFamily(endpoint.address) !== this.#options.family) continue;
      if (!peers.has(peer)) peers.set(peer, { peer, slot, endpoint });
    }
    this.#peers = [...peers.values()];
    this.#peerOf = new Map(this.#peers.map(({ peer, slot }) => [slot, peer]));
    return encodePeerTable(self, this.#peers);
  }

  /** Gives a question to the loop, which takes it at the next `wake`; false when it is full. */
  ask(slot: number, question: Question, told: number, token: number): boolean {
    const message = this.#message;
    message[QUESTION.SLOT] = slot;
    message[QUESTION.SEQUENCE] = question.sequence;
    message[QUESTION.SIZE] = question.size;
    message[QUESTION.WHOLE] = question.isWhole ? 1 : 0;
    message[QUESTION.TOKEN] = token;
    message[QUESTION.TOLD] = told;
    return this.#questions.put(message);
  }

  /** Has the loop send what was asked. */
  wake(): void {
    if (!this.#questions.isEmpty) this.#options.wake();
  }

  /** Copies the oldest report (REPORT) into `out`; false when there is none. */
  take(out: Float64Array): boolean {
    return this.#reports.take(out);
  }

  /** Inner packets to and from the peer with `slot` so far. */
  traffic(slot: number): number {
    const peers = this.#options.arrays()[0]!;
    const at = slot * PEER_STRIDE;
    const peer = this.#peerOf.get(slot);
    const elsewhere = peer === undefined ? 0 : this.trafficElsewhere(peer);
    return (peers[at + PEER.TX_PACKETS] ?? 0) + (peers[at + PEER.RX_PACKETS] ?? 0) + elsewhere;
  }

  /** Tells the loop what is known of the path to the peer with `slot`. */
  setPath(slot: number, { payloadMax, found }: KnownPath): void {
    for (const peers of this.#options.arrays()) {
      const at = slot * PEER_STRIDE;
      if (at + PEER_STRIDE > peers.length) continue;
      peers[at + PEER.PAYLOAD_MAX] = payloadMax;
      peers[at + PEER.PATH_MTU] = found;
    }
  }

  /** `slot` has changed hands. */
  forget(slot: number): void {
    this.setPath(slot, { payloadMax: 0, found: 0 });
  }
}
