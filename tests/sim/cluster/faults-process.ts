/**
 * Faults of processes, machines and their clocks.
 *
 * @module
 */
import type { Fault, Nemesis } from "./nemesis.ts";
import type { SimNode } from "./sim-node.ts";

/** Effects on the outside of one short run: some messages, some writes. */
const CRASH_TOUCHES_MAX = 12;
const CRASH_LOOP_TOUCHES_MAX = 150;
const HOUR_MS = 3_600_000;

export const PROCESS_FAULTS: readonly Fault[] = [
  onSomeNode("process.crash", (_, node) => node.crash()),
  // Between any two effects, in the middle of whatever the node is doing then.
  onSomeNode("process.crash-at-await", ({ random }, node) => {
    node.process?.killAfter(random.below(CRASH_TOUCHES_MAX));
  }),
  onSomeNode("process.crash-loop", (nemesis, node) => {
    const before = node.restartMeanMs;
    node.touchesMax = CRASH_LOOP_TOUCHES_MAX;
    node.restartMeanMs = 10;
    node.crash();
    nemesis.lasting(nemesis.random.between(500, 4_000), "crash loop", () => {
      node.touchesMax = undefined;
      node.restartMeanMs = before;
    });
  }),
  onSomeNode("process.down-long", (nemesis, node) => stayDown(nemesis, node, () => node.crash())),
  onSomeNode("process.pause", (nemesis, node) => {
    node.process?.pause();
    const { random } = nemesis;
    const process = node.process;
    nemesis.lasting(random.exponential(1_500), "pause", () => {
      process?.resume(random.chance(0.5));
    });
  }),
  onSomeNode("machine.power-loss", (_, node) => node.losePower()),
  onSomeNode("machine.down-long", (nemesis, node) =>
    stayDown(nemesis, node, () => node.losePower()),
  ),
  {
    name: "machine.power-loss-all",
    start({ world }) {
      for (const node of world.upNodes()) node.losePower();
      return true;
    },
  },
  // More than the cluster can do without: nothing may be written until enough are back.
  {
    name: "machine.quorum-loss",
    start(nemesis) {
      const { world, random } = nemesis;
      const up = random.shuffled(world.upNodes());
      const { voters } = world.safety.config;
      const isFree = (node: SimNode) =>
        voters.includes(node.id) && node.restartMeanMs !== undefined && !node.isPaused;
      const chosen = up.filter(isFree).slice(0, Math.ceil(voters.length / 2));
      if (chosen.length * 2 < voters.length) return false;
      for (const node of chosen) stayDown(nemesis, node, () => node.losePower());
      return true;
    },
  },
  onSomeNode("clock.freeze", (nemesis, node) => {
    const { process, clock } = node;
    const { rate } = clock;
    process?.pause();
    clock.setRate(0);
    node.frozenCount += 1;
    nemesis.lasting(nemesis.random.exponential(3_000), "freeze", () => {
      clock.setRate(rate);
      process?.resume(false);
    });
  }),
  {
    name: "clock.drift",
    start({ world, random }) {
      const { clockDriftMax } = world.scenario;
      for (const { clock } of world.nodes.values()) {
        if (clock.rate > 0) clock.setRate(1 + random.between(-clockDriftMax, clockDriftMax));
      }
      return true;
    },
  },
  onSomeNode("clock.wall-jump", ({ random }, node) => {
    node.clock.jumpWall(random.between(-HOUR_MS, HOUR_MS));
  }),
];

function stayDown(nemesis: Nemesis, node: SimNode, end: () => void): void {
  const before = node.restartMeanMs;
  node.restartMeanMs = undefined;
  end();
  nemesis.lasting(nemesis.random.between(2_000, 25_000), "long outage", () => {
    node.restartMeanMs = before;
    node.start();
  });
}

/** A fault of a node that runs, is not paused and is not in another such fault. */
function onSomeNode(name: string, strike: (nemesis: Nemesis, node: SimNode) => void): Fault {
  return {
    name,
    start(nemesis) {
      const isFree = ({ isPaused, clock, restartMeanMs, touchesMax }: SimNode) =>
        !isPaused && clock.rate > 0 && restartMeanMs !== undefined && touchesMax === undefined;
      const node = nemesis.target(nemesis.world.upNodes().filter(isFree));
      if (node === undefined) return false;
      strike(nemesis, node);
      return true;
    },
  };
}
