/**
 * What goes wrong, and when: draws one of the seed's faults now and then, and undoes them all when
 * the cluster is to heal.
 *
 * @module
 */
import type { SimRandom } from "./sim-random.ts";
import type { World } from "./world.ts";

/** One kind of fault. */
export interface Fault {
  readonly name: string;
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

  #plan(): void {
    const { world, random } = this;
    world.later(random.exponential(world.scenario.faultMeanMs), "nemesis", "fault", () => {
      if (this.#isStopped) return;
      const fault = random.pick(this.#faults);
      if (fault.start(this)) this.fired(fault.name);
      this.#plan();
    });
  }
}
