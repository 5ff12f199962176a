/**
 * Which counter slot belongs to which peer, across table swaps.
 *
 * The packet loop counts by slot, a small integer in the table; the control plane knows nodes.
 * A node keeps its slot for as long as it is in the tables. A slot that a node has left is given
 * out again only after the loop has taken a table without it, so no packet counts for a stranger.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";

/** Assigns slots; owned by the thread that publishes tables. */
export class PeerSlots {
  readonly #slotOf = new Map<NodeId, number>();
  readonly #free: number[] = [];
  #leaving: { readonly slot: number; readonly generation: number }[] = [];
  #count = 0;

  /** How many slots were ever given out: the size that the counters must have. */
  get count(): number {
    return this.#count;
  }

  /** The slot of `peer`, if it has one. */
  slotOf(peer: NodeId): number | undefined {
    return this.#slotOf.get(peer);
  }

  /** Every peer with its slot. */
  entries(): IterableIterator<[NodeId, number]> {
    return this.#slotOf.entries();
  }

  /**
   * Makes the slots fit the peers of table `generation`, the loop having taken `takenGeneration`.
   * Returns the slots that changed hands, whose counters start anew.
   */
  assign(peers: ReadonlySet<NodeId>, generation: number, takenGeneration: number): number[] {
    for (const [peer, slot] of this.#slotOf) {
      if (peers.has(peer)) continue;
      this.#slotOf.delete(peer);
      this.#leaving.push({ slot, generation });
    }
    const isFree = (leaving: { generation: number }) => leaving.generation <= takenGeneration;
    for (const { slot } of this.#leaving.filter(isFree)) this.#free.push(slot);
    this.#leaving = this.#leaving.filter((leaving) => !isFree(leaving));

    const reused: number[] = [];
    for (const peer of peers) {
      if (this.#slotOf.has(peer)) continue;
      const free = this.#free.pop();
      if (free !== undefined) reused.push(free);
      this.#slotOf.set(peer, free ?? this.#count++);
    }
    return reused;
  }
}
