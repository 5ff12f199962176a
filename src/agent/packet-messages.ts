/**
 * What the agent's thread and the packet loop's thread say to each other.
 *
 * The loop blocks in poll(2), so nothing reaches it as an event: the agent posts a message, raises
 * a number in the shared control words, and wakes the loop through an eventfd. The loop takes the
 * messages between two batches. Counters and offload states go the other way through shared memory
 * without any message.
 *
 * @module
 */
import type { MessagePort } from "node:worker_threads";
import type { SealKeys } from "../dataplane/seal/session-table.ts";

/** Words of the shared control array. */
export const CONTROL = {
  /** Tables published so far; written by the agent. */
  PUBLISHED: 0,
  /** The table that the loop works with; written by the loop. */
  TAKEN: 1,
  /** Not 0: the loop shall end; written by the agent. */
  STOP: 2,
} as const;
export const CONTROL_WORD_COUNT = 4;

/** A bound underlay socket. */
export interface LoopSocket {
  readonly fd: number;
  readonly port: number;
}

/** All that the loop needs, given to the worker at its start. Descriptors stay the agent's. */
export interface WorkerStart {
  readonly tunFd: number;
  /** That of this node's port, and those of former ones that others may still send to. */
  readonly sockets: readonly LoopSocket[];
  readonly udpFamily: 4 | 6;
  readonly eventFd: number;
  readonly control: SharedArrayBuffer;
  readonly totals: SharedArrayBuffer;
  readonly peers: SharedArrayBuffer;
  readonly offloads: SharedArrayBuffer;
  /** Mail rings (dataplane/probe): questions to ask peers, and reports of what came back. */
  readonly questions: SharedArrayBuffer;
  readonly reports: SharedArrayBuffer;
  /** Where the kept state of sealing lies in this process; undefined: none outlives it. */
  readonly keptAddress: number | undefined;
  /** Brings `TableMessage`s. */
  readonly tables: MessagePort;
}

/** A new forwarding table for the loop. */
export interface TableMessage {
  readonly generation: number;
  /** Most often those that the loop has. */
  readonly sockets: readonly LoopSocket[];
  readonly table: SharedArrayBuffer;
  /** New counters of the peers, when the old ones have no room for a new slot. */
  readonly peers: SharedArrayBuffer | undefined;
  /** Who may probe this node, and where they are (peer-table.ts). */
  readonly probed: SharedArrayBuffer;
  /** Keys for the peers of this table; absent: those that the loop has. */
  readonly seal: SealKeys | undefined;
}

/** What the worker reports; each at most once, in this order. */
export type WorkerReport =
  /** The loop runs. `nowMs` is the time of its clock, whose start is its own; `aead` what seals. */
  | { readonly kind: "ready"; readonly nowMs: number; readonly aead: string }
  /** The TUN does not work any more and the loop has ended. */
  | { readonly kind: "lost"; readonly errno: number };
