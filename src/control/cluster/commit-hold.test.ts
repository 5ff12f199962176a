/**
 * What is held, what takes its place, and who is not made to wait.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { ManualClock } from "../../../tests/support/manual-clock.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import { ok } from "../../base/result.ts";
import type { AppendRequest, Entry, PeerMessage } from "../raft/types.ts";
import { holdCommits } from "./commit-hold.ts";
import { COMMIT_HOLD_MS } from "./limits.ts";
import type { PeerReceiver } from "./peer-port.ts";

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

function openHold() {
  const clock = new ManualClock();
  const sent: PeerMessage[] = [];
  let receiver: PeerReceiver | undefined;
  const hold = holdCommits(
    {
      attach: (given) => {
        receiver = given;
      },
      send: (message) => sent.push(message),
      sendSnapshot: async () => true,
      call: async () => ok({}),
    },
    clock,
  );
  return { clock, sent, hold, receiver: () => receiver! };
}

test("commit hold: an append without entries goes when the hold is over, once", async () => {
  const { clock, sent, hold } = openHold();
  hold.send(append(5));
  expect(sent).toEqual([]);
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent).toEqual([append(5)]);
  await clock.advance(10 * COMMIT_HOLD_MS);
  expect(sent).toEqual([append(5)]);
});

test("commit hold: the next append with entries takes its place", async () => {
  const { clock, sent, hold } = openHold();
  hold.send(append(5));
  hold.send(append(5, { entry: 6 }));
  expect(sent).toEqual([append(5, { entry: 6 })]);
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent).toHaveLength(1);
});

test("commit hold: a newer commit takes the place of an older one", async () => {
  const { clock, sent, hold } = openHold();
  hold.send(append(5));
  hold.send(append(6));
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent).toEqual([append(6)]);
});

test("commit hold: what says less does not take its place", async () => {
  const { clock, sent, hold } = openHold();
  hold.send(append(5));
  hold.send(append(4, { entry: 6 }));
  expect(sent).toEqual([append(5), append(4, { entry: 6 })]);
  hold.send(append(6));
  hold.send(append(7, { term: 3 }));
  await clock.advance(COMMIT_HOLD_MS);
  expect(sent.slice(2)).toEqual([append(6), append(7, { term: 3 })]);
});

test("commit hold: another message goes at once, after what was held for its receiver", () => {
  const { sent, hold } = openHold();
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

test("commit hold: a follower has the commit before the answer to its call", async () => {
  const { sent, hold, receiver } = openHold();
  const nothing = () => undefined;
  hold.attach({
    receive: nothing,
    receiveSnapshot: nothing,
    unreachable: nothing,
    closed: nothing,
    expelled: nothing,
    answer: async () => {
      hold.send(append(5));
      hold.send(append(5, { to: OTHER }));
      return ok({ index: 5 });
    },
  });
  const answer = await receiver().answer(FOLLOWER, "propose", {});
  expect(answer).toEqual(ok({ index: 5 }));
  expect(sent).toEqual([append(5)]);
});
