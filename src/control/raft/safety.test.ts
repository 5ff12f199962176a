/**
 * The safety properties of Figure 3.2, on random schedules: messages lost, doubled and reordered,
 * slow disks, crashes that lose what was not written, changes of membership, snapshots.
 *
 * A failure prints its seed; the same seed gives the same schedule.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import type { NodeId } from "../../base/ids.ts";
import {
  type ConfigChanges,
  conf,
  configOf,
  createRandom,
  TestCluster,
  type TestNode,
} from "./test-cluster.ts";
import type { Entry } from "./types.ts";

const SEEDS = 30;
const STEPS = 6000;

/** What must never be taken back, gathered while a schedule runs. */
class Witness {
  readonly #leaders = new Map<number, NodeId>();
  readonly #applied: Entry[] = [];
  readonly #terms = new Map<NodeId, number>();
  /** Per read: what was committed anywhere when it was asked for. */
  readonly #reads: number[] = [];
  #committed = 0;
  readCount = 0;

  /** Asks `node` for a read index. */
  read(node: TestNode): void {
    node.raft.readIndex(this.#reads.length);
    this.#reads.push(this.#committed);
  }

  check(cluster: TestCluster): void {
    for (const node of cluster.nodes.values()) {
      if (node.isDown) continue;
      const { role, term, commit } = node.raft.status();
      this.#committed = Math.max(this.#committed, commit);
      this.#checkReads(node);
      if (role === "leader") {
        // Election safety (§3.4): at most one leader in a term.
        const known = this.#leaders.get(term);
        if (known !== undefined && known !== node.id) throw new Error(`two leaders in ${term}`);
        this.#leaders.set(term, node.id);
      }
      // What was durable once is never forgotten, over crashes too (§3.8).
      if (term < (this.#terms.get(node.id) ?? 0)) throw new Error(`term of ${node.id} went back`);
      this.#terms.set(node.id, node.hardState?.term ?? 0);
      this.#checkApplied(node);
    }
  }

  /** Linearizable reads (§6.4): a read sees whatever was committed before it was asked for. */
  #checkReads(node: TestNode): void {
    for (const { context, index } of node.reads.splice(0)) {
      if (index < this.#reads[context]!) throw new Error(`stale read ${context} at ${index}`);
      this.readCount++;
    }
  }

  /** State machine safety (§3.6.3): one entry per index, on all nodes, for ever. */
  #checkApplied(node: TestNode): void {
    for (let i = Math.max(0, node.applied.length - 8); i < node.applied.length; i++) {
      const entry = node.applied[i]!;
      const known = this.#applied[i];
      if (known === undefined) this.#applied[i] = entry;
      else if (entry.term !== known.term) throw new Error(`two entries at ${entry.index}`);
    }
  }

  get length(): number {
    return this.#applied.length;
  }
}

interface Outcome {
  readonly applied: number;
  readonly elections: number;
  readonly reads: number;
  readonly configs: ReadonlySet<string>;
}

function run(seed: number): Outcome {
  const random = createRandom(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const cluster = new TestCluster(configOf([1, 2, 3]), randomConfig(random), random);
  const witness = new Witness();
  const configs = new Set<string>();
  let proposals = 0;
  for (const id of [4, 5]) cluster.addNode(id);
  const nodes = [...cluster.nodes.values()];

  for (let i = 0; i < STEPS; i++) {
    const node = pick(nodes);
    const event = random();
    if (node.isDown) event < 0.1 && cluster.restart(node);
    else if (event < 0.45) stepNode(cluster, node, random());
    else if (event < 0.85) stepNetwork(cluster, random);
    else if (event < 0.88) node.raft.tick();
    else if (event < 0.95) cluster.propose(node.id, `${proposals++};`);
    else if (event < 0.97) cluster.proposeConf(node.id, randomChange(cluster, random));
    else if (event < 0.98) cluster.compact(node, pick([0, 3]));
    else if (event < 0.981) node.raft.transferLeadership(pick(nodes).id);
    else if (event < 0.984) cluster.crash(node);
    else if (event < 0.987) for (let tick = 0; tick < 20; tick++) node.raft.tick();
    else witness.read(node);
    witness.check(cluster);
    if (!node.isDown) configs.add(JSON.stringify(node.confState));
  }
  recover(cluster, witness);
  const elections = cluster.leader()!.raft.status().term;
  return { applied: witness.length, elections, reads: witness.readCount, configs };
}

/** Every switch both ways, and limits that are reached all the time. */
function randomConfig(random: () => number): ConfigChanges {
  return {
    preVote: random() < 0.8,
    checkQuorum: random() < 0.8,
    asyncStorageWrites: random() < 0.8,
    stepDownOnRemoval: random() < 0.5,
    restoresAsOutsider: false,
    inflightCountMax: 1 + Math.floor(random() * 4),
    messageSizeMaxBytes: 100,
    committedSizeMaxBytes: 100,
  };
}

function stepNode(cluster: TestCluster, node: TestNode, what: number): void {
  if (what < 0.6) cluster.takeReady(node);
  else if (what < 0.8) cluster.writeDisk(node);
  else cluster.applyNext(node);
}

/** Delivers, loses, doubles or overtakes. */
function stepNetwork(cluster: TestCluster, random: () => number): void {
  const { messages } = cluster;
  if (messages.length === 0) return;
  const isOvertaking = random() < 0.2;
  const at = isOvertaking ? Math.floor(random() * messages.length) : 0;
  const [message] = messages.splice(at, 1);
  const fate = random();
  if (fate < 0.05) {
    cluster.lose(message!);
    return;
  }
  cluster.deliver(message!);
  if (fate > 0.97) messages.push(message!);
}

function randomChange(cluster: TestCluster, random: () => number) {
  const words = ["v", "l", "r"].map((letter) => `${letter}${1 + Math.floor(random() * 5)}`);
  const changes = words.slice(0, 1 + Math.floor(random() * 2)).join(" ");
  const joint = cluster.leader()?.confState.votersOutgoing.length;
  if (joint !== undefined && joint > 0 && random() < 0.5) return conf("");
  return conf(changes, random() < 0.3 ? "explicit" : "auto");
}

/** With everything up again, the cluster elects a leader and all members agree. */
function recover(cluster: TestCluster, witness: Witness): void {
  for (const node of cluster.nodes.values()) if (node.isDown) cluster.restart(node);
  cluster.settle();
  witness.check(cluster);
  for (let round = 0; round < 40; round++) {
    cluster.tick(10);
    witness.check(cluster);
    const leader = cluster.leader();
    if (leader === undefined || !cluster.propose(leader.id, "end").ok) continue;
    cluster.settle();
    const { voters } = leader.confState;
    const behind = voters.filter(
      (id) => cluster.nodes.get(id)!.applied.length < leader.applied.length,
    );
    if (leader.applied.at(-1)?.kind === "normal" && behind.length === 0) return;
  }
  throw new Error("no leader that everybody follows after 40 election timeouts");
}

describe("safety on random schedules (Figure 3.2)", () => {
  test(`${SEEDS} seeds of ${STEPS} steps`, () => {
    let applied = 0;
    let elections = 0;
    let reads = 0;
    const configs = new Set<string>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      try {
        const result = run(seed);
        applied += result.applied;
        elections += result.elections;
        reads += result.reads;
        for (const config of result.configs) configs.add(config);
      } catch (error) {
        throw new Error(`seed ${seed}: ${error}`, { cause: error });
      }
    }
    // The schedules must have done something, or they prove nothing.
    expect(applied).toBeGreaterThan(SEEDS * 20);
    expect(elections).toBeGreaterThan(SEEDS * 2);
    expect(reads).toBeGreaterThan(SEEDS * 5);
    expect(configs.size).toBeGreaterThan(20);
  }, 60_000);

  test("one seed gives one schedule", () => {
    const outcome = (seed: number) => {
      const { applied, elections, reads, configs } = run(seed);
      return [applied, elections, reads, [...configs]];
    };
    expect(outcome(7)).toEqual(outcome(7));
  });
});
