import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeTerm } from "../../../base/ids.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { txn } from "../../kv/txn.ts";
import type { KvEvent } from "../../kv/types.ts";
import { RETELL_EVENTS } from "../limits.ts";
import { SimClock } from "../sim-cluster.fake.ts";
import { Retelling } from "./retelling.ts";

function setUp(keyCount: number) {
  const machine = createStateMachine({ ...kvHandlers });
  const clock = new SimClock();
  const told: (readonly KvEvent[])[] = [];
  const { reader } = machine;
  const retelling = new Retelling({ reader, clock, tell: (events) => void told.push(events) });
  const put = (key: string, value: number) => {
    const command = txn({ success: [{ kind: "put", key, value: Uint8Array.of(value) }] });
    const index = decodeIndex(machine.appliedIndex + 1);
    machine.apply(command, { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined });
  };
  for (let i = 0; i < keyCount; i++) put(key(i), 0);
  return { retelling, clock, told, put };
}

function key(i: number): string {
  return `/${String(i).padStart(6, "0")}`;
}

function keysOf(events: readonly KvEvent[]): string[] {
  return events.map((event) => (event.kind === "put" ? event.current.key : event.key));
}

describe("Retelling", () => {
  test("tells every key once, a bounded number in each turn", () => {
    const count = 2 * RETELL_EVENTS + 7;
    const { retelling, clock, told } = setUp(count);
    retelling.begin();
    expect(told.map((events) => events.length)).toEqual([RETELL_EVENTS]);
    clock.step(clock.nowMs());
    clock.step(clock.nowMs());
    clock.step(clock.nowMs());
    expect(told.map((events) => events.length)).toEqual([RETELL_EVENTS, RETELL_EVENTS, 7]);
    expect(told.flatMap(keysOf)).toEqual(Array.from({ length: count }, (_, i) => key(i)));
  });

  test("tells what has changed meanwhile as it is now", () => {
    const { retelling, clock, told, put } = setUp(RETELL_EVENTS + 2);
    retelling.begin();
    put(key(RETELL_EVENTS + 1), 9);
    clock.step(clock.nowMs());
    const last = told.at(-1)!.at(-1)!;
    expect(last.kind === "put" && last.current.value).toEqual(Uint8Array.of(9));
  });

  test("begins anew, and stops", () => {
    const { retelling, clock, told } = setUp(2 * RETELL_EVENTS);
    retelling.begin();
    retelling.begin();
    clock.step(clock.nowMs());
    expect(told.map((events) => keysOf(events)[0])).toEqual([key(0), key(0), key(RETELL_EVENTS)]);
    retelling.begin();
    retelling.stop();
    clock.step(clock.nowMs());
    expect(told).toHaveLength(4);
  });

  test("an empty state is told of too: what was there is gone", () => {
    const { retelling, told } = setUp(0);
    retelling.begin();
    expect(told).toEqual([[]]);
  });
});
