import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import type { UdpPort } from "../../host/packet-ports.ts";
import { encodeFib, FibView } from "../fib/table.ts";
import { createNodeAead } from "../seal/node-aead.ts";
import { SessionTable } from "../seal/session-table.ts";
import { createArena, HEADER_SIZE } from "./arena.ts";
import { COUNTER_COUNT, LoopCounters } from "./counters.ts";
import { OFFLOAD, OFFLOAD_FORBIDDEN, OffloadState } from "./offload-state.ts";
import { Sealer } from "./sealer.ts";
import { SendQueue } from "./send-queue.ts";

const HEADERS = 52;

const FIB = new FibView(
  encodeFib(
    {
      local: [parsePrefix("10.0.1.0/24")!],
      rows: [2, 3].map((node) => ({
        prefix: parsePrefix(`10.0.${node}.0/24`)!,
        peer: decodeNodeId(node),
        endpoint: { address: parseAddress(`192.0.2.${node}`)!, port: 8285 },
        partialChecksum: true,
      })),
    },
    { generation: 1, overlayMtu: 1472, own: [], underlayFamily: 4, slotOf: (node) => node - 2 },
  ),
);

/** Pieces of every message that was sent: "segment size: offset+length …". */
function openQueue(isCutting = true) {
  const arena = createArena();
  const messages: string[] = [];
  const udp: UdpPort = {
    send: (batch, from) => {
      for (let message = from; message < batch.count; message++) {
        const pieces: string[] = [];
        for (let p = batch.pieceStart[message]!; p < batch.pieceStart[message + 1]!; p++) {
          pieces.push(`${batch.pieceOffset[p]}+${batch.pieceLength[p]}`);
        }
        const target = batch.targetAddress[4 * message + 3]! & 255;
        messages.push(`${target} ${batch.segmentSize[message]}: ${pieces.join(" ")}`);
      }
      return batch.count - from;
    },
    sendWhole: () => 0,
    receive: () => 0,
  };
  const counters = new LoopCounters(new Float64Array(COUNTER_COUNT), new Float64Array(64));
  const states = new Int32Array(8);
  if (!isCutting) states[OFFLOAD.GSO] = OFFLOAD_FORBIDDEN;
  const sealer = new Sealer(arena, new SessionTable(createNodeAead(arena.memory)), counters);
  const offloads = new OffloadState(states);
  return { queue: new SendQueue({ arena, udp, counters, offloads, sealer }), messages };
}

describe("SendQueue", () => {
  test("appendRun: the same messages as one append after the other", () => {
    const run = fc.record({
      row: fc.integer({ min: 0, max: 1 }),
      count: fc.integer({ min: 1, max: 60 }),
      payloadLength: fc.constantFrom(1, 100, 1000, 1420),
      shorter: fc.constantFrom(0, 0, 1, 99),
    });
    const runs = fc.array(run, { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(runs, fc.boolean(), (list, isCutting) => {
        const [slow, fast] = [openQueue(isCutting), openQueue(isCutting)];
        for (const [number, { row, count, payloadLength, shorter }] of list.entries()) {
          const lastPayloadLength = Math.max(0, payloadLength - shorter);
          const head = number * 10_000;
          const payloadAt = 1_000_000 + number * 100_000;
          if (!fast.queue.hasRoomFor(count)) for (const { queue } of [slow, fast]) queue.flush();
          expect(fast.queue.roomCount).toBeGreaterThanOrEqual(count);
          const what = { headerLength: HEADERS, payloadAt, payloadLength, lastPayloadLength };
          fast.queue.appendRun(FIB, row, what, head, count);
          for (let i = 0; i < count; i++) {
            const length = i === count - 1 ? lastPayloadLength : payloadLength;
            const [at, from] = [head + i * HEADER_SIZE, payloadAt + i * payloadLength];
            slow.queue.append(FIB, row, at, HEADERS, from, length);
          }
        }
        for (const { queue } of [slow, fast]) expect(queue.flush()).toBe(true);
        expect(fast.messages).toEqual(slow.messages);
      }),
      { seed: 3, numRuns: 100 },
    );
  });

  test("begin: a super-packet that does not fit the open message begins another", () => {
    const { queue, messages } = openQueue();
    const run = { headerLength: HEADERS, payloadLength: 1420, lastPayloadLength: 1420 };
    for (const [number, count] of [43, 43, 1, 20].entries()) {
      queue.begin(count, count * 1472);
      queue.appendRun(FIB, 0, { ...run, payloadAt: 1_000_000 * number }, 0, count);
    }
    expect(queue.flush()).toBe(true);
    // Two pieces each; the third one fits behind the second.
    expect(messages.map((message) => message.split(" ").length - 2)).toEqual([86, 88, 40]);
  });
});
