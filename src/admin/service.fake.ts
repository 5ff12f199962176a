/**
 * An `AdminService` with canned answers, for tests of routes, server, client and commands.
 *
 * Not a model of the agent: it holds no state beside what a test puts in.
 *
 * @module
 */
import { ok } from "../base/result.ts";
import { FakeKv } from "./kv-api.fake.ts";
import type {
  AdminService,
  AuthorityView,
  ConfigPlanView,
  LeaseView,
  MemberView,
  NodeRef,
  PingResultView,
  RecoveryView,
  ReservationView,
  StatusView,
  TokenView,
} from "./service.ts";

/** A plan that keeps one lease. */
export const FAKE_PLAN: ConfigPlanView = {
  effect: "keep",
  kept: ["10.0.53.0/24"],
  renumbered: [],
  capacity: 255,
};

/** A healthy node with one peer. */
export const FAKE_STATUS: StatusView = {
  node: { id: "0a1b2c3d4e5f60", name: "web1", version: "1.2.3", role: "voter", state: "running" },
  cluster: {
    id: "00112233445566778899aabbccddeeff",
    generation: 1,
    leader: { id: "0a1b2c3d4e5f60", name: "web1" },
    term: 7,
    members: 2,
    voters: 1,
    quorum: true,
    feed: null,
  },
  network: { Network: "10.0.0.0/16", SubnetLen: 24, Backend: { Type: "udp" } },
  lease: { subnet: "10.0.53.0/24", gateway: "10.0.53.1", expiresInSeconds: 86_340 },
  dataplane: {
    backend: "udp",
    engine: "ebpf+user",
    engineReason: null,
    encryption: "none",
    mtu: 1472,
    interface: "overlay0",
    counters: { txPackets: 1200, rxPackets: 1100, drop_no_route: 3 },
    offloads: { on: ["tso", "gso"], off: [] },
  },
  peers: [
    {
      id: "0b0b0b0b0b0b0b",
      name: "web2",
      subnet: "10.0.91.0/24",
      endpoint: "192.0.2.2:8285",
      path: "udp",
      pathReason: null,
      rttMs: 0.42,
      rttMinMs: 0.31,
      rttLastMs: 0.4,
      lossPercent: 0,
      mtu: 1472,
      pathMtu: 1500,
      pathMtuBack: 1500,
      lastSeenSeconds: 0.4,
      inUse: true,
      rxBytes: 123_456_789,
      txBytes: 2048,
    },
  ],
  warnings: [],
};

/** The lease of "web1". */
export const FAKE_LEASE: LeaseView = {
  subnet: "10.0.53.0/24",
  node: { id: "0a1b2c3d4e5f60", name: "web1" },
  publicIp: "192.0.2.1",
  backend: { type: "udp", data: null },
  expiresInSeconds: 86_340,
  reserved: false,
  draining: false,
};

/** Kept for whoever comes from an address. */
export const FAKE_RESERVATION: ReservationView = {
  subnet: "10.0.60.0/24",
  node: null,
  publicIp: "192.0.2.9",
  held: false,
};

/** "web1", this node, and "web2". */
export const FAKE_VOTERS: readonly NodeRef[] = [{ id: "0a1b2c3d4e5f60", name: "web1" }];

export const FAKE_MEMBERS: readonly MemberView[] = [
  {
    id: "0a1b2c3d4e5f60",
    name: "web1",
    role: "voter",
    leader: true,
    address: "192.0.2.1:8286",
    wish: null,
    zone: "",
    live: true,
    self: true,
  },
  {
    id: "0b0b0b0b0b0b0b",
    name: "web2",
    role: "standby",
    leader: false,
    address: "192.0.2.2:8286",
    wish: "standby",
    zone: "",
    live: null,
    self: false,
  },
];

/** "web2" answers. */
export const FAKE_PING: PingResultView = {
  id: "0b0b0b0b0b0b0b",
  name: "web2",
  address: "192.0.2.2:8285",
  rttMs: 0.42,
  reason: null,
  mtu: 1472,
  pathMtu: 1500,
};

/** A survivor without a leader. */
export const FAKE_RECOVERY: RecoveryView = {
  cluster: { id: "00112233445566778899aabbccddeeff", generation: 1 },
  node: { id: "0a1b2c3d4e5f60", name: "web1" },
  members: [
    { id: "0a1b2c3d4e5f60", name: "web1", voter: true, self: true },
    { id: "0b0b0b0b0b0b0b", name: "web2", voter: true, self: false },
  ],
  ...{ index: 40, revision: 12, leases: 2, quorum: false, leaderlessSeconds: 30 },
};

async function* fakeBackup(): AsyncGenerator<Uint8Array, void, void> {
  yield new TextEncoder().encode("OVLY");
  yield new TextEncoder().encode("SAVE");
}

/** A cluster of "web1" alone, with the CA that it began with. */
export const FAKE_AUTHORITY: AuthorityView = {
  authorities: [{ pin: "pin1", state: "signing", expiresAt: "2036-11-22T10:00:00.000Z" }],
  dropsAt: null,
  waiting: [],
  certificates: [
    {
      id: "0a0a0a0a0a0a0a",
      name: "web1",
      pin: "pin1",
      expiresAt: "2027-02-20T10:00:00.000Z",
    },
  ],
  renewsAt: "2027-01-20T10:00:00.000Z",
};

/** A token that is good, as often as wanted. */
export const FAKE_TOKEN: TokenView = {
  id: "tok1",
  createdAt: "2026-11-22T10:00:00.000Z",
  expiresAt: "2026-11-23T10:00:00.000Z",
  usesLeft: null,
  revoked: false,
  expired: false,
};

/** A service on which everything works, with `overrides` in its place. */
export function createFakeService(overrides: Partial<AdminService> = {}): AdminService {
  const config = { Network: "10.0.0.0/16" };
  return {
    version: "1.2.3",
    kv: new FakeKv(),
    getConfig: async () => ok({ revision: 12, config }),
    putConfig: async () => ok({ revision: 13, config, plan: FAKE_PLAN }),
    status: () => FAKE_STATUS,
    leases: () => [FAKE_LEASE],
    releaseLease: async () => ok(FAKE_LEASE),
    reservations: () => [],
    reserve: async () => ok(FAKE_RESERVATION),
    unreserve: async () => ok(FAKE_RESERVATION),
    importNetwork: async () =>
      ok({ revision: 13, config, plan: FAKE_PLAN, reservations: [FAKE_RESERVATION] }),
    members: () => FAKE_MEMBERS,
    removeMember: async () => ok(FAKE_MEMBERS[1]!),
    promoteMember: async () => ok(FAKE_MEMBERS[1]!),
    demoteMember: async () => ok(FAKE_MEMBERS[0]!),
    voters: () => ({ target: 3, voters: FAKE_VOTERS }),
    setVoters: async (target) => ok({ target, voters: FAKE_VOTERS }),
    authority: () => FAKE_AUTHORITY,
    rotateCa: async () => ok(FAKE_AUTHORITY),
    tokens: () => [FAKE_TOKEN],
    createToken: async () =>
      ok({
        id: "tok1",
        token: "OVL1.SECRET",
        expiresAt: "2026-11-23T10:00:00.000Z",
        joinCommand: "overlay join 192.0.2.1 --token OVL1.SECRET",
        installCommand: "curl … | sh -s -- join 192.0.2.1 --token OVL1.SECRET",
      }),
    revokeToken: async () => ok({ ...FAKE_TOKEN, revoked: true }),
    join: async ({ peer }) =>
      ok({ clusterId: "00112233445566778899aabbccddeeff", nodeId: "0a1b2c3d4e5f60", peer }),
    backup: async () => ok(fakeBackup()),
    recovery: () => FAKE_RECOVERY,
    recover: async () =>
      ok({ clusterId: "0".repeat(32), generation: 2, nodeId: "0a1b2c3d4e5f60", revision: 7 }),
    ping: async () => ok({ results: [FAKE_PING] }),
    leave: async () =>
      ok({ clusterId: "00112233445566778899aabbccddeeff", nodeId: "0a1b2c3d4e5f60" }),
    readiness: () => ({ ready: true, reasons: [] }),
    metrics: () => [],
    ...overrides,
  };
}
