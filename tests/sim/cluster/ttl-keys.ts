/**
 * Keys with a time to live: owners put and renew them on nodes of their choice, or forget them.
 * Beside each node runs what deletes them (`agent/store-keeper.ts`), the agent's own code.
 *
 * Checked in true time: no key goes before its time to live is over since it was last written or
 * renewed. In the end, when nobody renews any more, all go.
 *
 * @module
 */
import { StoreKeeper } from "../../../src/agent/store-keeper.ts";
import { decodeRevision } from "../../../src/base/ids.ts";
import { compact } from "../../../src/control/kv/compact.ts";
import type { ExpireKeysOutcome } from "../../../src/control/kv/expire-keys.ts";
import { type Operation, type Txn, type TxnOutcome, txn } from "../../../src/control/kv/txn.ts";
import type { Applied, ApplyContext, Command } from "../../../src/control/kv/types.ts";
import { createTraceLog } from "./trace-log.ts";
import { must } from "./violation.ts";
import type { World } from "./world.ts";

const PREFIX = "/ttl/";
const TTL_SECONDS_MAX = 4;
/** More than one command may end, so that the rest is ended by another. */
const STORM_KEYS = 120;
const VALUE = new Uint8Array(4);

interface Grant {
  readonly atMs: number;
  readonly ttlSeconds: number;
}

/** The keys and their owners. */
export class TtlKeys {
  readonly #world: World;
  /** Last write or renewal of each key, at the true time of its first application. */
  readonly #grants = new Map<string, Grant>();
  #isStopped = false;

  constructor(world: World) {
    this.#world = world;
    world.firstListeners.push((_, context, applied, command) =>
      this.#applied(context, applied, command),
    );
    world.companionFactories.push((node, { driver, process, machine }) => {
      const keeper = new StoreKeeper({
        nodeId: node.id,
        cluster: {
          execute: (command, options) => driver.execute(command, options),
          onRole: (listener) => driver.onRole(listener),
          status() {
            const { role, term } = driver.status();
            const { voters } = driver.confState;
            const memberRole = voters.includes(node.id) ? "voter" : "standby";
            return { role, term, memberRole, voterCount: voters.length };
          },
        },
        machine,
        clock: node.clock.portFor(process),
        log: createTraceLog(world, node.id),
      });
      return { stop: () => keeper.close() };
    });
    for (let i = 0; i < world.scenario.ttlKeyCount; i++) this.#own(`${PREFIX}${i}`);
    if (world.scenario.compactMeanMs !== undefined) this.#compactLater();
  }

  /** Nothing is written or renewed from now on. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Keys that are still to run out. */
  get openCount(): number {
    return this.#world.leader()?.machine?.ttls.size ?? 0;
  }

  /** Many keys that run out together. False when there is no node to ask. */
  storm(): boolean {
    const success: Operation[] = Array.from({ length: STORM_KEYS }, (_, i) => {
      return { kind: "put", key: `${PREFIX}storm/${i}`, value: VALUE, ttlSeconds: 1 };
    });
    return this.#execute(txn({ success }));
  }

  #own(key: string): void {
    const world = this.#world;
    const { random } = world;
    world.later(random.exponential(600), "client", `owner of ${key}`, () => {
      if (this.#isStopped) return;
      const ttlSeconds = random.integer(1, TTL_SECONDS_MAX);
      const success: Operation[] = random.chance(0.3)
        ? [{ kind: "put", key, value: VALUE, ttlSeconds }]
        : [{ kind: "renew", key, ...(random.chance(0.3) ? { ttlSeconds } : {}) }];
      // Now and then it is forgotten for long enough to run out.
      if (!random.chance(0.2)) this.#execute(txn({ success }));
      this.#own(key);
    });
  }

  #execute(command: Command): boolean {
    const { random } = this.#world;
    const node = random.maybePick(this.#world.upNodes());
    const { driver, process } = node ?? {};
    if (driver === undefined || process === undefined) return false;
    process.after(0.1, "client", () => void driver.execute(command), "owner's request");
    return true;
  }

  #compactLater(): void {
    const world = this.#world;
    const { random, scenario } = world;
    world.later(random.exponential(scenario.compactMeanMs ?? 0), "client", "compaction", () => {
      if (this.#isStopped) return;
      const revision = Math.max(0, world.replay.revision - random.below(40));
      this.#execute(compact(decodeRevision(revision)));
      world.coverage.hit("load.compaction");
      this.#compactLater();
    });
  }

  #applied(context: ApplyContext, { outcome }: Applied, command: Command): void {
    const { request } = context;
    // A retry is answered again, and does nothing.
    if (request !== undefined && this.#world.replay.find(request)?.index !== context.index) return;
    if (command.kind === "expire_keys") {
      const expired = outcome as ExpireKeysOutcome;
      if (expired.kind === "expired") for (const key of expired.keys) this.#expired(key);
    } else if (command.kind === "txn") {
      this.#granted(command as Txn, outcome as TxnOutcome);
    }
  }

  #granted(command: Txn, outcome: TxnOutcome): void {
    if (outcome.kind !== "done") return;
    const operations = outcome.succeeded ? command.success : command.failure;
    const atMs = this.#world.scheduler.nowMs;
    for (const [position, operation] of operations.entries()) {
      const result = outcome.results[position];
      if (operation.kind === "put" && operation.ttlSeconds !== undefined) {
        this.#grants.set(operation.key, { atMs, ttlSeconds: operation.ttlSeconds });
      } else if (result?.kind === "renew" && operation.kind === "renew" && result.ttlSeconds) {
        this.#world.coverage.hit("sometimes.key-renewed");
        this.#grants.set(operation.key, { atMs, ttlSeconds: result.ttlSeconds });
      }
    }
  }

  #expired(key: string): void {
    const { coverage, scenario, scheduler } = this.#world;
    coverage.hit("sometimes.key-expired");
    const grant = this.#grants.get(key);
    const ttlMs = ((grant?.ttlSeconds ?? 0) * 1000) / (1 + scenario.clockDriftMax);
    const passedMs = scheduler.nowMs - (grant?.atMs ?? 0);
    must(
      grant !== undefined && passedMs >= ttlMs - 1,
      "no key ends before its time",
      () => `${key} of ${grant?.ttlSeconds} s went after ${passedMs} ms`,
    );
  }
}
