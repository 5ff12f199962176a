import { describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import { PeerSlots } from "./peer-slots.ts";
import { buildPrefixIndex, type IndexedPrefix, NO_MATCH, PrefixIndex } from "./prefix-index.ts";
import type { FibRow } from "./row.ts";
import {
  addressWords,
  encodeEmptyFib,
  encodeFib,
  FibView,
  LOCAL_MATCH,
  ROW_PARTIAL_CHECKSUM,
  ROW_UNREACHABLE,
} from "./table.ts";

/** A small generator with a seed, so that a failure repeats. */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

function maskWord(word: number, length: number): number {
  if (length <= 0) return 0;
  return length >= 32 ? word >>> 0 : (word & (-1 << (32 - length))) >>> 0;
}

function maskWords(words: readonly number[], length: number): number[] {
  return words.map((word, i) => maskWord(word, length - 32 * i));
}

/** The slow twin: every prefix is looked at. */
function slowLookup(prefixes: readonly IndexedPrefix[], words: readonly number[]): number {
  let best = -1;
  let value = NO_MATCH;
  for (const prefix of prefixes) {
    const key = maskWords(words, prefix.length);
    if (prefix.length < best || !key.every((word, i) => word === prefix.words[i])) continue;
    best = prefix.length;
    value = prefix.value;
  }
  return value;
}

function v4Index(prefixes: readonly IndexedPrefix[]): PrefixIndex {
  return new PrefixIndex(buildPrefixIndex(1, prefixes), 0);
}

describe("PrefixIndex", () => {
  test("an empty index matches nothing", () => {
    expect(v4Index([]).lookupV4(0)).toBe(NO_MATCH);
    expect(v4Index([]).lookupV4(-1)).toBe(NO_MATCH);
  });

  test("the longest prefix wins, /0 catches the rest, /32 is one address", () => {
    const index = v4Index([
      { words: [0], length: 0, value: 0 },
      { words: [0x0a000000], length: 8, value: 1 },
      { words: [0x0a003500], length: 24, value: 2 },
      { words: [0x0a003507], length: 32, value: 3 },
    ]);
    const lookups = [0x0a003507, 0x0a003508, 0x0a003600, 0x0b000000, 0xffffffff];
    expect(lookups.map((address) => index.lookupV4(address | 0))).toEqual([3, 2, 1, 0, 0]);
  });

  test("random IPv4 prefixes: agrees with the slow twin", () => {
    const random = randomFrom(4);
    for (let round = 0; round < 30; round++) {
      const prefixes = Array.from({ length: random(60) }, (_, value) => {
        const length = random(33);
        // A few bits only, so that prefixes nest and collide.
        const word = maskWord((0x0a000000 | random(1 << 12)) >>> 0, length);
        return { words: [word], length, value };
      });
      const index = v4Index(prefixes);
      for (let i = 0; i < 200; i++) {
        const address = (0x0a000000 | random(1 << 12)) >>> 0;
        expect(index.lookupV4(address | 0)).toBe(slowLookup(prefixes, [address]));
      }
    }
  });

  test("random IPv6 prefixes: agrees with the slow twin", () => {
    const random = randomFrom(6);
    const word = () => (random(4) === 0 ? random(2 ** 32) : random(4));
    for (let round = 0; round < 30; round++) {
      const prefixes = Array.from({ length: random(60) }, (_, value) => {
        const length = random(129);
        const words = maskWords([0x20010db8, word(), word(), word()], length);
        return { words, length, value };
      });
      const index = new PrefixIndex(buildPrefixIndex(4, prefixes), 0);
      for (let i = 0; i < 200; i++) {
        const words = [0x20010db8, word(), word(), word()];
        const view = new DataView(new ArrayBuffer(20));
        for (const [at, value] of words.entries()) view.setUint32(4 + 4 * at, value);
        expect(index.lookupV6(view, 4)).toBe(slowLookup(prefixes, words));
      }
    }
  });

  test("a hundred thousand leases: every one is found, and no probe sequence is long", () => {
    const prefixes = Array.from({ length: 100_000 }, (_, value) => ({
      words: [0x0a000000 + value * 256],
      length: 24,
      value,
    }));
    const words = buildPrefixIndex(1, prefixes);
    const index = new PrefixIndex(words, 0);
    for (const { words: key, value } of prefixes) {
      expect(index.lookupV4((key[0]! + 77) | 0)).toBe(value);
    }
    expect(index.lookupV4(0x09ffffff)).toBe(NO_MATCH);
    expect(words.byteLength).toBeLessThan(8 * 1024 * 1024);
  });
});

describe("PeerSlots", () => {
  const [a, b, c] = [decodeNodeId(1), decodeNodeId(2), decodeNodeId(3)];

  test("a peer keeps its slot across tables", () => {
    const slots = new PeerSlots();
    expect(slots.assign(new Set([a, b]), 1, 0)).toEqual([]);
    slots.assign(new Set([b, c, a]), 2, 1);
    expect([slots.slotOf(a), slots.slotOf(b), slots.slotOf(c)]).toEqual([0, 1, 2]);
  });

  test("a slot is not given out again before the loop has taken a table without its peer", () => {
    const slots = new PeerSlots();
    slots.assign(new Set([a]), 1, 0);
    slots.assign(new Set(), 2, 1);
    expect(slots.assign(new Set([b]), 3, 1)).toEqual([]);
    expect(slots.slotOf(b)).toBe(1);
    expect(slots.assign(new Set([b, c]), 4, 2)).toEqual([0]);
    expect(slots.slotOf(c)).toBe(0);
    expect(slots.slotOf(a)).toBeUndefined();
    expect(slots.count).toBe(2);
  });
});

function row(prefix: string, peer: number, address: string, partialChecksum = true): FibRow {
  return {
    prefix: parsePrefix(prefix)!,
    peer: decodeNodeId(peer),
    endpoint: { address: parseAddress(address)!, port: 8285 },
    partialChecksum,
  };
}

describe("FibView", () => {
  const table = {
    local: [parsePrefix("10.0.53.0/24")!, parsePrefix("fd00:53::/64")!],
    rows: [
      row("10.0.54.0/24", 9, "192.0.2.9"),
      row("fd00:54::/64", 9, "192.0.2.9"),
      row("10.0.55.0/24", 8, "2001:db8::8", false),
      row("10.0.53.0/24", 7, "192.0.2.7"),
    ],
  };
  const slots = new Map([[9, 4]]);
  const view = new FibView(
    encodeFib(table, {
      generation: 12,
      overlayMtu: 1472,
      own: [parseAddress("10.0.53.0")!, parseAddress("fd00:53::")!],
      underlayFamily: 4,
      slotOf: (peer) => slots.get(peer) ?? 0,
    }),
  );
  const v4 = (text: string) => addressWords(parseAddress(text)!)[3]! | 0;
  const v6 = (text: string) => {
    const out = new DataView(new ArrayBuffer(16));
    for (const [i, word] of addressWords(parseAddress(text)!).entries()) out.setUint32(4 * i, word);
    return view.lookupV6(out, 0);
  };

  test("header: generation, MTU, own addresses", () => {
    expect([view.generation, view.overlayMtu, view.rowCount]).toEqual([12, 1472, 4]);
    expect([view.hasOwnV4, view.hasOwnV6]).toEqual([true, true]);
    expect([...view.ownV4]).toEqual([0, 0, 0xffff, 0x0a003500]);
    expect([...view.ownV6]).toEqual([0xfd000053, 0, 0, 0]);
  });

  test("lookups: rows, our own lease before any row, no match", () => {
    expect(view.lookupV4(v4("10.0.54.200"))).toBe(0);
    expect(view.lookupV4(v4("10.0.53.1"))).toBe(LOCAL_MATCH);
    expect(view.lookupV4(v4("10.0.56.1"))).toBe(NO_MATCH);
    expect([v6("fd00:54::1"), v6("fd00:53::1"), v6("fd00:55::1")]).toEqual([
      1,
      LOCAL_MATCH,
      NO_MATCH,
    ]);
  });

  test("rows: slot, flags, endpoint", () => {
    expect([view.slot(0), view.port(0)]).toEqual([4, 8285]);
    expect(view.flags(0)).toBe(ROW_PARTIAL_CHECKSUM);
    expect(view.flags(2)).toBe(ROW_UNREACHABLE);
    const words = new Uint32Array(8);
    view.copyEndpoint(0, words, 4);
    expect([...words]).toEqual([0, 0, 0, 0, 0, 0, 0xffff, 0xc0000209]);
    expect(view.isEndpoint(0, words, 4, 8285)).toBe(true);
    expect(view.isEndpoint(0, words, 4, 8286)).toBe(false);
    expect(view.isEndpoint(0, words, 0, 8285)).toBe(false);
    expect(view.isSameEndpoint(0, 1)).toBe(true);
    expect(view.isSameEndpoint(0, 2)).toBe(false);
  });

  test("the empty table matches nothing and has no own address", () => {
    const empty = new FibView(encodeEmptyFib(1400));
    expect([empty.lookupV4(v4("10.0.53.1")), empty.hasOwnV4]).toEqual([NO_MATCH, false]);
  });
});
