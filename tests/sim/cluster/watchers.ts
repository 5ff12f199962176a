/**
 * Watchers of the store: each follows a prefix on one node, goes on at another when that one ends,
 * and holds every event it gets against the one history.
 *
 * The guarantees are etcd's: ordered, unique, reliable, atomic, resumable, bookmarkable, previous
 * values (`replay.ts`); filtered by prefix.
 *
 * @module
 */
import { decodeRevision } from "../../../src/base/ids.ts";
import type { KvEvent } from "../../../src/control/kv/types.ts";
import { stepWatch, type WatchCursor } from "../../../src/control/kv/watch.ts";
import type { SimNode } from "./sim-node.ts";
import { must } from "./violation.ts";
import type { World } from "./world.ts";

const PREFIXES = ["", "/sim/", "/sim/1", "/overlay/"];
const MOVE_CHANCE = 0.01;

interface Watcher {
  readonly name: string;
  cursor: WatchCursor;
  /** Where it watches. */
  node: SimNode | undefined;
}

/** All watchers of one simulation. */
export class Watchers {
  readonly #world: World;
  readonly #watchers: Watcher[];

  constructor(world: World) {
    this.#world = world;
    this.#watchers = PREFIXES.map((prefix) => ({
      name: `watcher of "${prefix}"`,
      cursor: { prefix, after: decodeRevision(0) },
      node: undefined,
    }));
    world.companionFactories.push((node, { driver, process }) => {
      const undo = driver.onApplied(() => {
        if (process.isAlive) this.#told(node);
      });
      return { stop: undo };
    });
  }

  /** How far the slowest one is. */
  get slowestRevision(): number {
    return Math.min(...this.#watchers.map((watcher) => watcher.cursor.after));
  }

  /** Has every watcher look, those that are behind on the leader. */
  lookAll(): void {
    for (const watcher of this.#watchers) {
      if (watcher.cursor.after < this.#world.replay.revision) watcher.node = this.#world.leader();
      this.#look(watcher);
    }
  }

  #told(node: SimNode): void {
    for (const watcher of this.#watchers) {
      if (watcher.node?.machine === undefined || this.#world.random.chance(MOVE_CHANCE)) {
        watcher.node = this.#world.random.maybePick(this.#world.upNodes());
        this.#world.coverage.hit("sometimes.watch-resumed");
      }
      if (watcher.node === node) this.#look(watcher);
    }
  }

  #look(watcher: Watcher): void {
    const machine = watcher.node?.machine;
    if (machine === undefined) return;
    const step = stepWatch(machine.history, watcher.cursor);
    if (step.kind === "compacted") {
      const { oldestRevision } = step;
      must(
        oldestRevision > watcher.cursor.after,
        "watch: resumable while nothing is forgotten",
        () => `${watcher.name}: ${watcher.cursor.after} is not before ${oldestRevision}`,
      );
      this.#world.coverage.hit("sometimes.watch-compacted");
      this.#list(watcher, machine);
      return;
    }
    const { prefix, after } = watcher.cursor;
    let last: number = after;
    const batches = new Map(step.batches.map((batch) => [batch.revision as number, batch.events]));
    for (const { revision } of step.batches) {
      must(revision > last, "watch: ordered", () => `${watcher.name}: ${revision} after ${last}`);
      last = revision;
    }
    for (let revision = after + 1; revision <= step.cursor.after; revision++) {
      const wanted = this.#world.replay
        .eventsAt(revision)
        .filter((event) => keyOf(event).startsWith(prefix));
      const got = batches.get(revision) ?? [];
      must(
        Bun.deepEquals(got, wanted),
        "watch: reliable and atomic",
        () => `${watcher.name} got ${got.length} of ${wanted.length} events of ${revision}`,
      );
    }
    watcher.cursor = step.cursor;
  }

  /** The past is forgotten: starts over from what is there. */
  #list(watcher: Watcher, machine: NonNullable<SimNode["machine"]>): void {
    const { reader } = machine;
    const { prefix, after } = watcher.cursor;
    // A node that lags may not know yet what was delivered: another look will tell.
    if (reader.revision < after) return;
    for (const pair of reader.list(prefix)) {
      this.#world.replay.checkRead(watcher.node?.id ?? 0, reader, pair.key);
    }
    watcher.cursor = { prefix, after: reader.revision };
  }
}

function keyOf(event: KvEvent): string {
  return event.kind === "put" ? event.current.key : event.key;
}
