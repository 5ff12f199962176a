import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeNodeId, decodeRevision, parseClusterId } from "../../../base/ids.ts";
import { CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";
import {
  decodeSnapshotBody,
  decodeSnapshotHeader,
  encodeSnapshotBody,
  encodeSnapshotHeader,
  SNAPSHOT_CHUNK_SIZE_BYTES,
  SnapshotBodyDecoder,
  versionOfSnapshot,
} from "./snapshot-codec.ts";

const clusterId = parseClusterId("0123456789abcdef0123456789abcdef")!;

describe("snapshot body", () => {
  const cases = [
    { parts: [], why: "no parts" },
    { parts: [{}], why: "an empty part" },
    { parts: [{ a: 1 }, { b: new Uint8Array([1]) }], why: "two small parts" },
    {
      parts: [{ b: new Uint8Array(SNAPSHOT_CHUNK_SIZE_BYTES) }, { c: 1 }],
      why: "a part that crosses a chunk",
    },
    {
      parts: Array.from({ length: 5 }, (_, i) => ({ i, b: new Uint8Array(900_000).fill(i) })),
      why: "many chunks",
    },
  ];
  for (const { parts, why } of cases) {
    test(`survives: ${why}`, () => {
      const chunks = [...encodeSnapshotBody(parts)];
      expect(chunks.every((chunk) => chunk.length <= SNAPSHOT_CHUNK_SIZE_BYTES)).toBeTrue();
      expect(decodeSnapshotBody(chunks)).toEqual(parts);
    });
  }

  test("is read the same however it is cut", () => {
    const parts = [{ a: "x".repeat(100) }, { b: [1, 2, 3] }];
    const [whole] = [...encodeSnapshotBody(parts)];
    for (let size = 1; size < 40; size++) {
      const cut: Uint8Array[] = [];
      for (let at = 0; at < whole!.length; at += size) cut.push(whole!.subarray(at, at + size));
      expect(decodeSnapshotBody(cut)).toEqual(parts);
    }
  });

  test("comes part by part, and what was drained is not kept", () => {
    const parts = [{ a: "x".repeat(100) }, { b: [1, 2, 3] }, { c: "" }];
    const [whole] = [...encodeSnapshotBody(parts)];
    const decoder = new SnapshotBodyDecoder();
    const drained: unknown[] = [];
    for (const byte of whole!) {
      expect(decoder.push(new Uint8Array([byte]))).toBeTrue();
      drained.push(...decoder.drain());
    }
    expect(drained).toEqual(parts);
    expect(decoder.finish()).toEqual([]);
  });

  test("is refused when cut off anywhere, or followed by more", () => {
    const [whole] = [...encodeSnapshotBody([{ a: 1 }, { b: 2 }])];
    for (let end = 0; end < whole!.length; end++) {
      expect(decodeSnapshotBody([whole!.subarray(0, end)])).toBeUndefined();
    }
    expect(decodeSnapshotBody([whole!, new Uint8Array([0])])).toBeUndefined();
  });

  test("random bytes never throw", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), (chunks) => {
        decodeSnapshotBody(chunks);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("snapshot header", () => {
  const header = {
    clusterId,
    generation: 3,
    confState: {
      voters: [decodeNodeId(1)],
      votersOutgoing: [],
      learners: [decodeNodeId(2)],
      learnersNext: [],
      autoLeave: false,
    },
    revision: decodeRevision(12),
    version: CLUSTER_VERSION_NEWEST,
  };

  test("survives", () => {
    expect(decodeSnapshotHeader(encodeSnapshotHeader(header))).toEqual(header);
  });

  test("is refused when damaged or of another version", () => {
    const bytes = encodeSnapshotHeader(header);
    for (let at = 0; at < bytes.length; at++) {
      expect(decodeSnapshotHeader(bytes.subarray(0, at))).toBeUndefined();
    }
    for (const version of [0, CLUSTER_VERSION_NEWEST + 1]) {
      const other = encodeSnapshotHeader({ ...header, version });
      expect(decodeSnapshotHeader(other)).toBeUndefined();
      expect(versionOfSnapshot(other)).toBe(version);
    }
  });
});
