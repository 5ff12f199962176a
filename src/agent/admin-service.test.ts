/**
 * What the admin API asks of cluster and network, on the real state machine.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import type { AdminService } from "../admin/service.ts";
import { parseAddress } from "../base/address.ts";
import { decodeNodeId, formatNodeId, type NodeId } from "../base/ids.ts";
import { createSilentLog } from "../base/log.ts";
import { ok } from "../base/result.ts";
import type { Identity } from "../control/cluster/trust/identity.ts";
import type { TrustStatus } from "../control/cluster/trust/trust-keeper.ts";
import type { Cluster, Member } from "../control/cluster/types.ts";
import { acquireLease, putConfig } from "../control/network/commands.ts";
import { createAdminService } from "./admin-service.ts";
import { openTestCluster } from "./cluster.fake.ts";
import type { DataPlane } from "./data-plane.ts";
import { KvService } from "./kv-service.ts";
import { NetworkAgent } from "./network-agent.ts";
import type { Reconciler } from "./reconciler.ts";
import type { Session } from "./session.ts";
import { authorityView, trustWarnings } from "./trust-status.ts";

const SELF = decodeNodeId(11);
const OTHER = decodeNodeId(12);
const GONE = decodeNodeId(13);

interface Options {
  readonly members?: readonly NodeId[];
  readonly dead?: readonly NodeId[];
  readonly removed?: boolean;
}

/** The service of node SELF in a cluster of `members`; removing one only takes it off the list. */
function setUp({ members = [SELF, OTHER], dead = [], removed = false }: Options = {}) {
  const test = openTestCluster();
  const listed = members.map((id) => memberOf(id, !dead.includes(id)));
  const cluster: Partial<Cluster> = {
    ...test.cluster,
    status: () => ({
      ...test.cluster.status(),
      ...{ hasQuorum: !removed, memberRole: "voter", leader: SELF, voterCount: 1, removed },
      refusal: removed ? "this node was removed from its cluster" : undefined,
      warnings: [],
    }),
    members: () => listed,
    async orderMember(_verb: string, id: NodeId) {
      const [member] = listed.splice(
        listed.findIndex((each) => each.id === id),
        1,
      );
      return ok(member!);
    },
    counters: () => ({}),
    trust: () => TRUST,
  };
  const clock = new ManualClock();
  const network = new NetworkAgent({
    nodeId: SELF,
    cluster: cluster as Cluster,
    dataPlane: { assigned: undefined, assign: async () => undefined },
    publicIp: parseAddress("192.168.77.11")!,
    own: (config) => config,
    wantedSubnet: undefined,
    findConflict: () => undefined,
    clock,
    random: { below: () => 0, bytes: (count) => new Uint8Array(count) },
    log: createSilentLog(),
  });
  const session: Partial<Session> = {
    identity: { nodeId: SELF, name: "h11", generation: 1 } as Identity,
    cluster: cluster as Cluster,
    network,
    kv: new KvService({ cluster: cluster as Cluster, machine: test.machine, clock }),
  };
  const service = createAdminService({
    session: () => session as Session,
    dataPlane: {
      ...{ assigned: undefined, engine: undefined },
      extension: { failures: () => [] } as Partial<DataPlane["extension"]>,
      checksums: { warnings: () => [] } as Partial<DataPlane["checksums"]>,
    } as DataPlane,
    reconciler: { unmet: () => [] } as Partial<Reconciler> as Reconciler,
    clock,
    findConflicts: () => [],
    join: () => Promise.reject(new Error("not asked for")),
    leave: () => Promise.reject(new Error("not asked for")),
    recover: () => Promise.reject(new Error("not asked for")),
    advertisedAddress: () => "192.168.77.11",
  });
  const holders = () => service.leases().map(({ node }) => node.id);
  return { ...test, service, holders };
}

/** Nothing is due, and nobody is missing. */
const TRUST: TrustStatus = {
  authorities: [{ pin: "pin1", isSigning: true, expiresAtMs: 1e12 }],
  ...{ dropAtMs: undefined, waiting: [], members: [], isOver: false },
  ...{ expiresAtMs: 1e12, renewsAtMs: 1e12 },
};

function memberOf(id: NodeId, live: boolean): Member {
  const address = { host: `192.168.77.${id}`, port: 8286 };
  return {
    ...{ id, name: `h${id}`, address, publicIp: address.host, underlayPrefixes: [], zone: "" },
    ...{ joinedAtMs: 0, role: "voter", leader: id === SELF, self: id === SELF, live },
    ...{ match: undefined, wish: undefined },
  };
}

function acquireFor(node: NodeId, publicIp = `192.168.77.${node}`) {
  const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
  const attributes = { publicIp: parseAddress(publicIp)!, publicIpv6: null, backend };
  return acquireLease({ node, attributes, wanted: undefined });
}

function putNetwork() {
  return putConfig({
    config: { Network: "10.0.0.0/16" },
    expectedRevision: undefined,
    renumber: false,
  });
}

test("removeMember: the lease goes with its node", async () => {
  const { service, apply, holders } = setUp();
  apply(putNetwork());
  apply(acquireFor(SELF));
  apply(acquireFor(OTHER));
  const removed = await service.removeMember(formatNodeId(OTHER));
  expect(removed).toMatchObject({ ok: true, value: { name: "h12" } });
  expect(holders()).toEqual([formatNodeId(SELF)]);
});

test("removeMember: a lease that stays is told, with how to free it", async () => {
  const { service, apply, state } = setUp();
  apply(putNetwork());
  apply(acquireFor(OTHER));
  const subnet = service.leases()[0]!.subnet;
  state.leaderless = true;
  const removed = await service.removeMember(formatNodeId(OTHER));
  const detail = expect.stringContaining(`"overlay lease release ${subnet}"`);
  expect(removed).toMatchObject({ ok: false, error: { kind: "no_leader", detail } });
});

test("removeMember: a node that is no member is told so", async () => {
  const removed = await setUp().service.removeMember(formatNodeId(GONE));
  const detail = expect.stringMatching(/^Cannot remove member .*: there is none; see /);
  expect(removed).toMatchObject({ ok: false, error: { kind: "not_found", detail } });
});

test("releaseLease: a subnet that nobody holds is told so", async () => {
  const released = await setUp().service.releaseLease("10.0.1.0/24");
  const detail = expect.stringMatching(/^Cannot release lease .*: nobody holds it; see /);
  expect(released).toMatchObject({ ok: false, error: { kind: "not_found", detail } });
});

test("readiness: what is missing, in this order", () => {
  const fresh = setUp();
  expect(fresh.service.readiness()).toEqual({ ready: false, reasons: ["no network config yet"] });
  const { service } = setUp({ removed: true });
  expect(service.readiness().reasons[0]).toBe("this node was removed from its cluster");
});

test("metrics: ready is what /readyz says", () => {
  const ready = setUp()
    .service.metrics()
    .find(({ name }) => name === "ready");
  expect(ready?.samples).toEqual([{ labels: {}, value: 0 }]);
});

test("status: a lease of a node that is no member is told, with how to free it", () => {
  const { service, apply } = setUp({ members: [SELF] });
  apply(putNetwork());
  apply(acquireFor(SELF, "192.168.77.13"));
  apply(acquireFor(GONE, "192.168.77.13"));
  const lease = service.leases().find(({ node }) => node.id === formatNodeId(GONE))!;
  const [warning] = leaseWarningsOf(service);
  expect(warning).toContain(`overlay lease release ${lease.subnet}`);
  expect(warning).not.toContain("--public-ip");
});

test("status: two members at one address are told, with both ways out", () => {
  const { service, apply } = setUp();
  apply(putNetwork());
  apply(acquireFor(SELF, "192.168.77.13"));
  apply(acquireFor(OTHER, "192.168.77.13"));
  const [warning] = leaseWarningsOf(service);
  expect(warning).toContain("both announce 192.168.77.13");
  expect(warning).toContain("overlay member remove");
  expect(warning).toContain("--public-ip");
});

function leaseWarningsOf(service: AdminService): readonly string[] {
  return service.status().warnings.filter((text) => /announce|lease release/.test(text));
}

test("status: a certificate that is over, and a CA that is being changed, are told", () => {
  const wallMs = 1e12;
  const over = { trust: () => ({ ...TRUST, isOver: true }) } as Partial<Cluster> as Cluster;
  expect(trustWarnings(over, wallMs)[0]).toContain("overlay join <peer> --token");
  const listed = [memberOf(SELF, true), memberOf(OTHER, false)];
  const changing = { ...TRUST, dropAtMs: wallMs, waiting: [OTHER] };
  const cluster = { trust: () => changing, members: () => listed } as Partial<Cluster> as Cluster;
  expect(trustWarnings(cluster, 0)).toEqual([expect.stringContaining(`h${OTHER} must renew`)]);
  expect(authorityView(cluster)).toMatchObject({ waiting: [{ name: `h${OTHER}` }] });
  const late = { trust: () => TRUST } as Partial<Cluster> as Cluster;
  expect(trustWarnings(late, wallMs)).toEqual([]);
  expect(trustWarnings(late, 2 * wallMs)[0]).toContain("could not be renewed");
});
