/**
 * What is held, what takes its place, who is not made to wait, and what is not said twice.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { ManualClock } from "../../../tests/support/manual-clock.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import type { AppendRequest, AppendResponse, Entry, PeerMessage } from "../raft/types.ts";
import { COMMIT_HOLD_MS } from "./limits.ts";
import { Outgoing } from "./outgoing.ts";

const LEADER = decodeNodeId(1);
const FOLLOWER = decodeNodeId(2);
const OTHER = decodeNodeId(3);

function append(
  commit: number,
  options: Partial<{ to: number; term: number; entry: number }> = {},
) {
  const { to = FOLLOWER, term = 2, entry } = options;
  const entries: Entry[] =
    entry === undefined
      ? []
      : [
          {
            kind: "normal",
            term: decodeTerm(term),
            index: decodeIndex(entry),
            data: new Uint8Array(1),
          },
        ];
  const previous = { term: decodeTerm(term), index: decodeIndex((entry ?? commit + 1) - 1) };
  const head = { to: decodeNodeId(to), from: LEADER, term: decodeTerm(term) };
  const request: AppendRequest = {
    kind: "append_request",
    ...head,
    previous,
    entries,
    commit: decodeIndex(commit),
  };
  return request;
}

function openOutgoing() {
  const clock = new ManualClock();
  const sent: PeerMessage[] = [];
  const hold = new Outgoing((message) => sent.push(message), clock);
  return { clock, sent, hold };
}

test("commit hold: an append without entries goes when the hold is over, once", async () => {
  const { clock, sent, hold } = openOutgoing();
  hold.send(append(5));
  expect(sent).toEqual([]);
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent).toEqual([append(5)]);
  await clock.advance(10 * COMMIT_HOLD_MS);
  expect(sent).toEqual([append(5)]);
});

test("commit hold: the next append with entries takes its place", async () => {
  const { clock, sent, hold } = openOutgoing();
  hold.send(append(5));
  hold.send(append(5, { entry: 6 }));
  expect(sent).toEqual([append(5, { entry: 6 })]);
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent).toHaveLength(1);
});

test("commit hold: a newer commit takes the place of an older one", async () => {
  const { clock, sent, hold } = openOutgoing();
  hold.send(append(5));
  hold.send(append(6));
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent).toEqual([append(6)]);
});

test("commit hold: what says less does not take its place", async () => {
  const { clock, sent, hold } = openOutgoing();
  hold.send(append(5));
  hold.send(append(4, { entry: 6 }));
  expect(sent).toEqual([append(5), append(4, { entry: 6 })]);
  hold.send(append(6));
  hold.send(append(7, { term: 3 }));
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent.slice(2)).toEqual([append(6), append(7, { term: 3 })]);
});

test("commit hold: another message goes at once, after what was held for its receiver", () => {
  const { sent, hold } = openOutgoing();
  const heartbeat: PeerMessage = {
    kind: "heartbeat_request",
    to: FOLLOWER,
    from: LEADER,
    term: decodeTerm(2),
    commit: decodeIndex(5),
    context: undefined,
  };
  hold.send(append(5));
  hold.send(append(5, { to: OTHER }));
  hold.send(heartbeat);
  expect(sent).toEqual([append(5), heartbeat]);
});

test("commit hold: who waits is not made to, and the others are", async () => {
  const { clock, sent, hold } = openOutgoing();
  hold.send(append(5));
  hold.send(append(5, { to: OTHER }));
  hold.release(FOLLOWER);
  hold.release(FOLLOWER);
  expect(sent).toEqual([append(5)]);
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent).toEqual([append(5), append(5, { to: OTHER })]);
  hold.send(append(6));
  hold.send(append(6, { to: OTHER }));
  hold.releaseAll();
  expect(sent.slice(2)).toEqual([append(6), append(6, { to: OTHER })]);
});

test("commit hold: each is held for as long, whenever the first began", async () => {
  const { clock, sent, hold } = openOutgoing();
  hold.send(append(5));
  await clock.advance(COMMIT_HOLD_MS / 2);
  hold.send(append(5, { to: OTHER }));
  hold.send(append(6));
  await clock.advance(COMMIT_HOLD_MS / 2);
  expect(sent).toEqual([append(6)]);
  await clock.advance(COMMIT_HOLD_MS / 2);
  expect(sent).toEqual([append(6), append(5, { to: OTHER })]);
});

test("commit hold: nothing leaves after the end", async () => {
  const { clock, sent, hold } = openOutgoing();
  hold.send(append(5));
  hold.stop();
  await clock.advance(10 * COMMIT_HOLD_MS);
  expect(sent).toEqual([]);
});

function acknowledgement(index: number, options: Partial<{ term: number; hint: number }> = {}) {
  const { term = 2, hint } = options;
  const id = { term: decodeTerm(1), index: decodeIndex(hint ?? 0) };
  const response: AppendResponse = {
    kind: "append_response",
    to: LEADER,
    from: FOLLOWER,
    term: decodeTerm(term),
    index: decodeIndex(index),
    rejected: hint === undefined ? undefined : { hint: id },
  };
  return response;
}

test("acknowledgements: the same again is left out after an append without entries", () => {
  const { sent, hold } = openOutgoing();
  hold.received(append(4, { entry: 5 }));
  hold.send(acknowledgement(5));
  hold.received(append(5));
  hold.send(acknowledgement(5));
  expect(sent).toEqual([acknowledgement(5)]);
  hold.received(append(5, { entry: 6 }));
  hold.send(acknowledgement(6));
  hold.received(append(6));
  hold.send(acknowledgement(6));
  expect(sent).toEqual([acknowledgement(5), acknowledgement(6)]);
});

const repeated: { why: string; between: (hold: Outgoing) => void; again: AppendResponse }[] = [
  {
    why: "entries came again: the leader has missed the answer",
    between: (hold) => hold.received(append(4, { entry: 5 })),
    again: acknowledgement(5),
  },
  {
    why: "the connection may have lost the first",
    between: (hold) => {
      hold.lost(LEADER);
      hold.received(append(5));
    },
    again: acknowledgement(5),
  },
  {
    why: "the leader of another term has not heard it",
    between: (hold) => hold.received(append(5, { term: 3 })),
    again: acknowledgement(5, { term: 3 }),
  },
  {
    why: "another index says something new",
    between: (hold) => hold.received(append(6)),
    again: acknowledgement(6),
  },
  {
    why: "a refusal always says something",
    between: (hold) => hold.received(append(5)),
    again: acknowledgement(5, { hint: 3 }),
  },
  {
    why: "nothing came that the answer could be to",
    between: () => undefined,
    again: acknowledgement(5),
  },
];
for (const { why, between, again } of repeated) {
  test(`acknowledgements: sent, because ${why}`, () => {
    const { sent, hold } = openOutgoing();
    hold.received(append(4, { entry: 5 }));
    hold.send(acknowledgement(5));
    between(hold);
    hold.send(again);
    expect(sent).toEqual([acknowledgement(5), again]);
  });
}

test("acknowledgements: a leader that asks again is answered", () => {
  const { sent, hold } = openOutgoing();
  hold.received(append(4, { entry: 5 }));
  hold.send(acknowledgement(5));
  for (let i = 0; i < 2; i++) {
    hold.received(append(5));
    hold.send(acknowledgement(5));
  }
  expect(sent).toEqual([acknowledgement(5), acknowledgement(5)]);
});
