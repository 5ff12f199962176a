/**
 * What keeps the store in order by itself: keys whose time is over are deleted, and the replicas'
 * states are compared.
 *
 * Both are commands through the log. The leader proposes expiries, and asks for a comparison when
 * enough entries have passed; every voter, the leader included, answers with its own digest
 * (control/kv/check.ts). Looks about once a second; a proposal that fails is made again later.
 *
 * @module
 */
import type { Index, NodeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Cluster, ClusterStatus } from "../control/cluster/types.ts";
import { checkState } from "../control/kv/check.ts";
import { KeyClock } from "../control/kv/key-clock.ts";
import type { KvMachine, StateDigest } from "../control/kv/types.ts";
import type { Clock } from "../host/ports.ts";

const LOOK_INTERVAL_MS = 1_000;

export interface StoreKeeperOptions {
  readonly nodeId: NodeId;
  readonly cluster: Pick<Cluster, "execute" | "onRole"> & {
    status(): Pick<ClusterStatus, "role" | "memberRole" | "term" | "voterCount">;
  };
  readonly machine: Pick<KvMachine, "ttls" | "checks">;
  readonly clock: Clock;
  readonly log: Log;
}

/** The store's keeper on one node, for as long as the node is in one cluster. */
export class StoreKeeper {
  readonly #options: StoreKeeperOptions;
  readonly #keyClock = new KeyClock();
  readonly #undo: readonly (() => void)[];
  /** Entry about which this node has given its word, or is about to. */
  #answered: Index | undefined;

  constructor(options: StoreKeeperOptions) {
    this.#options = options;
    const { cluster, clock } = options;
    this.#undo = [
      cluster.onRole(() => this.#onRole()),
      clock.every(LOOK_INTERVAL_MS, () => this.#look()),
    ];
    this.#onRole();
  }

  close(): void {
    for (const undo of this.#undo) undo();
  }

  #onRole(): void {
    const { cluster, clock } = this.#options;
    const { role, term } = cluster.status();
    if (role === "leader") this.#keyClock.becameLeader(term, clock.nowMs());
    else this.#keyClock.lostLeadership();
  }

  #look(): void {
    const { role, memberRole } = this.#options.cluster.status();
    if (role === "leader") void this.#expire();
    if (memberRole === "voter") void this.#check(role === "leader");
  }

  async #expire(): Promise<void> {
    const { cluster, machine, clock, log } = this.#options;
    for (const command of this.#keyClock.look(machine.ttls, clock.nowMs())) {
      const result = await cluster.execute(command);
      // The clock gives again what was not done.
      if (!result.ok) return;
      if (result.value.kind !== "expired") continue;
      log.debug("keys expired", { count: result.value.keys.length });
    }
  }

  /** Gives this node's word about the newest entry that the leader has asked about, or asks. */
  async #check(isLeader: boolean): Promise<void> {
    const { cluster, machine, nodeId, log } = this.#options;
    const digest = isLeader ? machine.checks.latest() : this.#asked();
    if (digest === undefined || digest.index <= (this.#answered ?? 0)) return;
    const before = this.#answered;
    this.#answered = digest.index;
    const { voterCount } = cluster.status();
    const result = await cluster.execute(checkState(digest, { node: nodeId, voterCount }));
    if (result.ok) log.debug("state digest told", { index: digest.index });
    else if (this.#answered === digest.index) this.#answered = before;
  }

  #asked(): StateDigest | undefined {
    const { checks } = this.#options.machine;
    return checks.asked === undefined ? undefined : checks.at(checks.asked);
  }
}
