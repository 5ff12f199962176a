/**
 * Both ends of a snapshot transfer without a network between them. Over TLS: transport.test.ts.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { crc32c } from "../../../base/crc32c.ts";
import { HostError } from "../../../base/host-error.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../../base/ids.ts";
import type { SnapshotRequest } from "../../raft/types.ts";
import { decodeRecord, encodeValue, type PlainRecord } from "../codec/codec.ts";
import { messageToRecord } from "../codec/message-codec.ts";
import { SNAPSHOT_CHUNK_SIZE_BYTES } from "../codec/snapshot-codec.ts";
import { SNAPSHOT_STALL_MS, SNAPSHOT_WINDOW_BYTES } from "../limits.ts";
import { EMPTY_CONF_STATE } from "../recovery.ts";
import { SimClock } from "../sim-cluster.fake.ts";
import { MemoryStage } from "./memory-staging.fake.ts";
import { SnapshotIntake } from "./snapshot-intake.ts";
import { SnapshotSender } from "./snapshot-sender.ts";

const message: SnapshotRequest = {
  kind: "snapshot_request",
  from: decodeNodeId(1),
  to: decodeNodeId(2),
  term: decodeTerm(3),
  snapshot: {
    index: decodeIndex(9),
    term: decodeTerm(2),
    confState: EMPTY_CONF_STATE,
    data: new Uint8Array(5),
  },
};

/** A body that tells where each byte belongs. */
function bodyOf(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
}

async function* inParts(body: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size);
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** A receiving end with its answers. */
function receiver(stage: MemoryStage | undefined = new MemoryStage()) {
  const answers: PlainRecord[] = [];
  const received: SnapshotRequest[] = [];
  const intake = new SnapshotIntake({
    isExpected: ({ from }) => from === message.from,
    stage: async () => stage,
    whole: async (each) => {
      received.push(each);
    },
    answer: (record) => answers.push(record),
  });
  return { intake, answers, received, stage };
}

function announce(id = 1): PlainRecord {
  return { k: "snapshot", i: id, m: messageToRecord(message) };
}

function chunkAt(offset: number, d: Uint8Array, i = 1): PlainRecord {
  return { k: "chunk", i, o: offset, d, c: crc32c(d, 0, d.length) };
}

/** One attempt between both ends; everything goes through the codec. */
async function transfer(options: {
  readonly body: Uint8Array;
  readonly stage: MemoryStage | undefined;
  readonly partSize: number;
  /** Frames until the connection breaks. */
  readonly frameCount?: number;
}) {
  const { body, stage, partSize, frameCount = Infinity } = options;
  const sent = { bytes: 0, frames: 0 };
  const { intake, received } = receiverThat((record) => sender.received(copyOf(record)), stage);
  const sender: SnapshotSender = new SnapshotSender({
    id: 4,
    transfer: { message, body: inParts(body, partSize) },
    clock: new SimClock(),
    send: (record) => {
      if (++sent.frames > frameCount) return false;
      const chunk = record["d"];
      sent.bytes += chunk instanceof Uint8Array ? chunk.length : 0;
      const copy = copyOf(record);
      queueMicrotask(() => expect(intake.push(copy)).toBeTrue());
      return true;
    },
  });
  return { hasArrived: await sender.run(), sent, received };
}

function receiverThat(answer: (record: PlainRecord) => void, stage: MemoryStage | undefined) {
  const received: SnapshotRequest[] = [];
  const intake = new SnapshotIntake({
    isExpected: () => true,
    stage: async () => stage,
    whole: async (each) => {
      received.push(each);
    },
    answer,
  });
  return { intake, received };
}

function copyOf(record: PlainRecord): PlainRecord {
  return decodeRecord(encodeValue(record))!;
}

describe("a transfer", () => {
  for (const partSize of [1_000, SNAPSHOT_CHUNK_SIZE_BYTES, 3 * SNAPSHOT_CHUNK_SIZE_BYTES + 7]) {
    test(`of parts of ${partSize} bytes goes on at any byte where it stopped`, async () => {
      const body = bodyOf(4 * SNAPSHOT_WINDOW_BYTES + 123);
      const stage = new MemoryStage();
      let sentBytes = 0;
      let breakCount = -1;
      for (let hasArrived = false; !hasArrived; breakCount++) {
        // Enough frames for progress in each attempt, and never for all of it.
        const frameCount = breakCount > 40 ? Infinity : 3 + Math.ceil(900_000 / partSize);
        const attempt = await transfer({ body, stage, partSize, frameCount });
        sentBytes += attempt.sent.bytes;
        hasArrived = attempt.hasArrived;
        if (hasArrived) expect(attempt.received).toEqual([message]);
      }
      const arrived: Uint8Array[] = [];
      for await (const chunk of stage.read()) arrived.push(chunk);
      expect(Buffer.concat(arrived).equals(body)).toBeTrue();
      expect(breakCount).toBeGreaterThan(0);
      expect(sentBytes).toBeLessThan(body.length + breakCount * 2 * SNAPSHOT_CHUNK_SIZE_BYTES);
    });
  }

  test("that is not wanted, or finds no room, ends with false", async () => {
    const body = bodyOf(1_000);
    expect((await transfer({ body, stage: undefined, partSize: 500 })).hasArrived).toBeFalse();
    const full = new MemoryStage();
    full.append = () =>
      Promise.reject(new HostError({ operation: "write", object: "x", errno: "ENOSPC" }));
    expect((await transfer({ body, stage: full, partSize: 500 })).hasArrived).toBeFalse();
  });

  test("without an answer is given up, and never has more under way than the window", async () => {
    const clock = new SimClock();
    let chunkBytes = 0;
    const sender = new SnapshotSender({
      id: 1,
      transfer: { message, body: inParts(bodyOf(4 * SNAPSHOT_WINDOW_BYTES), 100_000) },
      clock,
      send: ({ d }) => {
        chunkBytes += d instanceof Uint8Array ? d.length : 0;
        return true;
      },
    });
    const result = sender.run();
    sender.received({ k: "resume", i: 1, o: 0 });
    await new Promise((resolve) => setImmediate(resolve));
    expect(chunkBytes).toBeGreaterThanOrEqual(SNAPSHOT_WINDOW_BYTES);
    expect(chunkBytes).toBeLessThanOrEqual(SNAPSHOT_WINDOW_BYTES + SNAPSHOT_CHUNK_SIZE_BYTES);
    sender.received({ k: "stored", i: 2, o: 10 ** 9 }); // Another one's.
    sender.received({ k: "stored", i: 1, o: "x" });
    clock.step(SNAPSHOT_STALL_MS);
    expect(await result).toBeFalse();
  });

  test("whose body cannot be read rejects", async () => {
    const broken = new HostError({ operation: "read", object: "snapshot" });
    const sender = new SnapshotSender({
      id: 1,
      transfer: {
        message,
        body: (async function* () {
          yield bodyOf(10);
          throw broken;
        })(),
      },
      clock: new SimClock(),
      send: () => true,
    });
    const result = sender.run();
    sender.received({ k: "resume", i: 1, o: 0 });
    await expect(result).rejects.toBe(broken);
  });
});

describe("frames that make no sense", () => {
  const good = bodyOf(100);
  for (const { why, frames } of [
    { why: "an announcement of another node's", frames: [{ ...announce(), m: fromOther() }] },
    { why: "an announcement of nothing", frames: [{ k: "snapshot", i: 1, m: 7 }] },
    { why: "a chunk with a wrong checksum", frames: [announce(), { ...chunkAt(0, good), c: 1 }] },
    { why: "a chunk that leaves a gap", frames: [announce(), chunkAt(1, good)] },
    { why: "a chunk that comes twice", frames: [announce(), chunkAt(0, good), chunkAt(0, good)] },
    { why: "a chunk of another snapshot", frames: [announce(), chunkAt(0, good, 2)] },
    { why: "an empty chunk", frames: [announce(), chunkAt(0, new Uint8Array(0))] },
    {
      why: "a chunk that is too large",
      frames: [announce(), chunkAt(0, bodyOf(SNAPSHOT_CHUNK_SIZE_BYTES + 1))],
    },
    {
      why: "an end that comes too early",
      frames: [announce(), chunkAt(0, good), { k: "done", i: 1, z: 101 }],
    },
    { why: "no number", frames: [{ ...announce(), i: "1" }] },
  ] as { why: string; frames: PlainRecord[] }[]) {
    test(`are refused: ${why}`, async () => {
      const { intake, received } = receiver();
      for (const frame of frames.slice(0, -1)) {
        expect(intake.push(frame)).toBeTrue();
        await settle();
      }
      expect(intake.push(frames.at(-1)!)).toBeFalse();
      await settle();
      expect(received).toEqual([]);
    });
  }

  test("are refused: more than the window without waiting for it to be stored", async () => {
    const stage = new MemoryStage();
    stage.append = () => new Promise(() => {});
    const { intake } = receiver(stage);
    intake.push(announce());
    await settle();
    const chunk = bodyOf(SNAPSHOT_CHUNK_SIZE_BYTES);
    let taken = 0;
    while (intake.push(chunkAt(taken, chunk))) taken += chunk.length;
    expect(taken).toBe(SNAPSHOT_WINDOW_BYTES + SNAPSHOT_CHUNK_SIZE_BYTES);
  });

  test("a chunk before there is an answer is refused, one after a refusal is passed over", async () => {
    const { intake } = receiver();
    intake.push(announce());
    expect(intake.push(chunkAt(0, good))).toBeFalse();
    const refusing = receiverThat(() => {}, undefined).intake;
    refusing.push(announce());
    await settle();
    expect(refusing.push(chunkAt(0, good))).toBeTrue();
    expect(refusing.push({ k: "done", i: 1, z: 100 })).toBeTrue();
  });
});

function fromOther() {
  return messageToRecord({ ...message, from: decodeNodeId(7) });
}
