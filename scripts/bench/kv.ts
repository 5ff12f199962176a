/**
 * Micro-benchmark of the replicated state machine: puts, transactions, snapshots. No disk, no
 * network, one core.
 *
 *     bun scripts/bench/kv.ts
 *
 * @module
 */
import { decodeIndex, decodeNodeId, decodeTerm } from "../../src/base/ids.ts";
import { kvHandlers } from "../../src/control/kv/handlers.ts";
import { createStateMachine } from "../../src/control/kv/state-machine.ts";
import { txn } from "../../src/control/kv/txn.ts";
import type { Command, StateMachine } from "../../src/control/kv/types.ts";

const KEY_COUNT = 100_000;
const PUT_COUNT = 600_000;
const VALUE = new Uint8Array(256).fill(120);
const SMALL_VALUE = new Uint8Array(32).fill(120);

function applyNext(machine: StateMachine, command: Command, sequence: number) {
  return machine.apply(command, {
    index: decodeIndex(machine.appliedIndex + 1),
    term: decodeTerm(1),
    proposedAtMs: 0,
    request: { client: decodeNodeId(7), sequence },
  });
}

function report(name: string, count: number, startMs: number): void {
  const ms = performance.now() - startMs;
  const rate = Math.round((count / ms) * 1000).toLocaleString("en");
  console.log(`${name.padEnd(44)} ${ms.toFixed(0).padStart(6)} ms  ${rate.padStart(12)} /s`);
}

function key(i: number): string {
  return `/bench/${String((i * 7919) % KEY_COUNT).padStart(8, "0")}`;
}

function benchSmallPuts(): void {
  const machine = createStateMachine({ ...kvHandlers });
  const startMs = performance.now();
  for (let i = 0; i < PUT_COUNT; i++) {
    const key = `/small/${i % 1000}`;
    applyNext(machine, txn({ success: [{ kind: "put", key, value: SMALL_VALUE }] }), i);
  }
  report("put, 32 bytes, 1,000 keys", PUT_COUNT, startMs);
}

benchSmallPuts();
const machine = createStateMachine({ ...kvHandlers });
let start = performance.now();
for (let i = 0; i < PUT_COUNT; i++) {
  applyNext(machine, txn({ success: [{ kind: "put", key: key(i), value: VALUE }] }), i);
}
report("put, 256 bytes, 100,000 keys", PUT_COUNT, start);

start = performance.now();
let parts = [...machine.snapshot()];
report(`snapshot, 100,000 keys, ${parts.length} parts`, 1, start);

start = performance.now();
const copy = createStateMachine({ ...kvHandlers });
const problem = copy.restore(parts);
report(`restore (${problem ?? "same digest"})`, 1, start);

start = performance.now();
const frozen = machine.snapshot();
report("freeze for a snapshot (stops the loop)", 1, start);
start = performance.now();
for (let i = 0; i < 100_000; i++) {
  applyNext(machine, txn({ success: [{ kind: "put", key: key(i), value: VALUE }] }), PUT_COUNT + i);
}
report("put while a snapshot is held", 100_000, start);
parts = [...frozen];
start = performance.now();
for (let i = 0; i < 1000; i++) machine.hash();
report("hash", 1000, start);
console.log(`resident ${(process.memoryUsage.rss() / 2 ** 20).toFixed(0)} MiB`);
