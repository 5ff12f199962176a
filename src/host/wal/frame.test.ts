/**
 * Frames and segment headers as bytes: golden, round trip, hostile.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { seededChance } from "../../../tests/contract/memory-disk.ts";
import { crc32c } from "../../base/crc32c.ts";
import {
  COMMIT_FRAME_SIZE,
  decodeFrame,
  decodeLoneCommit,
  encodedSize,
  encodeFrame,
  type FrameTarget,
  frameSize,
  type WalFrame,
} from "./frame.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  formatSegmentName,
  parseSegmentName,
  type SegmentHeader,
} from "./segment-header.ts";

const NONCE = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const DIGEST = Uint8Array.from({ length: 32 }, (_, i) => 200 + i);
const HUGE = Number.MAX_SAFE_INTEGER;

function target(size: number, fill = 0xaa): FrameTarget {
  const bytes = new Uint8Array(size).fill(fill);
  return { bytes, view: new DataView(bytes.buffer), nonce: NONCE };
}

const hex = (bytes: Uint8Array) =>
  Buffer.from(bytes)
    .toString("hex")
    .replace(/(.{16})/g, "$1 ");

const FRAMES: readonly { why: string; frame: WalFrame; golden: string }[] = [
  {
    why: "an entry, its payload padded with zeros",
    frame: {
      kind: "entry",
      entry: { term: 5, index: 0x1_0000_0002, kind: 7, payload: Uint8Array.of(0xde, 0xad) },
    },
    golden:
      "-------- 02000000 01000000 07000000 0500000000000000 0200000001000000 dead000000000000",
  },
  {
    why: "a hard state",
    frame: { kind: "hard_state", hardState: { term: 9, vote: HUGE, commit: 3 } },
    golden:
      "-------- 08000000 02000000 00000000 0900000000000000 0300000000000000 ffffffffffff1f00",
  },
  {
    why: "a snapshot mark that resets",
    frame: {
      kind: "snapshot_mark",
      mark: { term: 1, index: 2, fileSize: 3, digest: DIGEST },
      resets: true,
    },
    golden:
      "-------- 28000000 03000000 01000000 0100000000000000 0200000000000000 0300000000000000" +
      Buffer.from(DIGEST).toString("hex"),
  },
  {
    why: "a commit",
    frame: { kind: "commit", commit: { batch: 6, frameCount: 4, continued: false } },
    golden:
      "-------- 10000000 04000000 00000000 0000000000000000 0600000000000000 0102030405060708" +
      "04000000 --------",
  },
];

describe("frame", () => {
  for (const { why, frame, golden } of FRAMES) {
    test(`golden bytes and back: ${why}`, () => {
      const size = encodedSize(frame);
      const into = target(size + 16);
      const crc = encodeFrame(into, frame, 8, 0x1234);
      const expected = golden.replaceAll(" ", "");
      const found = Buffer.from(into.bytes.subarray(8, 8 + size)).toString("hex");
      const masked = [...found].map((digit, at) => (expected[at] === "-" ? "-" : digit)).join("");
      expect(masked).toBe(expected);
      expect(into.view.getUint32(8, true)).toBe(crc);
      expect(crc).toBe(crc32c(into.bytes, 12, size - 4, 0x1234));
      expect(hex(into.bytes.subarray(0, 8))).toBe("aaaaaaaaaaaaaaaa ");
      expect(hex(into.bytes.subarray(8 + size))).toBe("aaaaaaaaaaaaaaaa ");
      expect(decodeFrame(into, 8)).toEqual(frame);
    });
  }

  test("entries of every payload size to 40 come back and own their bytes", () => {
    for (let size = 0; size <= 40; size++) {
      const payload = Uint8Array.from({ length: size }, (_, i) => i + 1);
      const entry = { term: HUGE, index: HUGE, kind: 0xffffffff, payload };
      const into = target(frameSize(size));
      encodeFrame(into, { kind: "entry", entry }, 0, 0);
      const back = decodeFrame(into, 0);
      into.bytes.fill(0);
      expect(back).toEqual({ kind: "entry", entry });
    }
  });

  test("a commit frame is recognized by itself, and not with another nonce", () => {
    const into = target(COMMIT_FRAME_SIZE);
    const commit = { batch: HUGE, frameCount: 2, continued: true };
    encodeFrame(into, { kind: "commit", commit }, 0, 99);
    expect(decodeLoneCommit(into, 0)).toEqual(commit);
    expect(decodeLoneCommit({ ...into, nonce: new Uint8Array(8) }, 0)).toBeUndefined();
    for (let at = 4; at < COMMIT_FRAME_SIZE; at++) {
      into.bytes[at]! ^= 1;
      expect(decodeLoneCommit(into, 0)).toBeUndefined();
      into.bytes[at]! ^= 1;
    }
  });

  test("random bytes never make a decoder throw", () => {
    const chance = seededChance(3);
    for (let round = 0; round < 20_000; round++) {
      const into = target(96);
      for (let at = 0; at < 96; at++) into.bytes[at] = Math.floor(chance() * 256);
      // Make the type and the size plausible, or nothing gets past the first check.
      into.view.setUint32(4, [0, 8, 16, 40][round & 3]!, true);
      into.view.setUint32(8, round % 6, true);
      if (chance() < 0.5) into.view.setUint32(12, round & 1, true);
      if (chance() < 0.5) into.view.setUint32(20, 0, true);
      if (chance() < 0.5) into.view.setUint32(28, 0, true);
      decodeFrame(into, 0);
      decodeLoneCommit(into, 0);
    }
  });

  const nonsense: { why: string; harm: (view: DataView) => void; of: number }[] = [
    { why: "index 0 of an entry", of: 0, harm: (view) => view.setBigUint64(24, 0n, true) },
    { why: "a term above 2^53", of: 0, harm: (view) => view.setUint32(20, 0x200000, true) },
    { why: "an unknown type", of: 0, harm: (view) => view.setUint32(8, 5, true) },
    { why: "type 0", of: 0, harm: (view) => view.setUint32(8, 0, true) },
    { why: "a hard state of another size", of: 1, harm: (view) => view.setUint32(4, 7, true) },
    { why: "a detail of a hard state", of: 1, harm: (view) => view.setUint32(12, 1, true) },
    { why: "a vote above 2^53", of: 1, harm: (view) => view.setUint32(36, 0x200000, true) },
    { why: "a mark of another size", of: 2, harm: (view) => view.setUint32(4, 48, true) },
    { why: "a detail 2 of a mark", of: 2, harm: (view) => view.setUint32(12, 2, true) },
  ];
  for (const { why, harm, of } of nonsense) {
    test(`makes no sense: ${why}`, () => {
      const into = target(128);
      encodeFrame(into, FRAMES[of]!.frame, 0, 0);
      expect(decodeFrame(into, 0)).toBeDefined();
      harm(into.view);
      expect(decodeFrame(into, 0)).toBeUndefined();
    });
  }
});

const HEADER: SegmentHeader = {
  clusterId: "00112233445566778899aabbccddeeff",
  nodeId: HUGE,
  sequence: 3,
  sizeBytes: 4096,
  nonce: NONCE,
  previousBatch: 77,
  previousCrc: 0xfedcba98,
  before: {
    lastIndex: 10,
    lastTerm: 2,
    hardState: { term: 4, vote: 6, commit: 8 },
    mark: { index: 7, term: 1, fileSize: 900, digest: DIGEST },
  },
};

describe("segment header", () => {
  const before = { lastIndex: 0, lastTerm: 0, hardState: undefined, mark: undefined };
  for (const [why, header] of [
    ["full", HEADER],
    ["first of all", { ...HEADER, previousBatch: 0, previousCrc: 0, before }],
  ] as const) {
    test(`comes back: ${why}`, () => {
      const { bytes, crc } = encodeSegmentHeader(header);
      expect(bytes.length).toBe(512);
      expect(decodeSegmentHeader(bytes)).toEqual({ ok: true, value: { header, crc } });
    });
  }

  test("begins with the magic, the checksum, the version and the cluster", () => {
    const { bytes, crc } = encodeSegmentHeader(HEADER);
    expect(Buffer.from(bytes.subarray(0, 8)).toString("latin1")).toBe("OVLYWAL\n");
    expect(new DataView(bytes.buffer).getUint32(8, true)).toBe(crc);
    expect(hex(bytes.subarray(12, 32))).toStartWith("0100000000112233 44556677");
    expect(crc).toBe(crc32c(bytes, 12, 500));
  });

  test("is refused with any bit flipped", () => {
    const { bytes } = encodeSegmentHeader(HEADER);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      const decoded = decodeSegmentHeader(bytes);
      expect(decoded.ok ? "ok" : decoded.error.kind).toBe(bit < 64 ? "not_a_segment" : "checksum");
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
  });

  test("of another version is refused by its number", () => {
    const { bytes } = encodeSegmentHeader(HEADER);
    const view = new DataView(bytes.buffer);
    view.setUint32(12, 2, true);
    view.setUint32(8, crc32c(bytes, 12, 500), true);
    expect(decodeSegmentHeader(bytes)).toEqual({
      ok: false,
      error: { kind: "version", version: 2 },
    });
  });

  test("names sort, come back, and nothing else is taken for one", () => {
    const name = formatSegmentName({ sequence: 12, firstIndex: HUGE });
    expect(name).toBe("0000000000000012-9007199254740991.wal");
    expect(parseSegmentName(name)).toEqual({ sequence: 12, firstIndex: HUGE });
    for (const other of [
      "12-1.wal",
      "0000000000000012-9007199254740992.wal",
      `${name}.tmp`,
      `x${name}`,
      "next.wal.tmp",
    ]) {
      expect(parseSegmentName(other)).toBeUndefined();
    }
  });
});
