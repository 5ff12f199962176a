/**
 * Micro-benchmark of the replicated state machine: puts, leases, snapshots. No disk, no network,
 * one core.
 *
 *     bun scripts/bench/kv.ts
 *
 * @module
 */
import { parseAddress } from "../../src/base/address.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../src/base/ids.ts";
import { kvHandlers } from "../../src/control/kv/handlers.ts";
import { createStateMachine } from "../../src/control/kv/state-machine.ts";
import { txn } from "../../src/control/kv/txn.ts";
import type { Command, StateMachine } from "../../src/control/kv/types.ts";
import { acquireLease, putConfig, renewLeases } from "../../src/control/network/commands.ts";
import { networkHandlers } from "../../src/control/network/handlers.ts";
import { readNetwork } from "../../src/control/network/view.ts";

const KEY_COUNT = 100_000;
const PUT_COUNT = 600_000;
const LEASE_COUNT = 10_000;
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

function benchPuts(): void {
  const machine = createStateMachine({ ...kvHandlers });
  let startMs = performance.now();
  for (let i = 0; i < PUT_COUNT; i++) {
    applyNext(machine, txn({ success: [{ kind: "put", key: key(i), value: VALUE }] }), i);
  }
  report("put, 256 bytes, 100,000 keys", PUT_COUNT, startMs);

  startMs = performance.now();
  const parts = [...machine.snapshot()];
  report(`snapshot, 100,000 keys, ${parts.length} parts`, 1, startMs);

  startMs = performance.now();
  const problem = createStateMachine({ ...kvHandlers }).restore(parts);
  report(`restore (${problem ?? "same digest"})`, 1, startMs);

  startMs = performance.now();
  const frozen = machine.snapshot();
  report("freeze for a snapshot (stops the loop)", 1, startMs);
  startMs = performance.now();
  for (let i = 0; i < KEY_COUNT; i++) {
    const command = txn({ success: [{ kind: "put", key: key(i), value: VALUE }] });
    applyNext(machine, command, PUT_COUNT + i);
  }
  report("put while a snapshot is held", KEY_COUNT, startMs);
  if ([...frozen].length !== parts.length) throw new Error("the held snapshot has changed");
  startMs = performance.now();
  for (let i = 0; i < 1000; i++) machine.hash();
  report("hash", 1000, startMs);
}

function benchLeases(): void {
  const machine = createStateMachine({ ...kvHandlers, ...networkHandlers });
  const publicIp = parseAddress("192.0.2.1");
  if (publicIp === undefined) throw new Error("the address must be valid");
  const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
  const attributes = { publicIp, publicIpv6: null, backend };
  let sequence = 0;
  const run = (command: Command) => applyNext(machine, command, sequence++);
  const acquire = (id: number) => run(acquireLease({ node: decodeNodeId(id * 7919), attributes }));

  // A /10 has 16,383 subnets: the last ones are found after a few tries.
  run(putConfig({ config: { Network: "10.0.0.0/10" } }));
  let startMs = performance.now();
  for (let id = 1; id <= LEASE_COUNT; id++) acquire(id);
  report("acquire, the first 10,000 leases", LEASE_COUNT, startMs);
  startMs = performance.now();
  for (let id = 1; id <= 1000; id++) acquire(LEASE_COUNT + id);
  report("acquire, 1,000 more", 1000, startMs);
  startMs = performance.now();
  const view = readNetwork(machine.reader);
  report("read 11,000 leases", 1, startMs);
  startMs = performance.now();
  for (const { subnet, node } of view.leases.values()) {
    run(renewLeases([{ subnet, node, attributes }]));
  }
  report("renew one by one", view.leases.size, startMs);
  const renewed = readNetwork(machine.reader);
  acquire(1);
  startMs = performance.now();
  readNetwork(machine.reader, renewed);
  report("read again after one change", 1, startMs);
  startMs = performance.now();
  const outcome = run(putConfig({ config: { Network: "10.64.0.0/10" }, renumber: true }));
  report(`renumber all (${outcome.events.length} events)`, 1, startMs);
}

benchSmallPuts();
benchPuts();
benchLeases();
console.log(`resident ${(process.memoryUsage.rss() / 2 ** 20).toFixed(0)} MiB`);
