/**
 * Micro-benchmark of the replicated state machine: puts, leases, snapshots. No disk, no network,
 * one core. CPU time, garbage collection and compiler threads included, is the figure to compare on
 * a machine that does other things too.
 *
 *     scripts/bench kv
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

/** Measures `work`, which does `count` things, and prints one line. */
function measure<Value>(name: string, count: number, work: () => Value): Value {
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  const value = work();
  const ms = performance.now() - startMs;
  const { user, system } = process.cpuUsage(cpu);
  const rate = Math.round((count / ms) * 1000).toLocaleString("en");
  const cpuMs = ((user + system) / 1000).toFixed(0);
  console.log(
    `${name.padEnd(40)} ${ms.toFixed(0).padStart(6)} ms ${rate.padStart(10)} /s  CPU ${cpuMs} ms`,
  );
  return value;
}

function key(i: number): string {
  return `/bench/${String((i * 7919) % KEY_COUNT).padStart(8, "0")}`;
}

function benchSmallPuts(): void {
  const machine = createStateMachine({ ...kvHandlers });
  measure("put, 32 bytes, 1,000 keys", PUT_COUNT, () => {
    for (let i = 0; i < PUT_COUNT; i++) {
      const key = `/small/${i % 1000}`;
      applyNext(machine, txn({ success: [{ kind: "put", key, value: SMALL_VALUE }] }), i);
    }
  });
}

function benchPuts(): void {
  const machine = createStateMachine({ ...kvHandlers });
  let sequence = 0;
  const puts = (count: number) => () => {
    for (let i = 0; i < count; i++) {
      const command = txn({ success: [{ kind: "put", key: key(i), value: VALUE }] });
      applyNext(machine, command, sequence++);
    }
  };
  measure("put, 256 bytes, 100,000 keys", PUT_COUNT, puts(PUT_COUNT));
  const parts = measure("snapshot, 100,000 keys", 1, () => [...machine.snapshot()]);
  measure("restore", 1, () => {
    const problem = createStateMachine({ ...kvHandlers }).restore(parts);
    if (problem !== undefined) throw new Error(problem);
  });
  const frozen = measure("freeze for a snapshot (stops the loop)", 1, () => machine.snapshot());
  measure("put while a snapshot is held", KEY_COUNT, puts(KEY_COUNT));
  if ([...frozen].length !== parts.length) throw new Error("the held snapshot has changed");
  measure("hash", 1000, () => {
    for (let i = 0; i < 1000; i++) machine.hash();
  });
}

function benchLeases(): void {
  const machine = createStateMachine({ ...kvHandlers, ...networkHandlers });
  const publicIp = parseAddress("192.0.2.1");
  if (publicIp === undefined) throw new Error("the address must be valid");
  const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
  const attributes = { publicIp, publicIpv6: null, backend };
  let sequence = 0;
  const run = (command: Command) => applyNext(machine, command, sequence++);
  const acquire = (from: number, to: number) => () => {
    for (let id = from; id <= to; id++) {
      run(acquireLease({ node: decodeNodeId(id * 7919), attributes }));
    }
  };
  // A /10 has 16,383 subnets: the last ones are found after a few tries.
  run(putConfig({ config: { Network: "10.0.0.0/10" } }));
  measure("acquire, the first 10,000 leases", LEASE_COUNT, acquire(1, LEASE_COUNT));
  measure("acquire, 1,000 more", 1000, acquire(LEASE_COUNT + 1, LEASE_COUNT + 1000));
  const view = measure("read 11,000 leases", 1, () => readNetwork(machine.reader));
  measure("renew one by one", view.leases.size, () => {
    for (const { subnet, node } of view.leases.values()) {
      run(renewLeases([{ subnet, node, attributes }]));
    }
  });
  const renewed = readNetwork(machine.reader);
  acquire(1, 1)();
  measure("read again after one change", 1, () => readNetwork(machine.reader, renewed));
  measure("renumber all", 1, () => {
    run(putConfig({ config: { Network: "10.64.0.0/10" }, renumber: true }));
  });
}

benchSmallPuts();
benchPuts();
benchLeases();
console.log(`resident ${(process.memoryUsage.rss() / 2 ** 20).toFixed(0)} MiB`);
