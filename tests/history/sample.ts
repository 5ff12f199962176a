/**
 * A history without fault, as a store in one place would give it: for tests of the checkers, which
 * spoil it.
 *
 * @module
 */
import { SimRandom } from "../sim/cluster/sim-random.ts";
import type { Call, FinalState, History, WatchedEvent, WatchSession } from "./history.ts";
import { execute, type GroupState, type Step, type Told, type Transaction } from "./transaction.ts";

const GROUPS = ["/h/0-0/", "/h/1-0/"] as const;
const LETTERS = ["a", "b", "c"] as const;
const CALL_COUNT = 400;
const START = 7;
const NODES = ["h1", "h2", "h3"] as const;
/** Each takes so long, and begins so long after the one before: they overlap. */
const CALL_MS = 30;
const STEP_MS = 10;

interface KeyState {
  version: number;
  createRevision: number;
}

/** Calls that overlap, take effect in their middle, and are told to two watches. */
export function sampleHistory(seed: number): History {
  const random = new SimRandom(seed);
  const states = new Map<string, GroupState>(GROUPS.map((group) => [group, new Map()]));
  const keys = new Map<string, KeyState>();
  const calls: Call[] = [];
  const events: WatchedEvent[] = [];
  let revision = START;
  for (let id = 1; id <= CALL_COUNT; id++) {
    const group = random.pick(GROUPS);
    const state = states.get(group) ?? new Map();
    const transaction = draw(random, { group, state, id });
    const outcome = execute(state, transaction, { revision: revision + 1 });
    if (outcome.effects.length > 0) revision += 1;
    states.set(group, outcome.state);
    const callTime = id * STEP_MS;
    const time = callTime + CALL_MS / 2;
    for (const [i, { key, value }] of outcome.effects.entries()) {
      const isLast = i === outcome.effects.length - 1;
      const before = state.get(key);
      const previous =
        before === undefined ? null : { value: before.value, revision: before.revision ?? 0 };
      const event = eventOf(keys, { key, value, revision });
      events.push({ ...event, previous, time: time + 1, isLast });
    }
    const told: Told = { succeeded: outcome.succeeded, revision, results: outcome.results };
    const isLost = outcome.effects.length > 0 && random.chance(0.1);
    calls.push({
      id,
      node: random.pick(NODES),
      run: 1,
      consistency: "linear",
      transaction,
      callTime,
      returnTime: callTime + CALL_MS,
      outcome: isLost ? { kind: "unknown", why: "no answer" } : { kind: "told", told },
    });
  }
  const finals = NODES.map((node) => finalState(node, { revision, states, keys }));
  const sessions = sessionsOf(events, revision);
  return { calls, sessions, finals, startRevision: START, prefix: "/h/" };
}

function draw(
  random: SimRandom,
  { group, state, id }: { readonly group: string; readonly state: GroupState; readonly id: number },
): Transaction {
  const [key, other] = random.shuffled(LETTERS.map((letter) => group + letter));
  if (key === undefined || other === undefined) throw new Error("A group has several keys");
  const put = (name: string): Step => ({ kind: "put", key: name, value: `v${id}.${name}` });
  const seen = state.get(key)?.revision ?? 0;
  const revision = random.chance(0.6) ? seen : seen + 1_000;
  const conditions = [{ key, is: { kind: "revision", revision } as const }];
  const get: Step = { kind: "get", key };
  const whole: Step = { kind: "list" };
  const choices: Omit<Transaction, "group">[] = [
    { conditions: [], success: [get], failure: [] },
    { conditions: [], success: [whole], failure: [] },
    { conditions: [], success: [put(key)], failure: [] },
    { conditions, success: [put(key)], failure: [get] },
    { conditions: [], success: [{ kind: "delete", key }], failure: [] },
    { conditions, success: [{ kind: "delete", key }, put(other), whole], failure: [whole] },
    { conditions: [], success: [put(key), put(other)], failure: [] },
  ];
  return { group, ...random.pick(choices) };
}

function eventOf(
  keys: Map<string, KeyState>,
  change: { readonly key: string; readonly value: string | undefined; readonly revision: number },
): Omit<WatchedEvent, "time" | "isLast"> {
  const { key, value, revision } = change;
  if (value === undefined) {
    keys.delete(key);
    return { key, value, revision };
  }
  const before = keys.get(key) ?? { version: 0, createRevision: revision };
  const now = { ...before, version: before.version + 1 };
  keys.set(key, now);
  return { key, value, revision, ...now };
}

/** One watch of everything that moves in the middle, between two revisions; one of a group. */
function sessionsOf(events: readonly WatchedEvent[], end: number): WatchSession[] {
  const middle = events[Math.floor(events.length / 2)]?.revision ?? 0;
  const part = (first: number, last: number, prefix: string) => {
    const chosen = events.filter((event) => event.revision > first && event.revision <= last);
    const kept = chosen.filter(({ key }) => key.startsWith(prefix));
    const bookmarks = [{ revision: last, position: kept.length }];
    return { prefix, after: first, events: kept, bookmarks };
  };
  return [
    { watcher: "all", node: "h1", ...part(START, middle, "") },
    { watcher: "all", node: "h2", ...part(middle, end, "") },
    { watcher: "group", node: "h3", ...part(START, end, GROUPS[0]) },
  ];
}

function finalState(
  node: string,
  all: {
    readonly revision: number;
    readonly states: ReadonlyMap<string, GroupState>;
    readonly keys: ReadonlyMap<string, KeyState>;
  },
): FinalState {
  const items = [...all.states.values()].flatMap((state) =>
    [...state].map(([key, item]) => {
      const { version = 0, createRevision = 0 } = all.keys.get(key) ?? {};
      return { key, value: item.value, modRevision: item.revision ?? 0, version, createRevision };
    }),
  );
  return { node, revision: all.revision, items };
}
