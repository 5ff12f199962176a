/**
 * The one history of a cluster finds each answer that does not fit it.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { decodeNodeId, decodeRevision } from "../../../src/base/ids.ts";
import type { Applied, KeyValue, KvEvent, KvReader } from "../../../src/control/kv/types.ts";
import { Coverage } from "./coverage.ts";
import { Replay } from "./replay.ts";

const REQUEST = { client: decodeNodeId(5), sequence: 1 };

function pair(key: string, revision: number, text = "v"): KeyValue {
  const modRevision = decodeRevision(revision);
  const value = new TextEncoder().encode(text);
  return { key, value, createRevision: modRevision, modRevision, version: 1 };
}

function put(revision: number, current: KeyValue, previous?: KeyValue): Applied {
  const event: KvEvent = { kind: "put", current, previous };
  return { outcome: { n: revision }, revision: decodeRevision(revision), events: [event] };
}

function readerOf(revision: number, pairs: readonly KeyValue[]): KvReader {
  return {
    revision: decodeRevision(revision),
    get: (key) => pairs.find((each) => each.key === key),
    list: (prefix) => pairs.filter((each) => each.key.startsWith(prefix)),
  };
}

/** "a" at revision 1, "b" at 2, "a" again at 3. */
function history(): Replay {
  const replay = new Replay(new Coverage());
  replay.first(2, undefined, put(1, pair("a", 1)));
  replay.first(3, REQUEST, put(2, pair("b", 2)));
  replay.first(4, undefined, put(3, pair("a", 3), pair("a", 1)));
  return replay;
}

test("replay: reads at any revision, and lists, that fit", () => {
  const replay = history();
  expect(replay.revision).toBe(decodeRevision(3));
  replay.checkRead(1, readerOf(3, [pair("a", 3), pair("b", 2)]), "a");
  replay.checkRead(1, readerOf(1, [pair("a", 1)]), "b");
  replay.checkList(1, readerOf(2, [pair("a", 1), pair("b", 2)]), "");
  expect(replay.eventsAt(2)).toHaveLength(1);
  expect(replay.find(REQUEST)?.index).toBe(3);
});

test("replay: a read of another revision or value does not fit", () => {
  const replay = history();
  const stale = readerOf(3, [pair("a", 1)]);
  expect(() => replay.checkRead(1, stale, "a")).toThrow("reads fit the history");
  const changed = readerOf(3, [pair("a", 3, "other")]);
  expect(() => replay.checkRead(1, changed, "a")).toThrow("reads fit the history");
  expect(() => replay.checkRead(1, readerOf(3, []), "a")).toThrow("reads fit the history");
});

test("replay: a list that leaves something out, or has too much", () => {
  const replay = history();
  expect(() => replay.checkList(1, readerOf(3, [pair("a", 3)]), "")).toThrow("lists are complete");
  const early = readerOf(1, [pair("a", 1), pair("b", 2)]);
  expect(() => replay.checkList(1, early, "")).toThrow("reads fit the history");
});

test("replay: revisions that jump, or stand still", () => {
  expect(() => history().first(5, undefined, put(5, pair("c", 5)))).toThrow("one revision");
  expect(() => history().first(5, undefined, put(3, pair("c", 3)))).toThrow("one revision");
});

test("replay: a request that is applied twice, or has two outcomes", () => {
  const again = put(4, pair("b", 4), pair("b", 2));
  expect(() => history().first(5, REQUEST, again)).toThrow("exactly once");
  const revision = decodeRevision(3);
  const other = { outcome: { n: 7 }, revision, events: [] };
  expect(() => history().first(5, REQUEST, other)).toThrow("exactly once");
  history().first(5, REQUEST, { outcome: { n: 2 }, revision, events: [] });
  history().first(5, REQUEST, { outcome: { kind: "request_forgotten" }, revision, events: [] });
});

test("replay: an event with a wrong previous value", () => {
  expect(() => history().first(5, undefined, put(4, pair("a", 4), pair("a", 1)))).toThrow(
    "events tell the previous value",
  );
});
