/**
 * A checker that cannot fail is worth nothing: a history without fault is accepted, and each thing
 * that a store may do wrong is found by the check that is there for it.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { checkHistory } from "./check.ts";
import type { Call, History, WatchedEvent, WatchSession } from "./history.ts";
import { sampleHistory } from "./sample.ts";
import { isChange, type Told } from "./transaction.ts";

type ToldCall = Call & { readonly outcome: { readonly kind: "told"; readonly told: Told } };

function toldCalls(history: History): ToldCall[] {
  return history.calls.filter((call): call is ToldCall => call.outcome.kind === "told");
}

/** `history` with one call replaced. */
function withCall(history: History, call: Call): History {
  return { ...history, calls: history.calls.map((each) => (each.id === call.id ? call : each)) };
}

function withTold(history: History, call: ToldCall, told: Partial<Told>): History {
  const outcome = { kind: "told", told: { ...call.outcome.told, ...told } } as const;
  return withCall(history, { ...call, outcome });
}

/** `history` with what `change` makes of the events of every watch. */
function withEvents(
  history: History,
  change: (events: readonly WatchedEvent[], session: WatchSession) => readonly WatchedEvent[],
): History {
  const sessions = history.sessions.map((session) => {
    return { ...session, events: change(session.events, session) };
  });
  return { ...history, sessions };
}

/** An acknowledged plain put from the middle of `history`. */
function somePut(history: History): ToldCall {
  return middle(
    toldCalls(history).filter(({ transaction }) => {
      const { success, conditions } = transaction;
      return success.length === 1 && success[0]?.kind === "put" && conditions.length === 0;
    }),
  );
}

/** A get that found something. */
function someGet(history: History): ToldCall {
  return middle(
    toldCalls(history).filter(({ outcome }) => {
      const result = outcome.told.results?.[0];
      return outcome.told.results?.length === 1 && result?.kind === "get" && result.item !== null;
    }),
  );
}

function middle<Item>(items: readonly Item[]): Item {
  const item = items[Math.floor(items.length / 2)];
  if (item === undefined) throw new Error("The sample has none of these");
  return item;
}

function revisionOf(call: ToldCall): number {
  const { revision } = call.outcome.told;
  if (revision === undefined) throw new Error("The call was told no revision");
  return revision;
}

interface Spoiled {
  readonly name: string;
  /** Checks of which each must find something. */
  readonly checks: readonly string[];
  spoil(history: History): History;
}

const SPOILED: readonly Spoiled[] = [
  {
    name: "an acknowledged write that no watch tells of",
    checks: ["watches: nothing left out"],
    spoil: (history) => {
      const revision = revisionOf(somePut(history));
      return withEvents(history, (events) => events.filter((each) => each.revision !== revision));
    },
  },
  {
    name: "an acknowledged write that is gone in the end",
    checks: ["no acknowledged write lost"],
    spoil: (history) => {
      const finals = history.finals.map((final) => ({ ...final, items: final.items.slice(1) }));
      return { ...history, finals };
    },
  },
  {
    name: "nodes that differ in the end",
    checks: ["replicas are equal"],
    spoil: (history) => {
      const [first, ...rest] = history.finals;
      if (first === undefined) return history;
      return { ...history, finals: [{ ...first, items: first.items.slice(1) }, ...rest] };
    },
  },
  {
    name: "a stale read",
    checks: ["linearizable", "answers fit their revision"],
    spoil: (history) => {
      const get = someGet(history);
      const item = { value: "v1./h/0-0/a", revision: 8 };
      return withTold(history, get, { results: [{ kind: "get", item }] });
    },
  },
  {
    name: "a read of an old state that is whole in itself",
    checks: ["linearizable", "revisions follow real time"],
    spoil: (history) => {
      const put = somePut(history);
      const { group } = put.transaction;
      const earlier = toldCalls(history).findLast(
        (call) =>
          call.transaction.group === group &&
          call.transaction.success[0]?.kind === "list" &&
          revisionOf(call) < revisionOf(put) &&
          call.outcome.told.succeeded === true &&
          call.transaction.conditions.length === 0,
      );
      if (earlier === undefined) throw new Error("The sample has no list before that");
      const late = { callTime: put.returnTime + 1_000, returnTime: put.returnTime + 1_001 };
      const calls = [...history.calls, { ...earlier, ...late, id: 9_999 }];
      return { ...history, calls };
    },
  },
  {
    name: "a write that two were acknowledged the same revision for",
    checks: ["no revision twice"],
    spoil: (history) => {
      const writes = toldCalls(history).filter(({ transaction, outcome }) =>
        isChange(transaction, outcome.told),
      );
      const [first, second] = [middle(writes), middle(writes.slice(2))];
      return withTold(history, second, { revision: revisionOf(first) });
    },
  },
  {
    name: "a revision that is another one on another node",
    checks: ["no revision twice"],
    spoil: (history) => {
      const revision = revisionOf(somePut(history));
      return withEvents(history, (events, { watcher }) =>
        watcher === "group"
          ? events
          : events.map((each) => (each.revision === revision ? { ...each, value: "other" } : each)),
      );
    },
  },
  {
    name: "a write without an answer that happened twice",
    checks: ["exactly once"],
    spoil: (history) => {
      const lost = history.calls.find(
        ({ outcome, transaction }) =>
          outcome.kind === "unknown" && transaction.success[0]?.kind === "put",
      );
      const step = lost?.transaction.success[0];
      const revision = revisionOf(somePut(history));
      return withEvents(history, (events) =>
        events.map((each) =>
          each.revision === revision && step?.kind === "put"
            ? { ...each, value: step.value }
            : each,
        ),
      );
    },
  },
  {
    name: "a write that was refused and happened",
    checks: ["refused is not done"],
    spoil: (history) => {
      return withCall(history, { ...somePut(history), outcome: { kind: "refused", why: "503" } });
    },
  },
  {
    name: "a value that nobody wrote",
    checks: ["nothing from nowhere"],
    spoil: (history) => {
      const { id } = somePut(history);
      return { ...history, calls: history.calls.filter((call) => call.id !== id) };
    },
  },
  {
    name: "a delete that nobody asked for",
    checks: ["nothing from nowhere"],
    spoil: (history) => {
      const deletes = toldCalls(history).filter(({ transaction, outcome }) => {
        const [step] = transaction.success;
        return transaction.success.length === 1 && step?.kind === "delete"
          ? isChange(transaction, outcome.told)
          : false;
      });
      const { id, transaction } = middle(deletes);
      const key = middle(transaction.success.flatMap((step) => ("key" in step ? [step.key] : [])));
      const calls = history.calls.filter(
        (call) =>
          call.id !== id &&
          (call.outcome.kind === "told" || !JSON.stringify(call.transaction).includes(key)),
      );
      return { ...history, calls };
    },
  },
  {
    name: "a write that says it succeeded against its condition",
    checks: ["linearizable", "answers fit their revision"],
    spoil: (history) => {
      const failed = middle(
        toldCalls(history).filter(
          ({ outcome, transaction }) =>
            outcome.told.succeeded === false && transaction.success.length === 1,
        ),
      );
      return withTold(history, failed, { succeeded: true, results: [{ kind: "put" }] });
    },
  },
  {
    name: "a node that goes back in its own reads",
    checks: ["a node does not go back"],
    spoil: (history) => {
      const get = someGet(history);
      const late = { callTime: get.returnTime + 500, returnTime: get.returnTime + 501 };
      const first: Call = { ...get, ...late, id: 9_998, consistency: "local" };
      const before = toldCalls(history)[0];
      if (before === undefined) return history;
      const second: Call = {
        ...before,
        ...{ id: 9_999, node: get.node, consistency: "local" },
        ...{ callTime: late.returnTime + 1, returnTime: late.returnTime + 2 },
      };
      return { ...history, calls: [...history.calls, first, second] };
    },
  },
  {
    name: "a watch with a gap",
    checks: ["watches: nothing left out"],
    spoil: (history) => {
      return withEvents(history, (events, { watcher }) => {
        const { revision } = middle(events);
        return watcher === "group" ? events.filter((each) => each.revision !== revision) : events;
      });
    },
  },
  {
    name: "all watches with the same gap, at a write without an answer",
    checks: ["watches: nothing left out"],
    spoil: (history) => {
      const told = new Set(toldCalls(history).map(revisionOf));
      const lost = history.sessions
        .flatMap(({ events }) => events.map(({ revision }) => revision))
        .find((revision) => !told.has(revision));
      return withEvents(history, (events) => events.filter((each) => each.revision !== lost));
    },
  },
  {
    name: "a watch that tells something twice",
    checks: ["watches: in order"],
    spoil: (history) => {
      return withEvents(history, (events) => {
        const again = events.findIndex(({ isLast }, i) => isLast && i > 5);
        return events.flatMap((each, i) => (i === again ? [each, each] : [each]));
      });
    },
  },
  {
    name: "a watch out of order",
    checks: ["watches: in order"],
    spoil: (history) => {
      return withEvents(history, (events) => {
        const at = events.findIndex((each, i) => each.revision < (events[i + 1]?.revision ?? 0));
        const [a, b] = [events[at], events[at + 1]];
        if (a === undefined || b === undefined) return events;
        return [...events.slice(0, at), b, a, ...events.slice(at + 2)];
      });
    },
  },
  {
    name: "a bookmark before what it covers",
    checks: ["watches: true bookmarks"],
    spoil: (history) => {
      const sessions = history.sessions.map((session) => {
        const { revision } = middle(session.events);
        return { ...session, bookmarks: [{ revision, position: 1 }, ...session.bookmarks] };
      });
      return { ...history, sessions };
    },
  },
  {
    name: "a bookmark after which a watch begins too late",
    checks: ["watches: nothing left out"],
    spoil: (history) => {
      const sessions = history.sessions.map((session) => {
        const bookmarks = session.bookmarks.map((each) => {
          return { ...each, revision: each.revision + 5 };
        });
        return session.node === "h1" ? { ...session, bookmarks } : session;
      });
      return { ...history, sessions };
    },
  },
  {
    name: "a version that was not counted",
    checks: ["watches: counters"],
    spoil: (history) => {
      return withEvents(history, (events) => {
        const at = events.findIndex(({ version }) => version === 2);
        return events.map((each, i) => (i === at ? { ...each, version: 3 } : each));
      });
    },
  },
  {
    name: "a watch that tells of another past",
    checks: ["watches: what was before"],
    spoil: (history) => {
      return withEvents(history, (events) => {
        const at = events.findLastIndex(({ previous }) => previous !== null);
        return events.map((each, i) => (i === at ? { ...each, previous: null } : each));
      });
    },
  },
  {
    name: "a key that expires early",
    checks: ["no key expires early"],
    spoil: (history) => {
      const put = somePut(history);
      const calls = [...history.calls, { ...put, id: 9_999, ttlMs: 1_000_000 }];
      const key = put.transaction.success.find((step) => step.kind === "put")?.key ?? "";
      const last = history.sessions[1]?.events.at(-1)?.revision ?? 0;
      const gone = {
        key,
        value: undefined,
        revision: last + 1,
        time: put.returnTime,
        isLast: true,
      };
      const sessions = history.sessions.map((session) => {
        return session.node === "h2" ? { ...session, events: [...session.events, gone] } : session;
      });
      return { ...history, calls, sessions };
    },
  },
];

const SEEDS = [1, 2, 3, 4, 5] as const;

describe("checkHistory", () => {
  for (const seed of SEEDS) {
    test(`accepts a history without fault, seed ${seed}`, () => {
      const { findings, undecidedCount, operationCount } = checkHistory(sampleHistory(seed));
      expect(findings).toEqual([]);
      expect(undecidedCount).toBe(0);
      expect(operationCount).toBeGreaterThan(300);
    });
  }

  for (const { name, checks, spoil } of SPOILED) {
    test(`finds ${name}`, () => {
      for (const seed of SEEDS) {
        const { findings } = checkHistory(spoil(sampleHistory(seed)));
        const found = new Set(findings.map(({ check }) => check));
        expect([...found]).toEqual(expect.arrayContaining([...checks]));
      }
    });
  }
});
