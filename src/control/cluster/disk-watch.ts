/**
 * Notices that this node's disk has stopped taking writes, while everything else goes on.
 *
 * Such a node is worse than a dead one: as a leader it keeps its followers content with heartbeats,
 * and commits by their disks what its own has not; as a follower it would ask for elections that it
 * cannot serve after (etcd #15247: a leader stuck in fdatasync went on revoking leases).
 *
 * So a leader hands over to the follower that is furthest, when the others are a majority without
 * it; and when nobody has taken over in an election timeout it stops leading.
 *
 * Counted in ticks and not in milliseconds, since ticks do not count the time in which this process
 * itself stood still: then the write was done and only the news of it waited.
 *
 * @module
 */
import { formatNodeId, type NodeId } from "../../base/ids.ts";
import type { Log } from "../../base/log.ts";
import type { Raft } from "../raft/raft.ts";
import type { GroupView } from "./group-view.ts";
import { DISK_RESIGN_TICKS, DISK_STALL_TICKS } from "./limits.ts";
import type { AppendQueue } from "./requests/append-queue.ts";

/** What is watched, and what is told. */
export interface DiskWatchHost {
  readonly appends: Pick<AppendQueue, "pendingCount" | "durableCount">;
  readonly view: Pick<GroupView, "isLeader" | "otherVoters">;
  readonly raft: Pick<Raft, "status" | "transferLeadership" | "resign">;
  readonly log: Log;
}

/** Watches the appends of one node. */
export class DiskWatch {
  readonly #host: DiskWatchHost;
  #durableCount = 0;
  /** Since the last sign of life of a disk that is waited for. */
  #waitTicks = 0;

  constructor(host: DiskWatchHost) {
    this.#host = host;
  }

  /** Nothing became durable for long, although something waits. */
  get isStalled(): boolean {
    return this.#waitTicks >= DISK_STALL_TICKS;
  }

  /** `tickCount` ticks have passed. A leader whose disk has stalled gives way. */
  tick(tickCount: number): void {
    const { pendingCount, durableCount } = this.#host.appends;
    const moves = pendingCount === 0 || durableCount !== this.#durableCount;
    this.#durableCount = durableCount;
    this.#waitTicks = moves ? 0 : this.#waitTicks + tickCount;
    if (this.isStalled) this.#giveWay();
  }

  #giveWay(): void {
    const { view, raft, log } = this.#host;
    const targets = view.isLeader() ? view.otherVoters() : [];
    if (targets.length === 0) return;
    if (this.#waitTicks >= DISK_RESIGN_TICKS) {
      log.warn("the disk takes no writes: this node stops leading");
      raft.resign();
      return;
    }
    const { progress, leadTransferee } = raft.status();
    const matchOf = (id: NodeId) => progress?.get(id)?.match ?? 0;
    const [target] = [...targets].sort((a, b) => matchOf(b) - matchOf(a));
    if (target === undefined || leadTransferee !== undefined) return;
    log.warn("the disk takes no writes: leadership is handed over", { to: formatNodeId(target) });
    raft.transferLeadership(target);
  }
}
