/**
 * Node and cluster identities: text forms and hostile input.
 *
 * @module
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  decodeNodeId,
  decodeRandomClusterId,
  decodeRandomNodeId,
  decodeTerm,
  formatNodeId,
  parseClusterId,
  parseNodeId,
} from "./ids.ts";

test("node id: text and number agree over the whole range", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (value) => {
      const id = decodeNodeId(value);
      expect(parseNodeId(formatNodeId(id))).toBe(id);
    }),
  );
});

test("node id: random bytes give a safe integer that is never 0", () => {
  expect<number>(decodeRandomNodeId(new Uint8Array(7))).toBe(1);
  expect<number>(decodeRandomNodeId(new Uint8Array(7).fill(255))).toBe(Number.MAX_SAFE_INTEGER);
});

test("parseNodeId: refuses 0, other lengths, capitals and unsafe integers", () => {
  for (const text of ["00000000000000", "1", "0000000000000A", "ffffffffffffff", ""]) {
    expect(parseNodeId(text)).toBeUndefined();
  }
});

test("cluster id: round trip and wrong length", () => {
  const id = decodeRandomClusterId(new Uint8Array(16).fill(171));
  expect(parseClusterId(id)).toBe(id);
  expect(parseClusterId("ab")).toBeUndefined();
});

test("counters: an unsafe or negative number is our bug", () => {
  expect(() => decodeTerm(-1)).toThrow("safe integer");
  expect(() => decodeTerm(2 ** 53)).toThrow("safe integer");
});
