/**
 * The queue of reads that wait for proof of leadership.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { PENDING_READ_COUNT_MAX, ReadQueue } from "./read-index.ts";
import { configOf, I, N } from "./test-cluster.ts";

const QUORUM = configOf([1, 2, 3]);
const SELF = N(1);

function queueWith(count: number): ReadQueue {
  const queue = new ReadQueue();
  for (let i = 1; i <= count; i++) queue.add({ from: SELF, context: i, index: I(i) });
  return queue;
}

function confirmed(queue: ReadQueue, node: number, context: number): number[] {
  return queue.acknowledge(N(node), context, QUORUM, SELF).map((read) => read.context);
}

describe("ReadQueue", () => {
  test("an answer confirms every read up to the number that it repeats", () => {
    const queue = queueWith(3);
    expect(queue.heartbeatContext()).toBe(3);
    expect(confirmed(queue, 2, 2)).toEqual([1, 2]);
    expect(confirmed(queue, 3, 3)).toEqual([3]);
    expect(queue.heartbeatContext()).toBeUndefined();
  });

  test("an answer to an old heartbeat does not confirm a new read", () => {
    const queue = queueWith(1);
    expect(confirmed(queue, 2, 1)).toEqual([1]);
    queue.add({ from: SELF, context: 9, index: I(5) });
    expect(queue.heartbeatContext()).toBe(2);
    expect(confirmed(queue, 2, 1)).toEqual([]);
    expect(confirmed(queue, 3, 1)).toEqual([]);
    expect(confirmed(queue, 3, 2)).toEqual([9]);
  });

  test("a number that was never sent is not believed", () => {
    const queue = queueWith(1);
    expect(confirmed(queue, 2, 77)).toEqual([]);
    expect(queue.heartbeatContext()).toBe(1);
  });

  test("a learner's answer does not count; both halves of a joint quorum do", () => {
    const queue = queueWith(1);
    expect(confirmed(queue, 4, 1)).toEqual([]);
    const joint = { ...QUORUM, votersOutgoing: configOf([1, 4, 5]).voters };
    expect(queue.acknowledge(N(2), 1, joint, SELF)).toHaveLength(1);
    const other = queueWith(1);
    expect(other.acknowledge(N(2), 1, joint, SELF)).toHaveLength(0);
    expect(other.acknowledge(N(5), 1, joint, SELF)).toHaveLength(1);
  });

  test("postponed reads are given back once", () => {
    const queue = new ReadQueue();
    queue.postpone({ from: SELF, context: 1 });
    expect(queue.takePostponed()).toEqual([{ from: SELF, context: 1 }]);
    expect(queue.takePostponed()).toEqual([]);
  });

  test("is full at its limit", () => {
    const queue = queueWith(PENDING_READ_COUNT_MAX - 1);
    expect(queue.full).toBe(false);
    queue.postpone({ from: SELF, context: 0 });
    expect(queue.full).toBe(true);
  });
});
