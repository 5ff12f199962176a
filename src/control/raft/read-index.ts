/**
 * Linearizable reads without writing to the log: reads that wait for proof that this leader still
 * leads.
 *
 * Source: thesis §6.4. A read remembers the commit index at its arrival and may be served once a
 * heartbeat round that started after its arrival was answered by a quorum.
 *
 * Reads are numbered in order of arrival. A heartbeat carries the number of the newest read, and
 * an answer to it confirms every read up to that number. Numbers are never used twice, so that a
 * late answer to an old heartbeat cannot confirm a new read. Pure; owned by the leader's role.
 *
 * @module
 */
import type { Index, NodeId } from "../../base/ids.ts";
import { type Quorum, quorumAcked } from "./quorum.ts";

/** Reads of one leader that may wait at a time; further ones are dropped, and asked for again. */
export const PENDING_READ_COUNT_MAX = 65_536;

/** Who wants to read: this node or another one, and its own number for the read. */
export interface ReadRequest {
  readonly from: NodeId;
  readonly context: number;
}

/** A read that was confirmed, or waits for it. */
export interface PendingRead extends ReadRequest {
  /** Commit index when the read arrived. */
  readonly index: Index;
}

/** The reads of one term of leadership. */
export class ReadQueue {
  /** Arrived before anything was committed in this term: the commit index may still lag. */
  #postponed: ReadRequest[] = [];
  #unconfirmed: PendingRead[] = [];
  #confirmedCount = 0;
  readonly #acked = new Map<NodeId, number>();

  /** Whether no further read may wait. */
  get full(): boolean {
    return this.#postponed.length + this.#unconfirmed.length >= PENDING_READ_COUNT_MAX;
  }

  /** Keeps a read until `takePostponed`. */
  postpone(request: ReadRequest): void {
    this.#postponed.push(request);
  }

  /** The reads that waited for the first commit of the term. */
  takePostponed(): readonly ReadRequest[] {
    if (this.#postponed.length === 0) return this.#postponed;
    const taken = this.#postponed;
    this.#postponed = [];
    return taken;
  }

  /** Queues a read for confirmation. */
  add(read: PendingRead): void {
    this.#unconfirmed.push(read);
  }

  /** What a heartbeat must carry to confirm everything that waits; undefined when nothing does. */
  heartbeatContext(): number | undefined {
    if (this.#unconfirmed.length === 0) return undefined;
    return this.#confirmedCount + this.#unconfirmed.length;
  }

  /** `node` answered a heartbeat with `context`; returns the reads that this confirms. */
  acknowledge(node: NodeId, context: number, quorum: Quorum, self: NodeId): readonly PendingRead[] {
    const newest = this.#confirmedCount + this.#unconfirmed.length;
    if (context <= (this.#acked.get(node) ?? 0) || context > newest) return [];
    this.#acked.set(node, context);
    const confirmed = quorumAcked(quorum, (voter) =>
      voter === self ? newest : this.#acked.get(voter),
    );
    const count = Math.min(confirmed, newest) - this.#confirmedCount;
    if (count <= 0) return [];
    this.#confirmedCount += count;
    return this.#unconfirmed.splice(0, count);
  }
}
