/**
 * Faults of the network: cuts of every shape, slow and broken connections, storms of loss.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import type { Fault, Nemesis } from "./nemesis.ts";
import type { NetworkWeather } from "./sim-network.ts";

type Pair = readonly [from: NodeId, to: NodeId];

export const NETWORK_FAULTS: readonly Fault[] = [
  cutting("net.isolate", (nemesis, ids) => {
    const one = someNode(nemesis, ids);
    return pairs(ids, (from, to) => from === one || to === one);
  }),
  cutting("net.split", ({ random }, ids) => {
    const side = new Set(ids.filter(() => random.chance(0.5)));
    return pairs(ids, (from, to) => side.has(from) !== side.has(to));
  }),
  cutting("net.one-way", (nemesis, ids) => {
    const { random } = nemesis;
    const one = someNode(nemesis, ids);
    const isOutward = random.chance(0.5);
    const other = random.chance(0.5) ? random.pick(ids) : undefined;
    return pairs(ids, (from, to) => {
      const [near, far] = isOutward ? [from, to] : [to, from];
      return near === one && (other === undefined || far === other);
    });
  }),
  cutting("net.bridge", ({ random }, ids) => {
    const [bridge, ...others] = random.shuffled(ids);
    const side = new Set(others.filter((_, position) => position % 2 === 0));
    const isCut = (from: NodeId, to: NodeId) =>
      from !== bridge && to !== bridge && side.has(from) !== side.has(to);
    return pairs(ids, isCut);
  }),
  {
    name: "net.flap",
    start(nemesis) {
      const pair = somePair(nemesis);
      if (pair === undefined) return false;
      flap(nemesis, pair, nemesis.random.integer(3, 12));
      return true;
    },
  },
  onSomePair("net.break", ({ world }, [from, to]) => world.network.breakConnection(from, to)),
  onSomePair("net.clog-link", ({ world, random }, [from, to]) => {
    world.network.clog(from, to, world.scheduler.nowMs + random.between(100, 3_000));
  }),
  onSomePair("net.throttle", (nemesis, [from, to]) => {
    const { network } = nemesis.world;
    const { random } = nemesis;
    network.slow(from, to, { delayMs: random.between(10, 400), times: random.between(5, 50) });
    nemesis.lasting(random.between(500, 6_000), "throttle", () =>
      network.slow(from, to, { delayMs: 0, times: 1 }),
    );
  }),
  storm("net.loss-storm", (weather, share) => {
    weather.dropChance = share * 0.6;
  }),
  storm("net.duplicate-storm", (weather, share) => {
    weather.duplicateChance = share;
  }),
  storm("net.corrupt-storm", (weather, share) => {
    weather.corruptChance = share * 0.1;
  }),
];

function nodeIds({ world }: Nemesis): NodeId[] {
  return [...world.nodes.values()].filter((node) => node.state !== "lost").map((node) => node.id);
}

function someNode(nemesis: Nemesis, ids: readonly NodeId[]): NodeId {
  return nemesis.target(nemesis.world.upNodes())?.id ?? nemesis.random.pick(ids);
}

function pairs(ids: readonly NodeId[], wanted: (from: NodeId, to: NodeId) => boolean): Pair[] {
  return ids.flatMap((from) =>
    ids.filter((to) => from !== to && wanted(from, to)).map((to): Pair => [from, to]),
  );
}

/** A fault that loses everything on some links for a while. */
function cutting(
  name: string,
  choose: (nemesis: Nemesis, ids: readonly NodeId[]) => readonly Pair[],
): Fault {
  return {
    name,
    start(nemesis) {
      const ids = nodeIds(nemesis);
      if (ids.length < 2) return false;
      const { network } = nemesis.world;
      const chosen = choose(nemesis, ids);
      if (chosen.length === 0) return false;
      for (const [from, to] of chosen) network.cut(from, to);
      nemesis.partitionCount += 1;
      nemesis.lasting(nemesis.random.exponential(3_000), name, () => {
        nemesis.partitionCount -= 1;
        for (const [from, to] of chosen) network.mend(from, to);
      });
      return true;
    },
  };
}

function somePair(nemesis: Nemesis): Pair | undefined {
  return nemesis.random.maybePick(pairs(nodeIds(nemesis), () => true));
}

function onSomePair(name: string, strike: (nemesis: Nemesis, pair: Pair) => void): Fault {
  return {
    name,
    start(nemesis) {
      const pair = somePair(nemesis);
      if (pair === undefined) return false;
      strike(nemesis, pair);
      return true;
    },
  };
}

function flap(nemesis: Nemesis, [from, to]: Pair, timesLeft: number): void {
  if (timesLeft === 0 || nemesis.isStopped) return;
  const { network } = nemesis.world;
  network.breakConnection(from, to);
  network.cut(from, to);
  network.cut(to, from);
  nemesis.lasting(nemesis.random.between(20, 300), "flap", () => {
    network.mend(from, to);
    network.mend(to, from);
    nemesis.world.later(nemesis.random.between(20, 300), "nemesis", "flap", () =>
      flap(nemesis, [from, to], timesLeft - 1),
    );
  });
}

/** A fault that changes the weather for a while. */
function storm(name: string, change: (weather: NetworkWeather, share: number) => void): Fault {
  return {
    name,
    start(nemesis) {
      const { network, scenario } = nemesis.world;
      const { weather } = network;
      change(weather, nemesis.random.fraction());
      nemesis.lasting(nemesis.random.exponential(1_500), name, () => {
        const { dropChance, duplicateChance, corruptChance } = scenario.network;
        Object.assign(weather, { dropChance, duplicateChance, corruptChance });
      });
      return true;
    },
  };
}
