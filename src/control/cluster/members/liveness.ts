/**
 * Who was heard from, and when: the driver's own measure, beside the core's.
 *
 * The core clears its activity marks at every quorum check, so they say "since the last check". For
 * decisions about members a steady window is needed. No clock of its own.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { ConfState } from "../../raft/types.ts";
import { memberIds } from "./conf-state.ts";

/** When each node was heard from last. */
export class Liveness {
  readonly #windowMs: number;
  readonly #heardMs = new Map<NodeId, number>();

  /** `windowMs`: how long after a sign of life a node counts as live. */
  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  heard(node: NodeId, nowMs: number): void {
    this.#heardMs.set(node, nowMs);
  }

  /** `node` ended, as far as can be seen; it is live again when it is heard again. */
  ended(node: NodeId): void {
    this.#heardMs.delete(node);
  }

  isLive(node: NodeId, nowMs: number): boolean {
    return this.silentMs(node, nowMs) <= this.#windowMs;
  }

  /** How long nothing was heard from `node`; infinite when nothing ever was. */
  silentMs(node: NodeId, nowMs: number): number {
    return nowMs - (this.#heardMs.get(node) ?? Number.NEGATIVE_INFINITY);
  }

  /** Whether a majority of each half of `state` is live, `self` included. */
  hasQuorum(state: ConfState, self: NodeId, nowMs: number): boolean {
    return [state.voters, state.votersOutgoing].every((half) => {
      const liveCount = half.filter((id) => id === self || this.isLive(id, nowMs)).length;
      return half.length === 0 || liveCount > half.length / 2;
    });
  }

  /** Forgets nodes that are in neither list of `state`, so that the table stays small. */
  keepOnly(state: ConfState): void {
    const members = new Set(memberIds(state));
    for (const node of this.#heardMs.keys()) if (!members.has(node)) this.#heardMs.delete(node);
  }
}
