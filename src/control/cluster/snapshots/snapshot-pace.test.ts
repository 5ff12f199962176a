import { describe, expect, test } from "bun:test";
import { decodeSnapshotBody, SNAPSHOT_CHUNK_SIZE_BYTES } from "../codec/snapshot-codec.ts";
import { SNAPSHOT_SLICE_MS } from "../limits.ts";
import { SimClock } from "../sim-cluster.fake.ts";
import { paceSnapshotBody } from "./snapshot-pace.ts";

const PARTS = Array.from({ length: 40 }, (_, i) => ({
  i,
  bytes: new Uint8Array(8 * 1024).fill(i),
}));

/** Collects the body of parts that take `partMs` each; how many turns others had, too. */
async function collect(partMs: number) {
  const clock = new SimClock();
  function* slowly() {
    for (const part of PARTS) {
      clock.jump(partMs);
      yield part;
    }
  }
  const chunks: Uint8Array[] = [];
  let turnCount = 0;
  let isDone = false;
  const work = (async () => {
    for await (const chunk of paceSnapshotBody(slowly(), clock)) chunks.push(chunk);
    isDone = true;
  })();
  while (!isDone) {
    if (clock.step(clock.nowMs())) turnCount += 1;
    await Promise.resolve();
  }
  await work;
  return { chunks, turnCount };
}

describe("paceSnapshotBody", () => {
  test("fast parts come in whole chunks", async () => {
    const { chunks } = await collect(0);
    expect(chunks.slice(0, -1).every((each) => each.length === SNAPSHOT_CHUNK_SIZE_BYTES)).toBe(
      true,
    );
    expect(decodeSnapshotBody(chunks)).toEqual(PARTS);
  });

  test("slow ones one by one, with a turn for others behind each", async () => {
    const { chunks, turnCount } = await collect(SNAPSHOT_SLICE_MS);
    expect(turnCount).toBeGreaterThanOrEqual(PARTS.length);
    expect(Math.max(...chunks.map((each) => each.length))).toBeLessThan(9 * 1024);
    expect(decodeSnapshotBody(chunks)).toEqual(PARTS);
  });
});
