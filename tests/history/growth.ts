/**
 * A cluster that grows and shrinks under load: 1, 2, 3, 5, 7 and 3 nodes, again and again; at every
 * step nodes are killed, cut off, stopped and removed. Then the verdict: roles as said in time, one
 * leader in a term, no promise of the store broken.
 *
 * @module
 */
import { rmSync } from "node:fs";
import { createToken, join, type Status, statusOf } from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { waitFor } from "../lab/wait.ts";
import { SimRandom } from "../sim/cluster/sim-random.ts";
import { checkHistory } from "./check.ts";
import type { Finding } from "./history.ts";
import { listAll, waitExpired } from "./run.ts";
import { Watcher } from "./watcher.ts";
import { PREFIX, Workload } from "./workload.ts";

/** As many hosts as a run needs. */
export const GROWTH_HOSTS = 7;
/** How long a change of the members may take until the roles are as said. */
export const ROLES_TIMEOUT_MS = 45_000;

const SAMPLE_MS = 100;
const CUT_MS = 1_500;
const CLIENT_COUNT = 8;
const RATE_PER_SECOND = 200;
/** Nodes, and how many of them are voters, standbys and spares. */
const STEPS = [
  [2, "1 1 0"],
  [3, "3 0 0"],
  [5, "3 2 0"],
  [7, "3 3 1"],
] as const;
const LEAST = 3;

/** A member as `GET /members` shows it. */
export interface MemberView {
  readonly id: string;
  readonly name: string;
  readonly role: string;
}

export interface GrowthOptions {
  readonly seed: number;
  /** How often it grows to seven and shrinks to three. */
  readonly rounds: number;
  say(line: string): void;
}

export interface GrowthReport {
  readonly findings: readonly Finding[];
  /** Writes that were acknowledged. */
  readonly written: number;
}

/** The members as `host` knows them. */
export async function membersOf(host: Host): Promise<readonly MemberView[]> {
  return (await host.api("/members")).json<readonly MemberView[]>();
}

/**
 * Waits until `host` counts so many voters, standbys and spares ("3 2 0"), and nobody else has a
 * vote: between two memberships both decide.
 */
export async function waitRoles(host: Host, roles: string): Promise<void> {
  let last = "";
  await waitFor(
    async () => {
      const members = await membersOf(host);
      const count = (role: string) => members.filter((member) => member.role === role).length;
      last = `${count("voter")} ${count("standby")} ${count("spare")}`;
      const { voters } = (await statusOf(host)).cluster;
      return last === roles && voters === count("voter");
    },
    { timeoutMs: ROLES_TIMEOUT_MS, describe: `roles ${roles}`, details: () => last },
  );
}

/** Runs `rounds` of growing and shrinking in `lab`, which must be fresh. */
export async function runGrowth(lab: Lab, options: GrowthOptions): Promise<GrowthReport> {
  const { seed, rounds, say } = options;
  const first = lab.host(0);
  await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
  const members: Host[] = [first];
  const watch = new LeaderWatch(lab.hosts);
  const workload = new Workload({
    ...{ random: new SimRandom(seed, 1), clientCount: CLIENT_COUNT },
    ratePerSecond: RATE_PER_SECOND,
    hosts: () => members,
    runOf: (host) => host.agent.pid,
  });
  const startRevision = await workload.mustPut(first, "/before/x");
  workload.calls.length = 0;
  // Who heard of everything can say what became of writes that nobody answered.
  const watcher = new Watcher({
    ...{ name: "watcher", hosts: () => members, prefix: "", since: startRevision },
    ...{ wantsPrevious: true, random: new SimRandom(seed, 2) },
  });
  const growth = new Growth(lab, members, say);
  workload.start();
  for (let round = 0; round < rounds; round++) await growth.round();
  await workload.stop();
  await watch.stop();
  await waitExpired(members[0]!);
  const end = await workload.mustPut(members[0]!, `${PREFIX}end/x`);
  await waitFor(() => watcher.reached >= end, { describe: "the watch to reach the end" });
  await watcher.stop();
  const finals = await Promise.all(members.map(listAll));
  const { calls, writtenCount: written } = workload;
  const { sessions } = watcher;
  const verdict = checkHistory({ calls, sessions, finals, startRevision, prefix: PREFIX });
  const findings = [...watcher.findings, ...verdict.findings];
  for (const message of watch.findings) findings.push({ check: "one leader a term", message });
  return { findings, written };
}

/** What is done to the members. */
class Growth {
  readonly #lab: Lab;
  /** Changed in place: who asks them sees at once who is in. */
  readonly #members: Host[];
  readonly #say: (line: string) => void;
  #step = 0;

  constructor(lab: Lab, members: Host[], say: (line: string) => void) {
    this.#lab = lab;
    this.#members = members;
    this.#say = say;
  }

  async round(): Promise<void> {
    const members = this.#members;
    for (const [count, roles] of STEPS.filter(([size]) => size > members.length)) {
      this.#say(`${count} nodes`);
      const { token } = await createToken(members[0]!);
      while (members.length < count) await this.#takeIn(token);
      await this.#waitRoles(roles);
      await this.#disturb(members.at(-1)!);
      if (count >= LEAST) await this.#disturb(await this.#leader());
      await this.#waitRoles(roles);
    }
    while (members.length > LEAST) await this.#takeOut();
  }

  /** A host that is in no cluster joins; one that was removed with new files. */
  async #takeIn(token: string): Promise<void> {
    const host = this.#lab.hosts.find((each) => !this.#members.includes(each))!;
    if (host.maybeAgent?.running !== true) {
      rmSync(host.dataDir, { recursive: true });
      await host.startHealthyAgent();
    }
    await join(host, this.#members[0]!, token);
    this.#members.push(host);
  }

  /** The leader or another dies and is removed. */
  async #takeOut(): Promise<void> {
    const members = this.#members;
    const gone = this.#step++ % 2 === 0 ? await this.#leader() : members.at(-1)!;
    this.#say(`kill and remove ${gone.name}`);
    members.splice(members.indexOf(gone), 1);
    await gone.agent.kill();
    const remove = ["member", "remove", gone.name];
    await waitFor(async () => (await members[0]!.cli(remove)).code === 0, {
      timeoutMs: ROLES_TIMEOUT_MS,
      describe: `${gone.name} to be removed`,
    });
    // The next one may go when the votes are in living hands again, and all know that.
    await this.#waitRoles(`3 ${members.length - LEAST} 0`);
  }

  /** Killed, cut off or stopped in turn, and back again. */
  async #disturb(victim: Host): Promise<void> {
    switch (this.#step++ % 3) {
      case 0:
        this.#say(`kill ${victim.name}`);
        await victim.agent.kill();
        await victim.startHealthyAgent();
        return;
      case 1:
        this.#say(`cut ${victim.name}`);
        await this.#lab.isolate(victim);
        await Bun.sleep(CUT_MS);
        await this.#lab.heal();
        return;
      default:
        this.#say(`stop ${victim.name}`);
        await victim.agent.terminate();
        await victim.startHealthyAgent();
    }
  }

  async #waitRoles(roles: string): Promise<void> {
    await Promise.all(this.#members.map((host) => waitRoles(host, roles)));
  }

  async #leader(): Promise<Host> {
    const [asked] = this.#members as [Host];
    const name = await waitFor(async () => (await statusOf(asked)).cluster.leader?.name, {
      describe: "a leader",
    });
    return this.#members.find((host) => host.name === name) ?? asked;
  }
}

/** Asks every agent whether it leads, until it is stopped; two in one term are a finding. */
class LeaderWatch {
  readonly findings: string[] = [];
  readonly #leaders = new Map<string, string>();
  readonly #running: Promise<void>;
  #isStopped = false;

  constructor(hosts: readonly Host[]) {
    this.#running = this.#run(hosts);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #run(hosts: readonly Host[]): Promise<void> {
    while (!this.#isStopped) {
      await Promise.all(hosts.map((host) => this.#look(host)));
      await Bun.sleep(SAMPLE_MS);
    }
  }

  async #look(host: Host): Promise<void> {
    const answer = await host
      .api("/status", { signal: AbortSignal.timeout(1_000) })
      .catch(() => undefined);
    if (answer?.status !== 200) return;
    const { cluster, node } = answer.json<Status>();
    // Only what it knows for itself: what others say of a leader may be late.
    if (cluster.leader?.id !== node.id) return;
    // Before it joins, each is a cluster of its own.
    const term = `${cluster.id} ${cluster.term}`;
    const known = this.#leaders.get(term) ?? node.id;
    if (known !== node.id) this.findings.push(`term ${term}: ${known} and ${node.id}`);
    this.#leaders.set(term, known);
  }
}
