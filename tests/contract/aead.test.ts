/**
 * What every engine of AES-256-GCM must do, run on node:crypto and on the host's libcrypto.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import type { AeadEngine } from "../../src/dataplane/seal/aead.ts";
import { SEAL_HEADER_SIZE, SEAL_OVERHEAD, SEAL_TAG_SIZE } from "../../src/dataplane/seal/limits.ts";
import { createNodeAead } from "../../src/dataplane/seal/node-aead.ts";
import { type EngineOf, sealPair } from "../../src/dataplane/seal/seal-pair.fake.ts";
import { createWireMemory, type WireMemory } from "../../src/dataplane/wire/memory.ts";
import { openLibcryptoAead } from "../../src/host/sys/libcrypto.ts";
import vectors from "../vectors/seal.json";

const INNER_AT = 20_000;

const hasLibcrypto = openLibcryptoAead(createWireMemory(64)) !== undefined;
const ENGINES: readonly { name: string; open: EngineOf; skip: boolean }[] = [
  { name: "node:crypto", open: createNodeAead, skip: false },
  { name: "libcrypto", open: openLibcrypto, skip: !hasLibcrypto },
];

function openLibcrypto(memory: WireMemory): AeadEngine {
  const engine = openLibcryptoAead(memory);
  if (engine === undefined) throw new Error("libcrypto went away");
  return engine;
}

for (const { name, open, skip } of ENGINES) {
  const title = skip ? `${name} [skipped: no libcrypto on this host]` : name;
  describe.skipIf(skip)(title, () => {
    for (const one of vectors.cases) {
      const fromHex = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));
      const inner = fromHex(one.inner);
      const sealed = fromHex(one.sealed);

      test(`vector: ${one.name}`, () => {
        const memory = createWireMemory(40_000);
        const key = open(memory).createKey(fromHex(one.key), fromHex(one.salt));
        for (const cut of [0, 1, 15, 16, 40, inner.length]) {
          for (const at of [0, 3]) {
            if (cut > inner.length) continue;
            memory.bytes.fill(0xee);
            memory.bytes.set(sealed.subarray(0, SEAL_HEADER_SIZE), at);
            memory.bytes.set(inner, INNER_AT);
            // The head is never empty in the loop; the tail may be.
            const head = cut === 0 ? inner.length : cut;
            expect(key.seal(at, INNER_AT, head, INNER_AT + head, inner.length - head)).toBe(true);
            const end = at + inner.length + SEAL_OVERHEAD;
            expect(memory.bytes.slice(at, end)).toEqual(sealed);
            expect(memory.bytes[end]).toBe(0xee);
            expect(memory.bytes.slice(INNER_AT, INNER_AT + inner.length)).toEqual(inner);
            expect(key.open(at, sealed.length)).toBe(true);
            const body = at + SEAL_HEADER_SIZE;
            expect(memory.bytes.slice(body, body + inner.length)).toEqual(inner);
            expect(memory.bytes[end]).toBe(0xee);
          }
        }
        key.close();
      });
    }

    test("a changed header, body or tag is refused, and the next packet opens", () => {
      const { a, b } = sealPair(open);
      const inner = new Uint8Array(100).fill(0x45);
      const places = [
        SEAL_HEADER_SIZE,
        60,
        SEAL_OVERHEAD + 99,
        SEAL_OVERHEAD + 100 - SEAL_TAG_SIZE,
      ];
      for (const at of places) {
        const sealed = a.seal(5, inner);
        const changed = Uint8Array.from(sealed);
        changed[at] = changed[at]! ^ 0x10;
        expect(b.open(changed)).toBeNumber();
        expect(b.open(sealed)).toEqual({ slot: 3, inner });
      }
    });

    test("a closed key seals and opens nothing, and may be closed twice", () => {
      const memory = createWireMemory(4096);
      const key = open(memory).createKey(new Uint8Array(32).fill(1), new Uint8Array(4));
      expect(key.seal(0, 1024, 20, 0, 0)).toBe(true);
      key.close();
      key.close();
      expect(key.open(0, 20 + SEAL_OVERHEAD)).toBe(false);
      expect(key.seal(0, 1024, 20, 0, 0)).toBe(false);
    });

    test("keys do not disturb each other", () => {
      const memory = createWireMemory(4096);
      const engine = open(memory);
      const [one, other] = [1, 2].map((fill) =>
        engine.createKey(new Uint8Array(32).fill(fill), new Uint8Array(4)),
      );
      expect(one!.seal(0, 1024, 64, 0, 0)).toBe(true);
      expect(other!.seal(512, 1024, 64, 0, 0)).toBe(true);
      expect(other!.open(0, 64 + SEAL_OVERHEAD)).toBe(false);
      expect(other!.open(512, 64 + SEAL_OVERHEAD)).toBe(true);
    });
  });
}

test("engines agree: what one seals the other opens", () => {
  if (!hasLibcrypto) return;
  let count = 0;
  const engineOf: EngineOf = (memory) =>
    count++ === 0 ? createNodeAead(memory) : openLibcrypto(memory);
  const { a, b } = sealPair(engineOf);
  expect(a.sessions.engineName).not.toBe(b.sessions.engineName);
  for (const size of [1, 20, 64, 1408, 1409, 9000]) {
    const inner = new Uint8Array(size).fill(size);
    expect(b.open(a.seal(5, inner))).toEqual({ slot: 3, inner });
    expect(a.open(b.seal(3, inner, Math.ceil(size / 3)))).toEqual({ slot: 5, inner });
  }
});
