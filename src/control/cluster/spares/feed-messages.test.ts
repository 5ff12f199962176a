import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../../base/ids.ts";
import type { Entry } from "../../raft/types.ts";
import { decodeRecord, encodeValue, type PlainRecord } from "../codec/codec.ts";
import { encodeEntries } from "../codec/entry-codec.ts";
import {
  encodeFeedNews,
  type FeedNews,
  type FeedRequest,
  feedNewsFromRecord,
  feedRequestFromRecord,
  feedRequestToRecord,
} from "./feed-messages.ts";

const term = decodeTerm(3);
const id = (index: number) => ({ term, index: decodeIndex(index) });
const entry = (index: number): Entry => ({
  ...{ kind: "normal", ...id(index), data: Uint8Array.of(index) },
});

describe("feed messages", () => {
  const requests: FeedRequest[] = [
    { kind: "follow", position: id(7) },
    { kind: "follow", position: { term: decodeTerm(0), index: decodeIndex(0) } },
    { kind: "fed", index: decodeIndex(9) },
  ];
  for (const request of requests) {
    test(`a request travels: ${JSON.stringify(request)}`, () => {
      const record = decodeRecord(encodeValue(feedRequestToRecord(request)))!;
      expect(feedRequestFromRecord(record)).toEqual(request);
    });
  }

  const head = { kind: "feed", term, applied: decodeIndex(12) } as const;
  const news: FeedNews[] = [
    { kind: "unfed", reason: "full", hints: [] },
    {
      kind: "unfed",
      reason: "no_source",
      hints: [
        { node: decodeNodeId(5), address: { host: "fd00::5", port: 8286 } },
        { node: decodeNodeId(6), address: undefined },
      ],
    },
    { ...head, leader: undefined, batch: undefined },
    { ...head, leader: decodeNodeId(5), batch: { previous: id(7), entries: [entry(8), entry(9)] } },
  ];
  for (const each of news) {
    test(`news travel: ${JSON.stringify(each).slice(0, 60)}`, () => {
      const record = decodeRecord(encodeFeedNews(each))!;
      expect(feedNewsFromRecord(record)).toEqual(each);
    });
  }

  const beat = { k: "feed", m: 3, l: 5, a: 12 };
  const wrong: { why: string; record: PlainRecord }[] = [
    { why: "another kind", record: { k: "raft" } },
    { why: "no position", record: { k: "follow" } },
    { why: "half a position", record: { k: "follow", p: [1] } },
    { why: "a negative index", record: { k: "fed", i: -1 } },
    { why: "an unknown reason", record: { k: "unfed", r: "mood" } },
    { why: "a hint that is none", record: { k: "unfed", r: "full", m: [5] } },
    { why: "a hint without a node", record: { k: "unfed", r: "full", m: [[0, "10.0.0.1"]] } },
    { why: "a hint of another form", record: { k: "unfed", r: "full", m: [[5, 6]] } },
    { why: "a leader that is none", record: { ...beat, l: "x" } },
    { why: "no entries", record: { ...beat, p: [3, 7], e: new Uint8Array(0) } },
    { why: "half an entry", record: { ...beat, p: [3, 7], e: Uint8Array.of(1, 2) } },
    { why: "a gap", record: { ...beat, p: [3, 7], e: encodeEntries([entry(8), entry(10)]) } },
    {
      why: "entries that do not follow",
      record: { ...beat, p: [3, 7], e: encodeEntries([entry(9)]) },
    },
    { why: "entries after nothing", record: { ...beat, e: encodeEntries([entry(8)]) } },
  ];
  for (const { why, record } of wrong) {
    test(`refused: ${why}`, () => {
      expect(feedRequestFromRecord(record)).toBeUndefined();
      expect(feedNewsFromRecord(record)).toBeUndefined();
    });
  }
});
