import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../../base/ids.ts";
import { CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";
import type { ConfChange, ConfState, Entry, PeerMessage, ProposedEntry } from "../../raft/types.ts";
import { decodeRecord, encodeValue } from "./codec.ts";
import {
  decodeCommand,
  decodeEntries,
  decodeStored,
  encodeCommand,
  encodeEntries,
  encodeStored,
  stampCommand,
} from "./entry-codec.ts";
import {
  confStateFromRecord,
  confStateToRecord,
  messageFromRecord,
  messageToRecord,
} from "./message-codec.ts";

const counters = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const positives = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const nodes = positives.map(decodeNodeId);
const terms = positives.map(decodeTerm);
const indexes = positives.map(decodeIndex);
const ids = fc.record({ term: terms, index: indexes });
const payloads = fc.uint8Array({ maxLength: 64 });

const changes: fc.Arbitrary<ConfChange> = fc.record({
  version: fc.constantFrom<1 | 2>(1, 2),
  transition: fc.constantFrom("auto", "implicit", "explicit"),
  changes: fc.array(
    fc.record({
      operation: fc.constantFrom("add_voter", "add_learner", "remove", "update"),
      node: nodes,
    }),
    { maxLength: 4 },
  ),
  context: payloads,
});
const entries: fc.Arbitrary<Entry> = fc.oneof(
  fc.record({ kind: fc.constant("normal"), term: terms, index: indexes, data: payloads }),
  fc.record({ kind: fc.constant("conf_change"), term: terms, index: indexes, change: changes }),
);
const proposed: fc.Arbitrary<ProposedEntry> = fc.oneof(
  fc.record({ kind: fc.constant("normal"), data: payloads }),
  fc.record({ kind: fc.constant("conf_change"), change: changes }),
);
const nodeLists = fc.uniqueArray(nodes, { maxLength: 5 }).map((list) => list.sort((a, b) => a - b));
const confStates: fc.Arbitrary<ConfState> = fc.record({
  voters: nodeLists,
  votersOutgoing: nodeLists,
  learners: nodeLists,
  learnersNext: nodeLists,
  autoLeave: fc.boolean(),
});

const head = { to: nodes, from: nodes, term: terms };
const rounds = fc.constantFrom("vote", "pre_vote");
const contexts = fc.option(counters, { nil: undefined });
const messages: fc.Arbitrary<PeerMessage> = fc.oneof(
  fc.record({
    kind: fc.constant("vote_request"),
    ...head,
    round: rounds,
    last: ids,
    transfer: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("vote_response"),
    ...head,
    round: rounds,
    rejected: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("vote_response"),
    ...head,
    round: rounds,
    rejected: fc.constant(true),
    commit: ids,
  }),
  fc.record({
    kind: fc.constant("append_request"),
    ...head,
    previous: ids,
    entries: fc.array(entries, { maxLength: 4 }),
    commit: indexes,
  }),
  fc.record({
    kind: fc.constant("append_response"),
    ...head,
    index: indexes,
    rejected: fc.option(fc.record({ hint: ids }), { nil: undefined }),
  }),
  fc.record({
    kind: fc.constant("heartbeat_request"),
    ...head,
    commit: indexes,
    context: contexts,
  }),
  fc.record({ kind: fc.constant("heartbeat_response"), ...head, context: contexts }),
  fc.record({
    kind: fc.constant("snapshot_request"),
    ...head,
    snapshot: fc.record({ index: indexes, term: terms, confState: confStates, data: payloads }),
  }),
  fc.record({ kind: fc.constant("timeout_now"), ...head }),
  fc.record({
    kind: fc.constant("propose_request"),
    ...head,
    entries: fc.array(proposed, { maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant("read_index_request"), ...head, context: counters }),
  fc.record({
    kind: fc.constant("read_index_response"),
    ...head,
    context: counters,
    index: indexes,
  }),
  fc.record({ kind: fc.constant("transfer_request"), ...head, target: nodes }),
);

function encode(message: PeerMessage): Uint8Array {
  return encodeValue(messageToRecord(message));
}

function decode(bytes: Uint8Array): PeerMessage | undefined {
  return messageFromRecord(decodeRecord(bytes));
}

describe("message codec", () => {
  test("every message survives the way there", () => {
    fc.assert(
      fc.property(messages, (message) => {
        expect(decode(encode(message))).toEqual(message);
      }),
      { numRuns: 1_000 },
    );
  });

  test("no change of a byte makes the decoder throw", () => {
    fc.assert(
      fc.property(messages, fc.nat(), fc.nat(255), (message, position, value) => {
        const bytes = encode(message);
        bytes[position % bytes.length] = value;
        decode(bytes);
      }),
      { numRuns: 3_000 },
    );
  });

  test("what is decoded shares no memory with the frame", () => {
    const message: PeerMessage = {
      kind: "append_request",
      to: decodeNodeId(1),
      from: decodeNodeId(2),
      term: decodeTerm(3),
      previous: { term: decodeTerm(0), index: decodeIndex(0) },
      entries: [
        {
          kind: "normal",
          term: decodeTerm(3),
          index: decodeIndex(1),
          data: new Uint8Array([1, 2, 3]),
        },
      ],
      commit: decodeIndex(0),
    };
    const bytes = encode(message);
    const decoded = decode(bytes);
    bytes.fill(0);
    expect(decoded).toEqual(message);
  });

  const valid = { k: "append_response", t: 1, f: 2, m: 3, i: 4 };
  const wrong = [
    { record: { ...valid, k: "storage_append" }, why: "a local kind" },
    { record: { ...valid, k: 7 }, why: "a kind that is no text" },
    { record: { ...valid, t: 0 }, why: "node id 0" },
    { record: { ...valid, f: -1 }, why: "a negative node id" },
    { record: { ...valid, m: 1.5 }, why: "a term that is no integer" },
    { record: { ...valid, m: 2 ** 53 }, why: "a term that is not safe" },
    { record: { ...valid, i: "4" }, why: "an index that is text" },
    { record: { ...valid, h: [1] }, why: "half a hint" },
    { record: { k: "append_response", t: 1, f: 2, m: 3 }, why: "a missing field" },
    {
      record: { ...valid, k: "append_request", p: [0, 0], c: 0, e: [[0, 1]] },
      why: "half an entry",
    },
  ];
  test("passes over fields it does not know", () => {
    expect(messageFromRecord({ ...valid, future: [1, 2] })).toBeDefined();
  });
  for (const { record, why } of wrong) {
    test(`refuses ${why}`, () => {
      expect(messageFromRecord(record)).toBeUndefined();
    });
  }

  test("confStateFromRecord refuses lists that are not ascending", () => {
    const state = { v: [2, 1], o: [], l: [], n: [], a: false };
    expect(confStateFromRecord(state)).toBeUndefined();
    expect(confStateFromRecord({ ...state, v: [1, 1] })).toBeUndefined();
    expect(confStateFromRecord({ ...state, v: [1, 2] })).toBeDefined();
  });

  test("confState survives the way there", () => {
    fc.assert(
      fc.property(confStates, (state) => {
        expect(confStateFromRecord(confStateToRecord(state))).toEqual(state);
      }),
    );
  });
});

describe("entry codec", () => {
  test("every entry survives the log store", () => {
    fc.assert(
      fc.property(entries, (entry) => {
        expect(decodeStored(encodeStored(entry))).toEqual(entry);
      }),
      { numRuns: 500 },
    );
  });

  test("a command survives, with and without a request id", () => {
    const command = { kind: "put", key: "/a", value: new Uint8Array([1]), ttl: undefined };
    for (const request of [undefined, { client: decodeNodeId(7), sequence: 2 ** 40 }]) {
      const logged = { command, request, proposedAtMs: 1_700_000_000_000 };
      expect(decodeCommand(encodeCommand(logged))).toEqual(logged);
    }
  });

  test("an unknown version is refused, not guessed", () => {
    const payload = encodeCommand({ command: { kind: "x" }, request: undefined, proposedAtMs: 0 });
    payload[0]! += CLUSTER_VERSION_NEWEST;
    expect(decodeCommand(payload)).toBeUndefined();
    expect(decodeCommand(new Uint8Array(0))).toBeUndefined();
  });

  test("a stamp changes the time and nothing else", () => {
    const request = { client: decodeNodeId(7), sequence: 1 };
    const logged = { command: { kind: "x", value: new Uint8Array([1]) }, request, proposedAtMs: 0 };
    const payload = encodeCommand(logged);
    for (const proposedAtMs of [1, 1_700_000_000_000, Number.MAX_SAFE_INTEGER]) {
      stampCommand(payload, proposedAtMs);
      expect(decodeCommand(payload)).toEqual({ ...logged, proposedAtMs });
      expect(payload).toEqual(encodeCommand({ ...logged, proposedAtMs }));
    }
  });

  test("a time that is none is refused", () => {
    const payload = encodeCommand({ command: { kind: "x" }, request: undefined, proposedAtMs: 0 });
    for (const proposedAtMs of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      stampCommand(payload, proposedAtMs);
      expect(decodeCommand(payload)).toBeUndefined();
    }
  });

  test("entries of a message survive, however many", () => {
    fc.assert(
      fc.property(fc.array(entries, { maxLength: 5 }), (list) => {
        expect(decodeEntries(encodeEntries(list))).toEqual(list);
      }),
    );
  });

  test("entries cut short are refused at every length, or are fewer", () => {
    const data = new Uint8Array([1, 2, 3]);
    const [term, index] = [decodeTerm(1), decodeIndex(1)];
    const list = [1, 2].map((): Entry => ({ kind: "normal", term, index, data }));
    const bytes = encodeEntries(list);
    for (let length = 0; length < bytes.length; length++) {
      const decoded = decodeEntries(bytes.subarray(0, length));
      const isWhole = length === 0 || length === bytes.length / 2;
      expect(decoded?.length).toBe(isWhole ? (length * 2) / bytes.length : undefined);
    }
  });

  test("entries of random bytes never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        decodeEntries(bytes);
      }),
      { numRuns: 2_000 },
    );
  });

  test("damaged payloads never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (tail) => {
        decodeCommand(new Uint8Array([2, ...tail]));
        decodeStored({ term: 1, index: 1, kind: 1, payload: new Uint8Array([1, ...tail]) });
      }),
      { numRuns: 2_000 },
    );
  });
});
