/**
 * The store of one session for the admin API: linearizable reads, writes through the log, watches.
 *
 * Opened and closed with the session: a node that moves to another cluster ends the watches of the
 * one before.
 *
 * @module
 */
import type { Consistency, KvApi, KvState, Watch } from "../admin/kv-api.ts";
import type { ClusterFailure } from "../admin/service.ts";
import { Watches } from "../admin/watches.ts";
import { ok, type Result } from "../base/result.ts";
import type { Cluster } from "../control/cluster/types.ts";
import type { Compact, CompactOutcome } from "../control/kv/compact.ts";
import type { Txn, TxnOutcome } from "../control/kv/txn.ts";
import type { KvMachine } from "../control/kv/types.ts";
import type { WatchCursor } from "../control/kv/watch.ts";
import type { Clock } from "../host/ports.ts";

export interface KvServiceOptions {
  readonly cluster: Pick<Cluster, "execute" | "readBarrier" | "onApplied">;
  /** The one that `cluster` applies its log to. */
  readonly machine: Pick<KvMachine, "reader" | "history" | "ttls" | "checks">;
  readonly clock: Clock;
}

/** The store as the API sees it, for as long as the node is in one cluster. */
export class KvService implements KvApi {
  readonly #options: KvServiceOptions;
  readonly #watches: Watches;
  readonly #undo: () => void;

  constructor(options: KvServiceOptions) {
    this.#options = options;
    this.#watches = new Watches(options.machine, options.clock);
    this.#undo = options.cluster.onApplied(() => this.#watches.changed());
  }

  async read(consistency: Consistency): Promise<Result<KvState, ClusterFailure>> {
    if (consistency === "linearizable") {
      const barrier = await this.#options.cluster.readBarrier();
      if (!barrier.ok) return barrier;
    }
    return ok(this.#options.machine);
  }

  txn(command: Txn): Promise<Result<TxnOutcome, ClusterFailure>> {
    return this.#options.cluster.execute(command);
  }

  compact(command: Compact): Promise<Result<CompactOutcome, ClusterFailure>> {
    return this.#options.cluster.execute(command);
  }

  watch(cursor: WatchCursor): Result<Watch, ClusterFailure> {
    return this.#watches.open(cursor);
  }

  /** For metrics; names are snake case. */
  gauges(): readonly { readonly name: string; readonly help: string; readonly value: number }[] {
    const { ttls, history, checks } = this.#options.machine;
    const gauge = (name: string, help: string, value: number) => ({ name, help, value });
    return [
      gauge("store_oldest_revision", "Oldest revision kept on this node", history.oldestRevision),
      gauge("store_ttl_keys", "Keys with a time to live", ttls.size),
      gauge("store_watches", "Watches open on this node", this.#watches.count),
      gauge(
        "store_agreed_index",
        "Newest log index at which most voters had this node's state",
        checks.agreed ?? 0,
      ),
    ];
  }

  /** Ends all watches. */
  close(): void {
    this.#undo();
    this.#watches.close();
  }
}
