/**
 * What goes wrong, and when: draws one of the seed's faults now and then, and undoes them all when
 * the cluster is to heal.
 *
 * @module
 */

import type { SimNode } from "./sim-node.ts";
import type { SimRandom } from "./sim-random.ts";
import type { World } from "./world.ts";

const LEADER_CHANCE = 0.4;
/** How often, and after how many steps, a patient fault is tried again. */
const PATIENCE_TRIES = 40;
const PATIENCE_STEPS = 10;

/** One kind of fault. */
export interface Fault {
  readonly name: string;
  /** Whether it waits for a moment at which it makes sense: such are rare. */
  readonly isPatient?: boolean;
  /** Begins it, and plans its end. False: it makes no sense now. */
  start(nemesis: Nemesis): boolean;
}

/** The bringer of faults of one simulation. */
export class Nemesis {
  readonly world: World;
  readonly #faults: readonly Fault[];
  readonly #undo = new Set<() => void>();
  #isStopped = false;
  /** Cuts that last now. */
  partitionCount = 0;

  constructor(world: World, faults: readonly Fault[]) {
    this.world = world;
    this.#faults = faults;
    if (faults.length > 0) this.#plan();
  }

  get random(): SimRandom {
    return this.world.random;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** One of `nodes`, with a liking for the leader: that is where most can go wrong. */
  target(nodes: readonly SimNode[]): SimNode | undefined {
    const leader = this.world.leader();
    if (leader !== undefined && nodes.includes(leader) && this.random.chance(LEADER_CHANCE)) {
      return leader;
    }
    return this.random.maybePick(nodes);
  }

  /** No new faults; those that last end now. */
  stop(): void {
    this.#isStopped = true;
    for (const end of [...this.#undo]) end();
  }

  /** Runs `end` once: after `durationMs`, or when everything heals. */
  lasting(durationMs: number, subject: string, end: () => void): void {
    const once = () => {
      if (this.#undo.delete(once)) end();
    };
    this.#undo.add(once);
    this.world.later(durationMs, "nemesis", `end of ${subject}`, once);
  }

  /** Notes that `name` happened. */
  fired(name: string, detail = ""): void {
    const { world } = this;
    world.coverage.hit(name);
    world.trace.note(world.scheduler.nowMs, 0, `${name} ${detail}`);
  }

  /**
   * Plans the next fault: by time, so that some come while nothing else happens, or by steps, so
   * that none is lost among those.
   */
  #plan(): void {
    const { world, random } = this;
    const { faultMeanMs, faultMeanSteps } = world.scenario;
    if (faultMeanMs !== undefined) {
      const delayMs = random.exponential(faultMeanMs);
      world.later(delayMs, "nemesis", "fault", () => this.#strike());
    } else {
      world.laterSteps(random.exponential(faultMeanSteps), () => this.#strike());
    }
  }

  #strike(): void {
    if (this.#isStopped) return;
    this.#try(this.random.pick(this.#faults), PATIENCE_TRIES);
    this.#plan();
  }

  #try(fault: Fault, triesLeft: number): void {
    if (this.#isStopped) return;
    if (fault.start(this)) this.fired(fault.name);
    else if (fault.isPatient && triesLeft > 0) {
      this.world.laterSteps(PATIENCE_STEPS, () => this.#try(fault, triesLeft - 1));
    }
  }
}
