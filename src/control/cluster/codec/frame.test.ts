import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeNodeId, parseClusterId } from "../../../base/ids.ts";
import { decodeRecord, encodeValue } from "./codec.ts";
import {
  decodePeerFrame,
  encodeFrame,
  encodePeerFrame,
  FrameCodec,
  FrameSplitter,
} from "./frame.ts";

const clusterId = parseClusterId("0123456789abcdef0123456789abcdef")!;
const ends = {
  cluster: { clusterId, generation: 2 },
  from: decodeNodeId(1),
  to: decodeNodeId(2 ** 40),
};
const LENGTH_SIZE = 4;

describe("FrameSplitter", () => {
  test("yields the same frames however the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (payloads, cuts) => {
          const stream = Buffer.concat(payloads.map((payload) => encodeFrame({ payload })));
          const splitter = new FrameSplitter(1_000);
          const seen: unknown[] = [];
          for (let at = 0, i = 0; at < stream.length; i++) {
            const size = cuts[i % cuts.length]!;
            for (const frame of splitter.push(stream.subarray(at, at + size)) ?? []) {
              seen.push(decodeRecord(frame)?.["payload"]);
            }
            at += size;
          }
          expect(seen).toEqual(payloads);
        },
      ),
    );
  });

  test("holds the limit at its exact value, and stays broken", () => {
    const frame = encodeFrame({ a: new Uint8Array(100) });
    const size = frame.length - LENGTH_SIZE;
    expect(new FrameSplitter(size).push(frame)?.length).toBe(1);
    const splitter = new FrameSplitter(size - 1);
    expect(splitter.push(frame)).toBeUndefined();
    expect(splitter.push(encodeFrame({}))).toBeUndefined();
  });

  test("an empty frame breaks it", () => {
    expect(new FrameSplitter(10).push(new Uint8Array(4))).toBeUndefined();
  });

  test("does not reserve memory for what has not come", () => {
    // 4 GiB announced: refused at the head, nothing is reserved.
    const huge = new Uint8Array([255, 255, 255, 255]);
    expect(new FrameSplitter(1_000_000).push(huge)).toBeUndefined();
  });
});

describe("peer frames", () => {
  const bytes = encodePeerFrame(ends, { k: "ping" }).subarray(LENGTH_SIZE);

  test("survive between the same two ends", () => {
    const decoded = decodePeerFrame(ends, bytes);
    expect("record" in decoded && decoded.record["k"]).toBe("ping");
  });

  const wrong = [
    { ends: { ...ends, cluster: { ...ends.cluster, generation: 1 } }, problem: "other_cluster" },
    {
      ends: {
        ...ends,
        cluster: { ...ends.cluster, clusterId: parseClusterId("f".repeat(32))! },
      },
      problem: "other_cluster",
    },
    { ends: { ...ends, from: decodeNodeId(9) }, problem: "other_node" },
    { ends: { ...ends, to: decodeNodeId(9) }, problem: "other_node" },
  ];
  for (const { ends: other, problem } of wrong) {
    test(`are refused elsewhere: ${problem}`, () => {
      expect(decodePeerFrame(other, bytes)).toEqual(expect.objectContaining({ problem }));
    });
  }

  test("of another version or no record at all are malformed", () => {
    const record = decodeRecord(bytes)!;
    const newer = encodeValue({ ...record, v: 2 });
    expect(decodePeerFrame(ends, newer)).toEqual({ problem: "malformed" });
    expect(decodePeerFrame(ends, new Uint8Array([1, 2, 3]))).toEqual({ problem: "malformed" });
  });

  test("of a codec are the same bytes, and mean the same", () => {
    const { cluster, from, to } = ends;
    const sender = new FrameCodec(cluster, { self: from, peer: to });
    const receiver = new FrameCodec(cluster, { self: to, peer: from });
    for (const body of [
      { k: "ping" },
      { k: "call", i: 1, m: "x", b: { y: new Uint8Array(300) } },
    ]) {
      const frame = sender.encode(body);
      expect(frame).toEqual(encodePeerFrame(ends, body));
      expect(receiver.decode(frame.slice(LENGTH_SIZE))).toEqual({ record: body });
    }
    const answer = encodePeerFrame({ cluster, from: to, to: from }, { k: "pong" });
    expect(sender.decode(answer.slice(LENGTH_SIZE))).toEqual({ record: { k: "pong" } });
  });

  test("are refused by a codec for the same reasons", () => {
    const nodes = { self: ends.to, peer: ends.from };
    for (const { ends: other, problem } of wrong) {
      const codec = new FrameCodec(other.cluster, { self: other.to, peer: other.from });
      expect(codec.decode(bytes.slice())).toEqual(expect.objectContaining({ problem }));
    }
    for (let length = 0; length < bytes.length; length++) {
      const decoded = new FrameCodec(ends.cluster, nodes).decode(bytes.slice(0, length));
      expect(decoded).toEqual({ problem: "malformed" });
    }
  });

  test("any one byte changed: a codec takes no more than the slow way", () => {
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at]! ^= 1;
      const slow = decodePeerFrame(ends, changed);
      const nodes = { self: ends.to, peer: ends.from };
      const fast = new FrameCodec(ends.cluster, nodes).decode(changed.slice());
      expect("record" in fast).toBe("record" in slow);
    }
  });

  test("any one byte changed is refused, or keeps both ends", () => {
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at]! ^= 1;
      const decoded = decodePeerFrame(ends, changed);
      if ("record" in decoded) expect(decoded.record["f"]).toBe(ends.from);
    }
  });
});
