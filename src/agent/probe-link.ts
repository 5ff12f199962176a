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
import {
  encodePeerTable,
  type PeersBySlot,
  type ProbePeer,
} from "../dataplane/probe/peer-table.ts";
import type { KnownPath } from "../dataplane/probe/prober.ts";

export interface ProbeLinkOptions {
  /** Family of the underlay socket. */
  readonly family: Family;
  /** Wakes the loop. */
  readonly wake: () => void;
  /** The counters of the peers, all that the loop may be reading; the present ones first. */
  readonly arrays: () => readonly Float64Array[];
  /** Counter slot of a peer; undefined: it has none. */
  readonly slotOf: (peer: NodeId) => number | undefined;
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
  #peers: PeersBySlot = [];
  /** Inner packets to and from a peer that the loop does not see, so far. */
  trafficElsewhere: (peer: NodeId) => number = () => 0;

  constructor(options: ProbeLinkOptions) {
    this.#options = options;
    this.overhead = options.family === 4 ? ENCAPSULATION_OVERHEAD_V4 : ENCAPSULATION_OVERHEAD_V6;
  }

  /** The peers of the last table that can be probed. */
  get peers(): PeersBySlot {
    return this.#peers;
  }

  /** The slot of `peer`; undefined: it cannot be probed. */
  slotOf(peer: NodeId): number | undefined {
    const slot = this.#options.slotOf(peer);
    return slot !== undefined && this.#peers[slot]?.peer === peer ? slot : undefined;
  }

  /** Every peer of `table` at its endpoint, as the loop reads it. */
  encodeTable({ rows }: FibTable, self: NodeId | undefined): SharedArrayBuffer {
    const { family, slotOf } = this.#options;
    const peers: (ProbePeer | undefined)[] = [];
    for (const row of rows) {
      const slot = addressFamily(row.endpoint.address) === family ? slotOf(row.peer) : undefined;
      if (slot === undefined || peers[slot] !== undefined) continue;
      while (peers.length < slot) peers.push(undefined);
      peers[slot] = row;
    }
    this.#peers = peers;
    return encodePeerTable(self, peers);
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
    const peer = this.#peers[slot]?.peer;
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
