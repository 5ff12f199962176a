/**
 * What one seed simulates: cluster, workload, surroundings and faults, all drawn from the seed.
 *
 * Each seed draws its own subset of faults and its own rates ("swarm testing": a bug that needs one
 * fault to be absent is found too). A profile narrows the draw to one theme.
 *
 * @module
 */
import { DIRECTED_FAULT_NAMES } from "./faults-directed.ts";
import { DISK_FAULTS } from "./faults-disk.ts";
import { LOAD_FAULT_NAMES } from "./faults-load.ts";
import { NETWORK_FAULTS } from "./faults-network.ts";
import { PROCESS_FAULTS } from "./faults-process.ts";
import type { NetworkWeather } from "./sim-network.ts";
import { SimRandom } from "./sim-random.ts";

export const PROFILES = [
  "mixed",
  "elections",
  "membership",
  "disk",
  "damage",
  "leases",
  "schedules",
  "calm",
] as const;
export type Profile = (typeof PROFILES)[number];

/** The profile that a campaign without one gives to `seed`. */
export function profileOf(seed: number): Profile {
  return PROFILES[seed % PROFILES.length] ?? "mixed";
}

export type OperationKind = "put" | "get" | "log_get" | "cas" | "delete" | "local_get";

export interface ClientPlan {
  readonly count: number;
  readonly keyCount: number;
  /** Mean pause between two operations of one client. */
  readonly thinkMeanMs: number;
  readonly valueSizeMaxBytes: number;
  /** Share of the values that may be so large; the others have some bytes. */
  readonly largeShare: number;
  /** Weights of the operations. */
  readonly mix: Readonly<Record<OperationKind, number>>;
}

/** Everything that is fixed before the first step. */
export interface Scenario {
  readonly seed: number;
  readonly profile: Profile;
  readonly voterCount: number;
  /** The real log on a simulated disk, or a faster store. */
  readonly store: "log" | "wal";
  readonly segmentSizeBytes: number;
  /** Mean time of an fsync. */
  readonly syncMeanMs: number;
  readonly snapshotEntries: number | undefined;
  /** Whether the leader looks after the membership by itself. */
  readonly isAutopilot: boolean;
  /** Largest deviation of a clock's rate from true time. */
  readonly clockDriftMax: number;
  /** Share of the runs that are of a version without the newest fields of messages. */
  readonly oldVersionShare: number;
  /** Whether the event loop has turns: what comes in together is then handled together. */
  readonly hasTurns: boolean;
  /** Keys with a time to live that somebody looks after. */
  readonly ttlKeyCount: number;
  /** Mean time between two compactions; undefined: none. */
  readonly compactMeanMs: number | undefined;
  /** Pool that subnets of 16 addresses are leased from; undefined: no leases. */
  readonly leaseNetwork: string | undefined;
  readonly network: NetworkWeather;
  readonly clients: ClientPlan;
  /** Length of the time in which faults happen: true milliseconds, or steps, whichever is less. */
  readonly chaosMs: number;
  readonly chaosSteps: number;
  readonly faults: readonly string[];
  /** Mean time between two faults; undefined: steps count. */
  readonly faultMeanMs: number | undefined;
  readonly faultMeanSteps: number;
  /** Nodes that are never let in, and are fed. */
  readonly spareCount: number;
  /** Zones in which the nodes lie by turns; 0: they name none. */
  readonly zoneCount: number;
}

const MEMBERSHIP_FAULTS = [
  ...["member.transfer", "member.join", "member.leave", "member.leave-leader"],
  ...["member.add-learner", "member.add-voter", "member.promote", "member.demote"],
  ...["member.remove", "member.remove-leader", "member.replace", "member.return"],
  ...["member.wish-voter", "member.wish-standby", "member.target"],
];
const names = (faults: readonly { readonly name: string }[]) => faults.map((each) => each.name);

/** Every fault that the nemesis knows. */
export const FAULT_NAMES: readonly string[] = [
  ...names(PROCESS_FAULTS),
  ...names(NETWORK_FAULTS),
  ...names(DISK_FAULTS),
  ...MEMBERSHIP_FAULTS,
  ...LOAD_FAULT_NAMES,
  ...DIRECTED_FAULT_NAMES,
];

/** Faults of each profile; `mixed` draws from all. */
const PROFILE_FAULTS: Readonly<Record<Profile, readonly string[]>> = {
  mixed: FAULT_NAMES,
  elections: [
    ...["process.crash", "process.crash-at-await", "process.pause", "machine.power-loss"],
    ...["member.transfer", "load.write-burst", "load.read-burst", ...names(NETWORK_FAULTS)],
  ],
  membership: [
    ...[...MEMBERSHIP_FAULTS, ...MEMBERSHIP_FAULTS, "process.crash", "process.pause"],
    ...["net.isolate", "net.split", "net.one-way", "net.break", "disk.wipe"],
  ],
  disk: [
    ...[...names(DISK_FAULTS), "process.crash", "process.crash-at-await"],
    ...["machine.power-loss", "machine.power-loss-all", "process.crash-loop"],
    "machine.quorum-loss",
  ],
  damage: [
    ...["disk.bit-flip", "disk.zeroed-sector", "disk.truncated-file", "disk.misdirected-write"],
    ...["disk.missing-file", "disk.wipe", "disk.old-copy", "member.leave", "member.return"],
    ...["process.crash", "machine.power-loss", "net.isolate"],
  ],
  leases: [
    ...["process.crash", "process.pause", "process.down-long", "machine.power-loss"],
    ...["clock.freeze", "clock.drift", "clock.wall-jump", "net.isolate", "net.split"],
    ...["net.one-way", "net.throttle", "member.transfer", "disk.stuck"],
    ...["directed.renewal-race", "directed.holder-away"],
    "load.expiry-storm",
  ],
  schedules: [...DIRECTED_FAULT_NAMES, "load.write-burst", "member.transfer", "process.crash"],
  calm: [],
};

/** Draws the scenario of `seed`. */
export function drawScenario(seed: number, profile: Profile): Scenario {
  const random = new SimRandom(seed, 2);
  const isLeases = profile === "leases" || (profile === "mixed" && random.chance(0.15));
  const isDamage = profile === "damage";
  const isDisk = profile === "disk" || isDamage;
  const pool = PROFILE_FAULTS[profile];
  const share = random.pick([0.15, 0.4, 1]);
  return {
    seed,
    profile,
    voterCount: random.pick(isLeases || isDamage ? [3, 5] : [1, 2, 3, 3, 3, 3, 4, 5]),
    store: isDisk || random.chance(0.25) ? "wal" : "log",
    syncMeanMs: random.pick([0.2, 1, 5, 20]),
    segmentSizeBytes: random.pick([4096, 16_384, 65_536]),
    snapshotEntries: random.pick([10, 10, 40, 200, undefined]),
    isAutopilot: isDamage || random.chance(isDisk ? 0.8 : 0.4),
    clockDriftMax: random.pick([0, 0.001, 0.02]),
    oldVersionShare: random.pick([0, 0, 0.5, 1]),
    hasTurns: random.chance(0.3),
    ttlKeyCount: random.chance(isLeases ? 0.6 : 0.25) ? random.integer(1, 12) : 0,
    compactMeanMs: random.chance(0.3) ? random.pick([100, 1_000, 5_000]) : undefined,
    leaseNetwork: isLeases ? random.pick(["10.9.0.0/26", "10.9.0.0/25", "10.9.0.0/24"]) : undefined,
    network: drawNetwork(random),
    clients: drawClientsFor(profile, isLeases, random),
    chaosMs: isLeases || isDamage ? random.between(20_000, 60_000) : random.between(5_000, 40_000),
    chaosSteps: isLeases ? 12_000 : random.integer(500, 5_000),
    faults: pool.filter(() => random.chance(share)),
    faultMeanMs: random.chance(0.4) ? random.pick([100, 300, 1_000]) : undefined,
    faultMeanSteps: random.pick([30, 80, 200]),
    spareCount: random.pick([0, 0, 1, 2]),
    zoneCount: random.pick([0, 0, 2, 3]),
  };
}

function drawNetwork(random: SimRandom): NetworkWeather {
  const isBad = random.chance(0.4);
  const orNone = (chance: number) => (isBad && random.chance(0.6) ? chance : 0);
  return {
    delayMinMs: random.pick([0.1, 0.5, 10]),
    delayMeanMs: random.pick([0.2, 1, 10, 40]),
    tailChance: orNone(0.02),
    tailMeanMs: random.pick([100, 800]),
    dropChance: orNone(random.pick([0.01, 0.1])),
    duplicateChance: orNone(random.pick([0.01, 0.1])),
    corruptChance: orNone(0.003),
    isOrdered: random.chance(0.6),
    codecShare: random.pick([0, 0.05, 1]),
  };
}

function drawClientsFor(profile: Profile, isLeases: boolean, random: SimRandom): ClientPlan {
  const plan = drawClients(random);
  // Leases are long: their clients leave the steps to them.
  if (isLeases) {
    return { ...plan, count: random.integer(1, 2), thinkMeanMs: 1_000, valueSizeMaxBytes: 200 };
  }
  // What fills several sectors can be torn.
  if (profile === "disk") return { ...plan, valueSizeMaxBytes: 5_000, largeShare: 0.4 };
  return plan;
}

function drawClients(random: SimRandom): ClientPlan {
  const isHot = random.chance(0.3);
  return {
    count: random.integer(1, 12),
    keyCount: isHot ? 1 : random.integer(2, 12),
    thinkMeanMs: random.pick([5, 20, 60, 200]),
    valueSizeMaxBytes: random.pick([200, 200, 5_000, 5_000, 5_000, 300_000]),
    largeShare: 0.05,
    mix: isHot
      ? { put: 1, get: 2, log_get: 1, cas: 8, delete: 0.5, local_get: 1 }
      : { put: 3, get: 4, log_get: 1, cas: 2, delete: 1, local_get: 2 },
  };
}
