/**
 * Watches: how soon and how many events reach a hundred watchers.
 *
 * @module
 */

import { quantile } from "./figures.ts";
import { HttpConnection, openStream } from "./http-connection.ts";
import { KEY_PREFIX, numberedValue, type StoreSystem } from "./system.ts";

export const WATCHER_COUNT = 100;
const VALUE_SIZE = 256;
const KEY_COUNT = 100;
/** Steady writes for the latency. */
const PACED_PER_SECOND = 50;
/** Closed-loop writers for the throughput. */
const WRITER_COUNT = 10;
const SETTLE_MS = 300;
/** The mark of an event may be cut by the end of a chunk; so much is kept for the next one. */
const OVERLAP = 32;

export interface FanOutFigures {
  /** From sending the write to having its event, over all watchers. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Events delivered a second while ten clients write as fast as they can. */
  readonly eventsPerSecond: number;
  readonly putsPerSecond: number;
  /** Events of the paced part that did not come. */
  readonly missingCount: number;
}

/** Runs both parts for `seconds` each. */
export async function measureFanOut(system: StoreSystem, seconds: number): Promise<FanOutFigures> {
  await system.settled();
  const sentMs: number[] = [];
  const latenciesMs: number[] = [];
  let eventCount = 0;
  const onEvent = (number: number) => {
    eventCount += 1;
    const sent = sentMs[number];
    if (sent !== undefined) latenciesMs.push(performance.now() - sent);
  };
  const streams = await Promise.all(
    Array.from({ length: WATCHER_COUNT }, async (_, i) => {
      const member = system.members[i % system.members.length]!;
      return await openStream(member, system.watchRequest(member), eventFinder(system, onEvent));
    }),
  );
  await Bun.sleep(SETTLE_MS);
  eventCount = 0;
  const count = await paceWrites(system, seconds, (number) => (sentMs[number] = performance.now()));
  await Bun.sleep(SETTLE_MS);
  const missingCount = count * WATCHER_COUNT - eventCount;
  sentMs.length = 0;
  eventCount = 0;
  const startMs = performance.now();
  const putCount = await writeFreely(system, seconds);
  const elapsedSeconds = (performance.now() - startMs) / 1000;
  const eventsPerSecond = eventCount / elapsedSeconds;
  for (const stream of streams) stream.close();
  return {
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
    eventsPerSecond,
    putsPerSecond: putCount / elapsedSeconds,
    missingCount,
  };
}

/** Finds the numbers of events in a stream of bytes, without taking it apart. */
function eventFinder(system: StoreSystem, onEvent: (number: number) => void) {
  const mark = Buffer.from(system.eventMark);
  let rest = Buffer.alloc(0);
  return (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    for (;;) {
      const at = bytes.indexOf(mark, from);
      if (at < 0 || at + OVERLAP > bytes.length) {
        rest = Buffer.from(bytes.subarray(at < 0 ? Math.max(from, bytes.length - OVERLAP) : at));
        return;
      }
      from = at + mark.length;
      onEvent(system.eventNumber(bytes.toString("latin1", from, at + OVERLAP)));
    }
  };
}

async function paceWrites(
  system: StoreSystem,
  seconds: number,
  sending: (number: number) => void,
): Promise<number> {
  const leader = await system.settled();
  const connection = await HttpConnection.open(leader);
  const startMs = performance.now();
  let number = 0;
  for (; number < seconds * PACED_PER_SECOND; number++) {
    const waitMs = startMs + (number * 1000) / PACED_PER_SECOND - performance.now();
    if (waitMs > 0) await Bun.sleep(waitMs);
    const value = numberedValue(number, VALUE_SIZE);
    const request = system.putRequest(leader, `${KEY_PREFIX}watched`, value);
    sending(number);
    await connection.send(request);
  }
  connection.close();
  return number;
}

async function writeFreely(system: StoreSystem, seconds: number): Promise<number> {
  const leader = await system.settled();
  const requests = Array.from({ length: KEY_COUNT }, (_, i) =>
    system.putRequest(leader, `${KEY_PREFIX}watched${i}`, numberedValue(i, VALUE_SIZE)),
  );
  const endMs = performance.now() + seconds * 1000;
  let putCount = 0;
  const writers = Array.from({ length: WRITER_COUNT }, async (_, writer) => {
    const connection = await HttpConnection.open(leader);
    for (let i = writer; performance.now() < endMs; i++) {
      await connection.send(requests[i % KEY_COUNT]!);
      putCount += 1;
    }
    connection.close();
  });
  await Promise.all(writers);
  return putCount;
}
