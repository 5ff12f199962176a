/**
 * The network agent on the real state machine, with a cluster of one that applies at once.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { type Prefix, parseAddress, parsePrefix } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import { decodeNodeId, type NodeId } from "../base/ids.ts";
import { createSilentLog } from "../base/log.ts";
import { txn } from "../control/kv/txn.ts";
import { acquireLease, putConfig, releaseLease } from "../control/network/commands.ts";
import { openTestCluster } from "./cluster.fake.ts";
import type { Assignment } from "./data-plane.ts";
import type { HoldRecord } from "./lease-hold.ts";
import { NetworkAgent } from "./network-agent.ts";

const SELF = decodeNodeId(11);
const OTHER = decodeNodeId(12);
const CONFIG = { Network: "10.0.0.0/16" };
const HOUR_MS = 3_600_000;

interface SetUp {
  readonly wanted?: string;
  readonly conflict?: string;
  readonly publicIp?: string;
  /** What an earlier process has kept. */
  readonly recalled?: HoldRecord;
}

function setUp(options: SetUp = {}) {
  const clock = new ManualClock();
  const test = openTestCluster();
  const assignments: Assignment[] = [];
  const kept: HoldRecord[] = [];
  const dataPlane = {
    assigned: undefined as Assignment | undefined,
    failure: undefined as HostError | undefined,
    async assign(assignment: Assignment) {
      if (this.failure) throw this.failure;
      this.assigned = assignment;
      assignments.push(assignment);
    },
  };
  const agent = new NetworkAgent({
    nodeId: SELF,
    cluster: test.cluster,
    dataPlane,
    publicIp: parseAddress(options.publicIp ?? "192.168.77.11")!,
    own: (config) => config,
    wantedSubnet: options.wanted === undefined ? undefined : parsePrefix(options.wanted),
    findConflict: () => options.conflict,
    memory: {
      recalled: options.recalled,
      async keep(record) {
        kept.push(record);
      },
    },
    clock,
    random: { below: () => 0, bytes: (count) => new Uint8Array(count) },
    log: createSilentLog(),
  });
  const commands = () => test.executed.splice(0).map(({ kind }) => kind);
  return { ...test, agent, clock, dataPlane, assignments, kept, commands };
}

/** Lets every promise that waits for nothing but other promises go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 500; turn++) await Promise.resolve();
}

function acquireFor(node: NodeId, publicIp: string, wanted?: Prefix) {
  return acquireLease({
    node,
    ...(wanted === undefined ? {} : { wanted }),
    attributes: {
      publicIp: parseAddress(publicIp)!,
      publicIpv6: null,
      backend: { kind: "udp", port: 8285, partialChecksum: true },
    },
  });
}

test("network agent: waits for a config, then acquires and assigns", async () => {
  const { agent, apply, assignments, commands } = setUp();
  agent.start();
  await settle();
  expect(agent.state.kind).toBe("no_config");
  apply(putConfig({ config: CONFIG }));
  await settle();
  expect(agent.state.kind).toBe("ready");
  expect(commands()).toEqual(["acquire_lease"]);
  expect(assignments.at(-1)).toMatchObject({ network: "10.0.0.0/16", port: 8285, rows: [] });
});

test("network agent: takes the subnet that its files remember", async () => {
  const { agent, apply } = setUp({ wanted: "10.0.53.0/24" });
  apply(putConfig({ config: CONFIG }));
  agent.start();
  await settle();
  expect(agent.state).toEqual({ kind: "ready", subnet: parsePrefix("10.0.53.0/24") as Prefix });
});

test("network agent: another node's lease becomes a peer, and goes with its release", async () => {
  const { agent, apply, assignments } = setUp();
  apply(putConfig({ config: CONFIG }));
  agent.start();
  await settle();
  const outcome = apply(acquireFor(OTHER, "192.168.77.12"));
  if (outcome.kind !== "acquired") throw new Error(outcome.kind);
  const { subnet } = outcome.lease;
  await settle();
  const endpoint = { address: parseAddress("192.168.77.12")!, port: 8285 };
  const rows = assignments.at(-1)?.rows;
  expect(rows).toMatchObject([{ peer: OTHER, prefix: subnet, endpoint, partialChecksum: true }]);
  apply(releaseLease({ subnet, node: OTHER }));
  await settle();
  expect(assignments.at(-1)?.rows).toEqual([]);
});

test("network agent: tells the data plane again only what is new, or when it is asked to", async () => {
  const { agent, apply, clock, dataPlane, assignments } = setUp();
  apply(putConfig({ config: CONFIG }));
  agent.start();
  await settle();
  apply(acquireFor(OTHER, "192.168.77.12"));
  await settle();
  await clock.advance(100); // The first renewal.
  await settle();
  const count = assignments.length;
  apply(txn({ success: [{ kind: "get", key: "/nothing" }] }));
  await settle();
  expect(assignments).toHaveLength(count);
  agent.refresh();
  await settle();
  expect(assignments).toHaveLength(count + 1);
  // Whatever took it away, it is wanted again.
  dataPlane.assigned = undefined;
  apply(acquireFor(decodeNodeId(77), "192.168.77.13"));
  await settle();
  expect(assignments.at(-1)?.rows).toHaveLength(2);
});

test("network agent: without a leader it keeps trying, and says why", async () => {
  const { agent, apply, clock, state } = setUp();
  apply(putConfig({ config: CONFIG }));
  state.leaderless = true;
  agent.start();
  await settle();
  expect(agent.state).toEqual({ kind: "wanting", reason: "Nobody leads" });
  state.leaderless = false;
  await clock.advance(60_000);
  await settle();
  expect(agent.state.kind).toBe("ready");
});

test("network agent: a network that overlaps this machine is not laid over it", async () => {
  const { agent, apply, assignments } = setUp({ conflict: "10.0.0.0/16 overlaps eth0" });
  apply(putConfig({ config: CONFIG }));
  agent.start();
  await settle();
  expect(agent.state).toMatchObject({ kind: "blocked", reason: "10.0.0.0/16 overlaps eth0" });
  expect(assignments).toEqual([]);
});

test("network agent: a data plane that cannot start is tried again", async () => {
  const { agent, apply, clock, dataPlane } = setUp();
  dataPlane.failure = new HostError({ operation: "open", object: "TUN", errno: "EPERM" });
  apply(putConfig({ config: CONFIG }));
  agent.start();
  await settle();
  expect(agent.state).toMatchObject({ kind: "blocked", reason: "Cannot open TUN: EPERM" });
  dataPlane.failure = undefined;
  await clock.advance(60_000);
  await settle();
  expect(agent.state.kind).toBe("ready");
});

test("network agent: renews early after a start, then after a third of the lease's life", async () => {
  const { agent, apply, clock, commands } = setUp();
  apply(putConfig({ config: CONFIG }));
  agent.start();
  await settle();
  await clock.advance(5000);
  await settle();
  expect(commands()).toEqual(["acquire_lease", "renew_leases"]);
  await clock.advance(7 * HOUR_MS);
  await settle();
  expect(commands()).toEqual([]);
  await clock.advance(2 * HOUR_MS);
  await settle();
  expect(commands()).toEqual(["renew_leases"]);
});

test("network agent: a lease with an old address is renewed at once with the new one", async () => {
  const { agent, apply, clock, cluster } = setUp({ publicIp: "192.168.77.99" });
  apply(putConfig({ config: CONFIG }));
  apply(acquireFor(SELF, "192.168.77.11"));
  agent.start();
  await settle();
  await clock.advance(1);
  await settle();
  const lease = agent.view().byNode.get(SELF);
  expect<string | undefined>(lease?.attributes.publicIp).toBe("192.168.77.99");
  expect(cluster.reader.revision).toBe(agent.view().revision);
});

test("network agent: a lease taken away is acquired again, the same subnet", async () => {
  const { agent, apply } = setUp();
  apply(putConfig({ config: CONFIG }));
  agent.start();
  await settle();
  if (agent.state.kind !== "ready") throw new Error(agent.state.kind);
  const { subnet } = agent.state;
  apply(releaseLease({ subnet, node: SELF }));
  await settle();
  expect(agent.state).toEqual({ kind: "ready", subnet });
});

test("network agent: the leader expires a lease that nobody renews", async () => {
  const { agent, apply, clock } = setUp();
  apply(putConfig({ config: { ...CONFIG, LeaseTTLSeconds: 60 } }));
  agent.start();
  await settle();
  apply(acquireFor(OTHER, "192.168.77.12"));
  expect(agent.view().byNode.has(OTHER)).toBe(true);
  for (let second = 0; second < 70; second++) {
    await clock.advance(1000);
    await settle();
  }
  expect(agent.view().byNode.has(OTHER)).toBe(false);
  expect(agent.view().byNode.has(SELF)).toBe(true);
});

test("network agent: after close nothing is renewed or retried", async () => {
  const { agent, apply, clock, commands } = setUp();
  apply(putConfig({ config: CONFIG }));
  agent.start();
  await settle();
  await agent.close();
  commands();
  await clock.advance(48 * HOUR_MS);
  await settle();
  expect(commands()).toEqual([]);
});

test("network agent: announces its subnet for nine tenths of its life, carries it on after", async () => {
  const { agent, apply, clock, state, assignments } = setUp();
  apply(putConfig({ config: { ...CONFIG, LeaseTTLSeconds: 600 } }));
  agent.start();
  await settle();
  await clock.advance(10_000); // The first renewal is done.
  state.leaderless = true;
  await clock.advance(510_000);
  expect(agent.state.kind).toBe("ready");
  expect(assignments.every((each) => each.announced)).toBeTrue();
  await clock.advance(31_000);
  expect(agent.state.kind).toBe("suspect");
  expect(assignments.at(-1)?.announced).toBeFalse();
  expect(assignments.at(-1)?.subnet).toBe(assignments[0]!.subnet);
  state.leaderless = false;
  await clock.advance(60_000);
  await settle();
  expect(agent.state.kind).toBe("ready");
  expect(assignments.at(-1)?.announced).toBeTrue();
});

test("network agent: asks the cluster before it carries what its own store says", async () => {
  const { agent, apply, commands, kept, clock } = setUp();
  apply(putConfig({ config: CONFIG }));
  const outcome = apply(acquireFor(SELF, "192.168.77.11"));
  if (outcome.kind !== "acquired") throw new Error(outcome.kind);
  agent.start();
  await settle();
  expect(commands()).toEqual(["renew_leases"]);
  expect(agent.state.kind).toBe("ready");
  const { subnet, ttlSeconds } = outcome.lease;
  expect(kept).toEqual([{ subnet, ttlSeconds, sentWallMs: clock.wallMs() }]);
});

test("network agent: carries at once what it was confirmed a while ago, without a quorum too", async () => {
  const subnet = parsePrefix("10.0.53.0/24")!;
  const recalled = { subnet, ttlSeconds: 86_400, sentWallMs: -HOUR_MS };
  const { agent, apply, state, assignments } = setUp({ recalled, wanted: "10.0.53.0/24" });
  apply(putConfig({ config: CONFIG }));
  apply(acquireFor(SELF, "192.168.77.11", subnet));
  state.leaderless = true;
  agent.start();
  await settle();
  expect(agent.state).toEqual({ kind: "ready", subnet });
  expect(assignments.map((each) => each.announced)).toEqual([true]);
});

test("network agent: after a long absence without a quorum, packets go on and no more", async () => {
  const subnet = parsePrefix("10.0.53.0/24")!;
  const recalled = { subnet, ttlSeconds: 86_400, sentWallMs: -22 * HOUR_MS };
  const { agent, apply, state, assignments } = setUp({ recalled });
  apply(putConfig({ config: CONFIG }));
  apply(acquireFor(SELF, "192.168.77.11", subnet));
  state.leaderless = true;
  agent.start();
  await settle();
  expect(agent.state.kind).toBe("suspect");
  expect(assignments.map((each) => each.announced)).toEqual([false]);
});

test("network agent: a subnet that is another's by now is never carried", async () => {
  const subnet = parsePrefix("10.0.53.0/24")!;
  const { agent, apply, cluster, assignments } = setUp();
  apply(putConfig({ config: CONFIG }));
  apply(acquireFor(SELF, "192.168.77.11", subnet));
  // The store here has not heard of it yet; the cluster has.
  cluster.execute = (async () => {
    const results = [{ kind: "not_held", subnet, holder: OTHER }];
    return { ok: true, value: { kind: "renewed", results } };
  }) as typeof cluster.execute;
  agent.start();
  await settle();
  expect(agent.state.kind).toBe("wanting");
  expect(assignments).toEqual([]);
});
