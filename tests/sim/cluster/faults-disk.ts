/**
 * Faults of disks: slow and stuck ones, errors, damage, and disks that forget.
 *
 * Damage, emptied disks and old copies cost a voter for good, so they happen only while the other
 * voters can do without it. What each loses was promised rightly; the node must find out before it
 * takes part again.
 *
 * @module
 */

import type { DiskOperation } from "./device.ts";
import type { Fault, Nemesis } from "./nemesis.ts";
import { SECTOR_SIZE } from "./sim-disk.ts";
import type { SimNode } from "./sim-node.ts";
import { SNAPSHOT_DIRECTORY, WAL_DIRECTORY } from "./storage.ts";

export const DISK_FAULTS: readonly Fault[] = [
  onSomeDisk("disk.slow", (nemesis, { storage }) => {
    storage.weather.slowness = nemesis.random.pick([20, 100, 1_000]);
    nemesis.lasting(nemesis.random.exponential(1_500), "slow disk", () => {
      storage.weather.slowness = 1;
    });
    return true;
  }),
  onSomeDisk("disk.stuck", ({ world, random }, { storage }) => {
    storage.weather.stuckUntilMs = world.scheduler.nowMs + random.between(200, 5_000);
    return true;
  }),
  // In the middle of a write of several sectors, which may survive in any part.
  {
    name: "disk.power-loss-amid-write",
    isPatient: true,
    start(nemesis) {
      const nodes = nemesis.world.upNodes().filter(({ storage }) => storage.disk?.isWriting);
      const node = nemesis.target(nodes);
      node?.losePower();
      return node !== undefined;
    },
  },
  failing("disk.write-error-planned", "write"),
  failing("disk.sync-error-planned", "sync"),
  failing("disk.read-error-planned", "read"),
  onSomeDisk("disk.full-planned", (nemesis, { storage }) => {
    if (storage.disk === undefined) return false;
    storage.weather.isFull = true;
    nemesis.lasting(nemesis.random.exponential(2_000), "full disk", () => {
      storage.weather.isFull = false;
    });
    return true;
  }),
  onSomeDisk("disk.short-read-planned", (nemesis, { storage }) => {
    if (storage.disk === undefined) return false;
    storage.weather.isReadShort = true;
    nemesis.lasting(nemesis.random.exponential(10_000), "short reads", () => {
      storage.weather.isReadShort = false;
    });
    return true;
  }),
  // Something that was reported written lies elsewhere, over something else that was.
  damaging("disk.misdirected-write", ({ random }, bytes) => {
    const sectors = Math.max(1, Math.floor(bytes.length / SECTOR_SIZE));
    const count = random.integer(1, Math.min(8, sectors));
    const from = random.below(sectors - count + 1) * SECTOR_SIZE;
    const to = random.below(sectors - count + 1) * SECTOR_SIZE;
    const moved = bytes.slice(from, from + count * SECTOR_SIZE);
    bytes.fill(0, from, from + moved.length);
    bytes.set(moved, to);
    return bytes;
  }),
  damaging("disk.bit-flip", ({ random }, bytes) => {
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    return bytes;
  }),
  damaging("disk.zeroed-sector", ({ random }, bytes) => {
    const at = random.below(Math.ceil(bytes.length / SECTOR_SIZE)) * SECTOR_SIZE;
    return bytes.fill(0, at, at + SECTOR_SIZE);
  }),
  damaging("disk.truncated-file", ({ random }, bytes) =>
    bytes.slice(0, random.below(bytes.length)),
  ),
  losing("disk.missing-file", (nemesis, node) => {
    const { disk } = node.storage;
    const path = nemesis.random.maybePick(filesOf(node));
    if (disk === undefined || path === undefined) return false;
    disk.lose(path);
    return true;
  }),
  losing("disk.wipe", (_, node) => {
    node.storage.wipe();
    node.ledger.destroyed();
    return true;
  }),
  {
    name: "disk.old-copy",
    isPatient: true,
    start(nemesis) {
      const node = nemesis.random.maybePick(losable(nemesis));
      if (node === undefined) return false;
      goBackLater(nemesis, node);
      return true;
    },
  },
];

/** Voters that the others could do without, were they lost for good. */
export function losable({ world }: Nemesis): SimNode[] {
  if (!world.scenario.isAutopilot) return [];
  const { config } = world.safety;
  const { voters, votersOutgoing } = config;
  // An operator who takes votes away by hand may take the last ones that were needed.
  if (votersOutgoing.length > 0 || world.scenario.faults.includes("member.demote")) return [];
  const isHarmed = (node: SimNode) => node.isDamaged || node.isAmnesiac || node.state === "lost";
  const nodes = voters.map((id) => world.node(id));
  const harmedCount = nodes.filter(isHarmed).length;
  // Whoever does not know yet, or would not know after a restart, that another gave up its vote
  // still counts on that vote.
  const isBehind = ({ ledger, driver }: SimNode) =>
    !Bun.deepEquals(driver?.confState, config) ||
    (ledger.durable.hardState?.commit ?? 0) < world.safety.configIndex;
  if (nodes.some((node) => !isHarmed(node) && isBehind(node))) return [];
  // Nor while a change of the membership is on its way: who will be needed then?
  if (nodes.some(({ ledger }) => ledger.lastConfIndex > world.safety.committedIndex)) return [];
  if (harmedCount + 1 > Math.floor((voters.length - 1) / 2)) return [];
  return nodes.filter((node) => !isHarmed(node) && node.driver !== undefined && !node.isPaused);
}

function onSomeDisk(name: string, strike: (nemesis: Nemesis, node: SimNode) => boolean): Fault {
  return {
    name,
    start(nemesis) {
      const node = nemesis.target(nemesis.world.upNodes());
      return node === undefined ? false : strike(nemesis, node);
    },
  };
}

/** The next operation of one kind fails. Counted by the disk when it does. */
function failing(name: string, operation: DiskOperation): Fault {
  return onSomeDisk(name, (nemesis, { storage }) => {
    storage.weather.nextError = { operation, errno: "EIO" };
    nemesis.lasting(10_000, name, () => {
      storage.weather.nextError = undefined;
    });
    return true;
  });
}

/** A fault that takes something a node needs; it is down meanwhile. */
function losing(name: string, strike: (nemesis: Nemesis, node: SimNode) => boolean): Fault {
  return {
    name,
    isPatient: true,
    start(nemesis) {
      const node = nemesis.random.maybePick(losable(nemesis));
      if (node === undefined) return false;
      node.crash();
      if (!strike(nemesis, node)) return false;
      node.isDamaged = true;
      return true;
    },
  };
}

function filesOf(node: SimNode): string[] {
  const { disk } = node.storage;
  if (disk === undefined) return [];
  return [WAL_DIRECTORY, SNAPSHOT_DIRECTORY].flatMap((directory) =>
    disk
      .names(directory)
      .filter((name) => !name.endsWith(".tmp"))
      .map((name) => `${directory}/${name}`),
  );
}

function damaging(name: string, harm: (nemesis: Nemesis, bytes: Uint8Array) => Uint8Array): Fault {
  return losing(name, (nemesis, node) => {
    const { disk } = node.storage;
    const path = nemesis.random.maybePick(filesOf(node));
    if (disk === undefined || path === undefined) return false;
    // The last batch of a log cannot be told from a torn one until another follows: spare it.
    const spared = path.startsWith(WAL_DIRECTORY) ? disk.lastDurable(path).at(-1) : undefined;
    if (spared === 0) return false;
    return disk.damage(path, (bytes) => {
      const end = spared ?? bytes.length;
      const harmed = harm(nemesis, bytes.slice(0, end));
      if (harmed.length < end) return harmed;
      return new Uint8Array([...harmed, ...bytes.subarray(end)]);
    });
  });
}

/**
 * Copies the disk of `node` now and puts the copy back later. Only while its vote is the same and
 * everything committed is on the other voters: what a node forgets beyond that, no protocol mends.
 */
function goBackLater(nemesis: Nemesis, node: SimNode): void {
  const { world } = nemesis;
  node.crash();
  const putBack = node.storage.copy();
  const copy = node.ledger.copy();
  const state = copy.durable;
  nemesis.lasting(nemesis.random.between(500, 5_000), "old copy", () => {
    const { safety } = world;
    const now = node.ledger.durable.hardState;
    const isSameVote = now?.term === state.hardState?.term && now?.vote === state.hardState?.vote;
    const others = safety.config.voters.filter((id) => id !== node.id);
    const index = safety.committedIndex;
    const hash = safety.committed.at(index);
    const isElsewhere = others.every(
      (id) => hash !== undefined && world.node(id).ledger.holds(index, hash),
    );
    const isLess = state.chain.lastIndex < node.ledger.durable.chain.lastIndex;
    if (!isSameVote || !isElsewhere || !isLess || !losable(nemesis).includes(node)) return;
    node.crash();
    putBack();
    node.ledger.wentBackTo(copy);
    node.isAmnesiac = true;
    nemesis.fired("disk.old-copy-restored");
  });
}
