/**
 * Raises the cluster version as soon as all members read a newer one, while this node leads.
 *
 * The command that raises it needs the version that it names: whoever reads less stops there, and
 * meets nothing that came after. A node that was let in just before, or rolled back, is such a one.
 *
 * @module
 */
import type { Log } from "../../../base/log.ts";
import type { Clock } from "../../../host/ports.ts";
import { CLUSTER_VERSION_NEWEST, clusterVersion } from "../../kv/cluster-version.ts";
import { systemTxn } from "../../kv/txn.ts";
import type { KvEvent } from "../../kv/types.ts";
import type { Driver } from "../driver.ts";
import { MEMBERS_PREFIX, VERSIONS_PREFIX } from "../members/system-record.ts";
import { newestForAll, raiseTo } from "./node-versions.ts";

/** After a write that failed. */
const RETRY_MS = 1_000;

export interface VersionKeeperOptions {
  readonly driver: Driver;
  readonly clock: Clock;
  readonly log: Log;
}

/** The leader's hand in the cluster version; idle on every other node. */
export class VersionKeeper {
  readonly #options: VersionKeeperOptions;
  readonly #undo: readonly (() => void)[];
  #cancelRetry: () => void = () => undefined;
  #isRaising = false;
  #isStopped = false;

  constructor(options: VersionKeeperOptions) {
    this.#options = options;
    const { driver } = options;
    this.#undo = [
      driver.onRole(() => this.#look()),
      driver.onApplied((events) => {
        if (events.some(isAboutVersions)) this.#look();
      }),
    ];
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelRetry();
    for (const undo of this.#undo) undo();
  }

  #look(): void {
    const { driver } = this.#options;
    if (this.#isRaising || this.#isStopped || !driver.isLeader()) return;
    const present = clusterVersion(driver.reader);
    // Nothing to gain, which is so nearly always: a look at all members would be wasted.
    if (present >= CLUSTER_VERSION_NEWEST) return;
    const newest = newestForAll(driver.reader);
    if (newest > present) void this.#raise(newest);
  }

  async #raise(version: number): Promise<void> {
    const { driver, clock, log } = this.#options;
    this.#isRaising = true;
    const command = { ...systemTxn({ success: [raiseTo(version)] }), needs: version };
    const result = await driver.execute(command, { raisesVersion: true });
    this.#isRaising = false;
    if (result.ok) {
      log.info("cluster version raised", { version });
      this.#look();
    } else if (!this.#isStopped) {
      this.#cancelRetry = clock.after(RETRY_MS, () => this.#look());
    }
  }
}

function isAboutVersions(event: KvEvent): boolean {
  const key = event.kind === "put" ? event.current.key : event.key;
  return key.startsWith(VERSIONS_PREFIX) || key.startsWith(MEMBERS_PREFIX);
}
