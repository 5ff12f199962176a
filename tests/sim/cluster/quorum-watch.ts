/**
 * A leader that hears from no quorum must step down (thesis §6.2): it would keep its clients
 * waiting, and whoever trusts leaders by time would be misled.
 *
 * Counted in the leader's own ticks since a quorum last got a message through to it.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import type { Driver } from "../../../src/control/cluster/driver.ts";
import { ELECTION_TICKS, TICK_MS } from "../../../src/control/cluster/limits.ts";
import type { SimNode } from "./sim-node.ts";
import { must } from "./violation.ts";
import type { World } from "./world.ts";

/**
 * Two checks, since what was heard right after one counts for the next; each may come a timeout
 * late, when leadership transfers put it off; and some slack.
 */
const TICKS_MAX = 4 * ELECTION_TICKS + 3;

/** Watches the leaders of one simulation. */
export class QuorumWatch {
  /** Per node: at which of its ticks it last heard from each other. */
  readonly #heard = new Map<NodeId, Map<NodeId, number>>();
  /** Per node, over all its runs. */
  readonly #ticks = new Map<NodeId, number>();

  constructor(world: World) {
    world.network.arrived = (from, to) => this.#heardFrom(to).set(from, this.#tickOf(to));
    world.companionFactories.push((node, { driver, process }) => {
      const clock = node.clock.portFor(process);
      let since: number | undefined;
      // New members had no time to answer yet.
      const restart = () => {
        since = undefined;
      };
      const undo = driver.onMembership(restart);
      const cancel = clock.every(TICK_MS, () => {
        const tick = this.#tickOf(node.id) + 1;
        this.#ticks.set(node.id, tick);
        if (!driver.isLeader()) since = undefined;
        else {
          since ??= tick;
          this.#check(node, driver, since);
        }
      });
      return {
        stop() {
          cancel();
          undo();
        },
      };
    });
  }

  #tickOf(node: NodeId): number {
    return this.#ticks.get(node) ?? 0;
  }

  #heardFrom(node: NodeId): Map<NodeId, number> {
    const known = this.#heard.get(node) ?? new Map<NodeId, number>();
    this.#heard.set(node, known);
    return known;
  }

  #check(node: SimNode, driver: Driver, since: number): void {
    const now = this.#tickOf(node.id);
    const heard = this.#heardFrom(node.id);
    const { voters, votersOutgoing } = driver.confState;
    const isHeard = (id: NodeId) =>
      id === node.id || now - Math.max(heard.get(id) ?? 0, since) <= TICKS_MAX;
    const hasQuorum = [voters, votersOutgoing].every(
      (half) => half.length === 0 || half.filter(isHeard).length > half.length / 2,
    );
    must(
      hasQuorum,
      "a leader without a quorum steps down",
      () => `node ${node.id} leads term ${driver.role.term} and hears from no quorum`,
    );
  }
}
