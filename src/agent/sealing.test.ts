/**
 * Sealing as the agent drives it: config and leases in, the lease's keys and the assignment out.
 * On the real state machine, with a cluster of one that applies at once.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { parseAddress } from "../base/address.ts";
import { decodeNodeId, parseClusterId } from "../base/ids.ts";
import { createSilentLog } from "../base/log.ts";
import { acquireLease, putConfig, renewLeases } from "../control/network/commands.ts";
import type { SealKey } from "../control/network/seal-key.ts";
import {
  KEY_RETIRE_MS,
  KEY_SPREAD_MS,
  PLAIN_GRACE_MS,
  REKEY_AFTER_MS,
} from "../dataplane/seal/limits.ts";
import { openTestCluster } from "./cluster.fake.ts";
import type { Assignment } from "./data-plane.ts";
import { NetworkAgent } from "./network-agent.ts";
import { SealKeeper } from "./seal-keeper.ts";
import { encryptionOf, sealWarnings } from "./seal-status.ts";

const SELF = decodeNodeId(11);
const OTHER = decodeNodeId(12);
const PLAIN = { Network: "10.0.0.0/16" };
const SEALED = { ...PLAIN, Backend: { Type: "udp", Encryption: "aes-256-gcm" } };
const OTHER_KEY = { epoch: 1, publicKey: "0b".repeat(32) };

async function settle(): Promise<void> {
  for (let turn = 0; turn < 500; turn++) await Promise.resolve();
}

/** Timers that come a fraction of a millisecond before their time, as those of the run time may. */
class EarlyClock extends ManualClock {
  override after(delayMs: number, task: () => void): () => void {
    return super.after(delayMs > 1 ? delayMs - 0.4 : delayMs, task);
  }
}

function setUp(clock = new ManualClock()) {
  const cluster = openTestCluster();
  const dataPlane = {
    assigned: undefined as Assignment | undefined,
    engine: {} as object | undefined,
    async assign(assignment: Assignment) {
      this.assigned = assignment;
    },
  };
  let fill = 0;
  const random = { below: () => 0, bytes: (count: number) => new Uint8Array(count).fill(++fill) };
  const seal = new SealKeeper({
    nodeId: SELF,
    clusterId: parseClusterId("0".repeat(32))!,
    generation: 1,
    engine: () => dataPlane.engine,
    clock,
    random,
  });
  const agent = new NetworkAgent({
    nodeId: SELF,
    cluster: cluster.cluster,
    dataPlane,
    publicIp: parseAddress("192.168.77.11")!,
    own: (config) => config,
    wantedSubnet: undefined,
    findConflict: () => undefined,
    seal,
    clock,
    random,
    log: createSilentLog(),
  });
  /** Keys in this node's lease. */
  const listed = () => {
    const backend = agent.view().byNode.get(SELF)?.attributes.backend;
    return backend?.kind === "udp" ? (backend.sealKeys ?? []) : [];
  };
  const after = async (ms: number) => {
    await clock.advance(ms);
    await settle();
  };
  const peer = () => dataPlane.assigned?.rows[0];
  return { ...cluster, agent, clock, dataPlane, seal, listed, after, peer };
}

function attributes(sealKeys: readonly SealKey[]) {
  return {
    publicIp: parseAddress("192.168.77.12")!,
    publicIpv6: null,
    backend: { kind: "udp", port: 8285, partialChecksum: true, sealKeys } as const,
  };
}

test("sealing: the first lease of a sealed network lists a key, and nothing is ever plain", async () => {
  const { agent, apply, listed, dataPlane, peer } = setUp();
  apply(putConfig({ config: SEALED }));
  agent.start();
  await settle();
  expect(listed().map(({ epoch }) => epoch)).toEqual([1]);
  expect(encryptionOf(dataPlane.assigned)).toBe("aes-256-gcm");
  apply(acquireLease({ node: OTHER, attributes: attributes([OTHER_KEY]) }));
  await settle();
  expect(peer()).toMatchObject({ seals: true, refusesPlain: true });
  expect(dataPlane.assigned?.seal).toMatchObject({ overhead: 32, setting: { sendEpoch: 1 } });
  expect(sealWarnings(dataPlane.assigned, String)).toEqual([]);
});

test("sealing: switched on and off in a live network, step by step, told as it is", async () => {
  const { agent, apply, listed, dataPlane, after, peer } = setUp();
  apply(putConfig({ config: PLAIN }));
  agent.start();
  await settle();
  const outcome = apply(acquireLease({ node: OTHER, attributes: attributes([]) }));
  if (outcome.kind !== "acquired") throw new Error(outcome.kind);
  const { subnet } = outcome.lease;
  await settle();
  expect([listed(), peer()?.seals, dataPlane.assigned?.seal?.overhead]).toEqual([[], false, 0]);
  apply(putConfig({ config: SEALED }));
  await after(10);
  expect([listed().length, dataPlane.assigned?.seal?.overhead]).toEqual([1, 32]);
  apply(renewLeases([{ subnet, node: OTHER, attributes: attributes([OTHER_KEY]) }]));
  await after(10);
  expect(peer()?.seals).toBe(false);
  await after(KEY_SPREAD_MS);
  expect(peer()).toMatchObject({ seals: true, refusesPlain: false });
  expect(encryptionOf(dataPlane.assigned)).toBe("none");
  expect(sealWarnings(dataPlane.assigned, String)[0]).toContain("1 of 1 peers are sealed to, 0");
  await after(PLAIN_GRACE_MS);
  expect(peer()).toMatchObject({ seals: true, refusesPlain: true });
  expect(encryptionOf(dataPlane.assigned)).toBe("aes-256-gcm");
  apply(putConfig({ config: PLAIN }));
  await after(10);
  expect([listed().length, peer()?.seals]).toEqual([1, true]);
  await after(KEY_SPREAD_MS);
  expect([listed(), peer()?.seals, dataPlane.assigned?.seal?.overhead]).toEqual([[], true, 32]);
  expect(sealWarnings(dataPlane.assigned, String)[0]).toContain("1 of 1 peers are still sealed to");
  apply(renewLeases([{ subnet, node: OTHER, attributes: attributes([]) }]));
  await after(10);
  expect([peer()?.seals, dataPlane.assigned?.seal?.overhead]).toEqual([false, 0]);
  await after(KEY_RETIRE_MS + 10);
  expect(dataPlane.assigned?.seal?.setting.own).toEqual([]);
});

test("sealing: a key is replaced every hour through the lease, and the old one forgotten", async () => {
  const { agent, apply, listed, dataPlane, after } = setUp();
  apply(putConfig({ config: SEALED }));
  agent.start();
  await settle();
  const epochs = () => listed().map(({ epoch }) => epoch);
  await after(REKEY_AFTER_MS);
  await after(10);
  expect(epochs()).toEqual([2, 1]);
  expect(dataPlane.assigned?.seal?.setting.sendEpoch).toBe(1);
  await after(KEY_SPREAD_MS);
  expect(dataPlane.assigned?.seal?.setting.sendEpoch).toBe(2);
  await after(KEY_RETIRE_MS);
  await after(10);
  expect(epochs()).toEqual([2]);
  expect(dataPlane.assigned?.seal?.setting.own.length).toBe(1);
});

test("sealing: another packet engine gets another key", async () => {
  const { agent, apply, listed, dataPlane, after } = setUp();
  apply(putConfig({ config: SEALED }));
  agent.start();
  await settle();
  const [before] = listed();
  dataPlane.engine = {};
  agent.refresh();
  await after(10);
  expect(listed().map(({ epoch }) => epoch)).toEqual([2]);
  expect(listed()[0]?.publicKey).not.toBe(before?.publicKey);
});

test("sealing: a peer without a key in a sealed network is named", async () => {
  const { agent, apply, dataPlane } = setUp();
  apply(putConfig({ config: SEALED }));
  agent.start();
  apply(acquireLease({ node: OTHER, attributes: attributes([]) }));
  await settle();
  const [warning] = sealWarnings(dataPlane.assigned, () => "west");
  expect(warning).toStartWith("Nothing is sent to west: their leases list no key");
});

test("sealing: no private key outlives the agent's part in the cluster", async () => {
  const { agent, apply, dataPlane } = setUp();
  apply(putConfig({ config: SEALED }));
  agent.start();
  await settle();
  const pairs = dataPlane.assigned!.seal!.setting.own;
  expect(pairs.length).toBe(1);
  await agent.close();
  for (const { memory } of pairs) {
    expect(memory.subarray(0, 32).every((byte) => byte === 0)).toBe(true);
  }
});

test("sealing: a timer that comes too early does not end the switch", async () => {
  const { agent, apply, after, peer } = setUp(new EarlyClock());
  apply(putConfig({ config: PLAIN }));
  agent.start();
  await settle();
  apply(acquireLease({ node: OTHER, attributes: attributes([OTHER_KEY]) }));
  apply(putConfig({ config: SEALED }));
  await after(10);
  await after(KEY_SPREAD_MS);
  expect(peer()).toMatchObject({ seals: true, refusesPlain: false });
  await after(PLAIN_GRACE_MS);
  expect(peer()).toMatchObject({ seals: true, refusesPlain: true });
});
