import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  formatKeptState,
  KEPT_STATE_SIZE,
  type KeptRecord,
  KeptState,
  KeptWindows,
} from "./kept-state.ts";
import { REPLAY_WINDOW_PACKETS, SEAL_COUNTER_LIMIT } from "./limits.ts";

const RECORDS_AT = 64;
const RECORDS_END = 8192;
const WINDOWS_AT = 12_288;
const USED_AT = 12;

function newMemory(): ArrayBuffer {
  const memory = new ArrayBuffer(KEPT_STATE_SIZE);
  formatKeptState(memory);
  return memory;
}

function recordOf(epochs: readonly number[]): KeptRecord {
  const keys = epochs.map((epoch) => ({
    ...{ slot: epoch % 16, epoch, publicKey: "0c".repeat(32) },
    ...{ madeMs: 10.5, publishedMs: epoch === 1 ? 11 : null, replacedMs: null },
  }));
  return { clusterId: "0a".repeat(16), generation: 3, node: 77, keys };
}

describe("KeptState", () => {
  test("gives back what was saved last, to whoever opens the memory", () => {
    const memory = newMemory();
    expect(new KeptState(memory).load()).toBeUndefined();
    const state = new KeptState(memory);
    for (const epochs of [[1], [2, 1], [3, 2], []]) {
      state.save(recordOf(epochs));
      expect(new KeptState(memory).load()).toEqual(recordOf(epochs));
    }
  });

  test("killed in the middle of a save: the record is the old one or the new one", () => {
    const memory = newMemory();
    const bytes = new Uint8Array(memory, RECORDS_AT, RECORDS_END - RECORDS_AT);
    const state = new KeptState(memory);
    state.save(recordOf([1]));
    state.save(recordOf([2, 1]));
    const before = bytes.slice();
    state.save(recordOf([3, 2]));
    const after = bytes.slice();
    const changed = [...after.keys()].filter((at) => before[at] !== after[at]);
    expect(changed.length).toBeGreaterThan(20);
    for (let count = 0; count <= changed.length; count++) {
      bytes.set(before);
      for (const at of changed.slice(0, count)) bytes[at] = after[at]!;
      const expected = count === changed.length ? [3, 2] : [2, 1];
      expect(new KeptState(memory).load()).toEqual(recordOf(expected));
      bytes.set(before);
      for (const at of changed.slice(count)) bytes[at] = after[at]!;
      expect(new KeptState(memory).load()).toEqual(recordOf(count === 0 ? [3, 2] : [2, 1]));
    }
  });

  test("a save forgets every secret that it does not name", () => {
    const state = new KeptState(newMemory());
    const first = state.takeSlot(new Set());
    first.memory.fill(7);
    const second = state.takeSlot(new Set([first.slot]));
    second.memory.fill(8);
    const { keys, ...owner } = recordOf([1]);
    state.save({ ...owner, keys: [{ ...keys[0]!, slot: second.slot }] });
    expect(
      state
        .memoryOf(first.slot)
        .subarray(0, 32)
        .every((byte) => byte === 0),
    ).toBe(true);
    expect(state.memoryOf(second.slot).every((byte) => byte === 8)).toBe(true);
  });

  test("a slot that was given back is used again after all others", () => {
    const state = new KeptState(newMemory());
    const slots = Array.from({ length: 17 }, () => state.takeSlot(new Set([3])).slot);
    expect(new Set(slots.slice(0, 15)).size).toBe(15);
    expect(slots).not.toContain(3);
    expect(slots[15]).toBe(slots[0]!);
  });

  test("another size, version or magic, and windows that cannot be: nothing", () => {
    const saved = newMemory();
    new KeptState(saved).save(recordOf([1]));
    const change = (at: number, value: number) => {
      const memory = saved.slice(0);
      new DataView(memory).setUint8(at, value);
      return new KeptState(memory).load();
    };
    expect(change(40, 1)).toEqual(recordOf([1]));
    for (let at = 0; at < 12; at++) expect(change(at, 0xee)).toBeUndefined();
    expect(change(USED_AT + 3, 1)).toBeUndefined();
    expect(new KeptState(saved.slice(0, -8)).load()).toBeUndefined();
    for (const end of [Number.NaN, -1, 0.5, Number.POSITIVE_INFINITY, SEAL_COUNTER_LIMIT + 2]) {
      const memory = saved.slice(0);
      new DataView(memory).setUint32(USED_AT, 1, true);
      new DataView(memory).setFloat64(WINDOWS_AT + 8, end, true);
      expect(new KeptState(memory).load()).toBeUndefined();
    }
  });

  test("records that are no records, rightly summed: nothing, and nothing throws", () => {
    const good = recordOf([2, 1]);
    const [newest, oldest] = [good.keys[0]!, good.keys[1]!];
    const bad: unknown[] = [
      null,
      7,
      [],
      {},
      { ...good, node: -1 },
      { ...good, generation: "3" },
      { ...good, clusterId: undefined },
      { ...good, keys: {} },
      { ...good, keys: [null] },
      { ...good, keys: [oldest, newest] },
      { ...good, keys: [newest, { ...oldest, slot: newest.slot }] },
      { ...good, keys: [{ ...newest, slot: 16 }] },
      { ...good, keys: [{ ...newest, slot: 1.5 }] },
      { ...good, keys: [{ ...newest, epoch: 0 }] },
      { ...good, keys: [{ ...newest, publicKey: "0C".repeat(32) }] },
      { ...good, keys: [{ ...newest, madeMs: -1 }] },
      { ...good, keys: [{ ...newest, publishedMs: "now" }] },
      { ...good, keys: [5, 4, 3, 2, 1].map((epoch) => ({ ...newest, epoch, slot: epoch })) },
    ];
    for (const record of bad) {
      const memory = newMemory();
      const state = new KeptState(memory);
      // What `save` sums and writes is whatever it is given, so that only the reading can refuse.
      const keys: KeptRecord["keys"] = [];
      state.save(Object.assign(Object.create({ keys }), { toJSON: () => record }));
      expect(new KeptState(memory).load()).toBeUndefined();
    }
  });

  test("any bytes at all: nothing throws", () => {
    const memory = newMemory();
    const bytes = new Uint8Array(memory);
    new KeptState(memory).save(recordOf([2, 1]));
    const good = bytes.slice(0, RECORDS_END);
    const change = fc.record({
      at: fc.integer({ min: 0, max: 600 }),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    });
    fc.assert(
      fc.property(change, (each) => {
        bytes.set(good);
        bytes.set(each.bytes, each.at);
        const isSame = Buffer.compare(bytes.subarray(0, RECORDS_END), good) === 0;
        const loaded = new KeptState(memory).load();
        if (isSame) expect(loaded).toEqual(recordOf([2, 1]));
        else if (loaded !== undefined) expect(loaded).toEqual(recordOf([2, 1]));
      }),
      { numRuns: 500 },
    );
  });
});

describe("KeptWindows", () => {
  test("what the last process has seen, this one refuses; what is newer passes", () => {
    const memory = newMemory();
    const first = new KeptWindows(memory).open(1, 2)!;
    for (const counter of [5, 9, 7]) first.note(counter);
    const windows = new KeptWindows(memory);
    const again = windows.open(1, 2)!;
    for (let counter = 0; counter <= 9; counter++) expect(again.isFresh(counter)).toBe(false);
    expect([again.isFresh(10), again.isFresh(2 ** 40)]).toEqual([true, true]);
    again.note(12);
    expect([again.isFresh(11), again.isFresh(12), again.isFresh(8)]).toEqual([true, false, false]);
    again.note(12 + REPLAY_WINDOW_PACKETS);
    expect(again.isFresh(13)).toBe(true);
    expect(windows.open(2, 1)!.isFresh(0)).toBe(true);
  });

  test("windows of a key that is gone are given to others, empty", () => {
    const memory = newMemory();
    const windows = new KeptWindows(memory);
    windows.open(1, 2)!.note(100);
    windows.open(1, 3)!.note(100);
    windows.open(4, 2)!.note(100);
    windows.keepOnly(new Set([4]));
    expect(windows.open(5, 6)!.isFresh(0)).toBe(true);
    expect(windows.open(5, 7)!.isFresh(0)).toBe(true);
    const next = new KeptWindows(memory);
    expect(next.open(4, 2)!.isFresh(100)).toBe(false);
    expect(next.open(1, 2)!.isFresh(0)).toBe(true);
    expect(new DataView(memory).getUint32(USED_AT, true)).toBe(4);
  });

  test("no room: said so, and what there is stays", () => {
    const memory = newMemory();
    const count = (KEPT_STATE_SIZE - WINDOWS_AT) / 16;
    const ids = new Uint32Array(memory, WINDOWS_AT);
    for (let place = 0; place < count; place++) {
      ids[4 * place] = 1;
      ids[4 * place + 1] = place + 1;
    }
    new DataView(memory).setUint32(USED_AT, count, true);
    const windows = new KeptWindows(memory);
    expect(windows.open(1, count)).toBeDefined();
    expect(windows.open(1, count + 1)).toBeUndefined();
    windows.keepOnly(new Set());
    expect(windows.open(2, 1)).toBeDefined();
  });
});
