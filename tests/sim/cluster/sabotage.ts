/**
 * Clusters that lie: what the nodes do is right, what is passed on to clients and watchers is not,
 * or the network never heals. Each lie is one that a check of the simulator must find.
 *
 *     bun sabotage.ts     tries them all, and prints which property each was found to break
 *
 * A program of its own: what nobody catches would end the test runner's process, too.
 *
 * @module
 */
import { decodeRevision } from "../../../src/base/ids.ts";
import { err, ok, type Result } from "../../../src/base/result.ts";
import type { Driver } from "../../../src/control/cluster/driver.ts";
import type { ClusterFailure, ExecuteOptions } from "../../../src/control/cluster/types.ts";
import type { Command, KvMachine, RevisionEvents } from "../../../src/control/kv/types.ts";
import { drawScenario, type Scenario } from "./scenario.ts";
import { simulate } from "./simulate.ts";
import type { World } from "./world.ts";

/** A lie and the property that it breaks; undefined: it is none. */
export interface Sabotage {
  readonly name: string;
  readonly breaks: string | undefined;
  readonly start: (world: World) => void;
}

const SEEDS_MAX = 8;
const LIE_CHANCE = 0.05;
const CALM: Partial<Scenario> = {
  ...{ voterCount: 3, isAutopilot: false, faults: [], ttlKeyCount: 0, compactMeanMs: undefined },
  ...{ snapshotEntries: undefined, leaseNetwork: undefined },
};
const REFUSAL: ClusterFailure = { kind: "no_leader", detail: "Cannot write to the cluster" };
const UNFIT = "watch: reliable and atomic";

/** Changes each driver or state machine when its run begins. */
function onRun(change: (driver: Driver, machine: KvMachine, world: World) => void) {
  return (world: World) => {
    world.companionFactories.push((_, { driver, machine }) => {
      change(driver, machine, world);
      return { stop: () => undefined };
    });
  };
}

/** Has every watch see the history as `change` makes it. */
function onHistory(change: (all: readonly RevisionEvents[]) => readonly RevisionEvents[]) {
  return onRun((_, { history }) => {
    const from = history.from.bind(history);
    history.from = (revision) => {
      const all = from(revision);
      return all === undefined ? undefined : change([...all]);
    };
  });
}

/** Answers some writes with `lie` in place of what is true. */
function onWrite(
  isMade: boolean,
  lie: (driver: Driver) => Result<unknown, ClusterFailure>,
): (world: World) => void {
  return onRun((driver, _, world) => {
    const execute = driver.execute.bind(driver);
    driver.execute = async <Outcome>(command: Command<Outcome>, options: ExecuteOptions = {}) => {
      const isTrue = command.kind !== "txn" || !world.random.chance(LIE_CHANCE);
      if (isTrue) return execute(command, options);
      if (isMade) await execute(command, options);
      return lie(driver) as Result<Outcome, ClusterFailure>;
    };
  });
}

export const SABOTAGES: readonly Sabotage[] = [
  { name: "nothing is wrong", breaks: undefined, start: () => undefined },
  {
    name: "a write is acknowledged and was never made",
    breaks: "no acknowledged write is lost",
    start: onWrite(false, ({ reader }) => {
      const results = [{ kind: "put" }];
      return ok({ kind: "done", succeeded: true, revision: reader.revision, results });
    }),
  },
  {
    name: "a write is refused and made all the same",
    breaks: "a refused write never happens",
    start: onWrite(true, () => err(REFUSAL)),
  },
  {
    name: "a read does not wait for the leader",
    breaks: "answers follow real time",
    start: onRun((driver) => {
      driver.readBarrier = () => Promise.resolve(ok(undefined));
    }),
  },
  {
    name: "a node shows another value than it has",
    breaks: "reads fit the history",
    start: onRun((_, { reader }) => {
      const get = reader.get.bind(reader);
      reader.get = (key) => {
        const pair = get(key);
        return pair === undefined ? undefined : { ...pair, modRevision: decodeRevision(1) };
      };
    }),
  },
  {
    name: "a list leaves out a key",
    breaks: "lists are complete",
    start: onRun((_, { reader }) => {
      const list = reader.list.bind(reader);
      reader.list = (prefix, after) =>
        [...list(prefix, after)].filter(({ key }) => !key.endsWith("/1"));
    }),
  },
  {
    name: "a watch leaves out a revision",
    breaks: UNFIT,
    start: onHistory((all) => all.filter(({ revision }) => revision % 7 !== 0)),
  },
  {
    name: "a watch leaves out an event of a revision",
    breaks: UNFIT,
    start: onHistory((all) =>
      all.map(({ revision, events }) => ({ revision, events: revision === 9 ? [] : events })),
    ),
  },
  {
    name: "a watch does not tell previous values",
    breaks: UNFIT,
    start: onHistory((all) =>
      all.map(({ revision, events }) => ({
        revision,
        events: events.map((event) =>
          event.kind === "put" ? { ...event, previous: undefined } : event,
        ),
      })),
    ),
  },
  {
    name: "a watch tells each revision twice",
    breaks: "watch: ordered",
    start: onHistory((all) => all.flatMap((each) => [each, each])),
  },
  {
    name: "a watch is said to be compacted",
    breaks: "watch: resumable while nothing is forgotten",
    start: onRun((_, { history }, world) => {
      const from = history.from.bind(history);
      history.from = (revision) => (world.random.chance(LIE_CHANCE) ? undefined : from(revision));
    }),
  },
  {
    name: "the network never heals",
    breaks: "liveness: a leader is elected",
    start(world) {
      world.network.heal = () => undefined;
      world.later(1_000, "nemesis", "cut for good", () => {
        for (const a of world.nodes.keys()) {
          for (const b of world.nodes.keys()) if (a !== b) world.network.cut(a, b);
        }
      });
    },
  },
  {
    name: "a checker falls over",
    breaks: "nothing fails",
    start(world) {
      world.firstListeners.push(() => {
        throw new Error("made on purpose");
      });
    },
  },
];

/** The property that is found broken within some seeds. */
async function found({ start }: Sabotage): Promise<string | undefined> {
  for (let seed = 1; seed <= SEEDS_MAX; seed++) {
    const scenario = { ...drawScenario(seed, "calm"), ...CALM };
    const { failure } = await simulate(scenario, { sabotage: start, tailSteps: 0 });
    if (failure !== undefined) return failure.property;
  }
  return undefined;
}

if (import.meta.main) {
  const outcomes: Record<string, string> = {};
  for (const sabotage of SABOTAGES) outcomes[sabotage.name] = (await found(sabotage)) ?? "";
  process.stdout.write(JSON.stringify(outcomes));
  process.exit(0);
}
