/**
 * The agents of a run: started, ended on purpose, and noticed when they end by themselves.
 *
 * @module
 */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { createToken, join as joinCluster, type Status, waitSettled } from "../lab/cluster.ts";
import type { AgentOptions, Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import type { LabProcess } from "../lab/process.ts";
import { waitFor } from "../lab/wait.ts";
import { WallClock } from "./wall-clock.ts";

const START_TIMEOUT_MS = 60_000;
const STATUS_TIMEOUT_MS = 1_500;
/** How many a cluster of three or more nodes has. */
const VOTERS = 3;
const SMALL_DISK_MEGABYTES = 320;

export interface AgentsOptions {
  /** The host whose files are on a small file system of their own; none when absent. */
  readonly smallDisk?: Host | undefined;
  /** Whether the agents' wall clocks can be set. */
  readonly canSetClocks: boolean;
}

/** A file system that can be filled up. */
export interface SmallDisk {
  readonly host: Host;
  fill(): Promise<void>;
  free(): Promise<void>;
}

/** Every agent of a lab. */
export class Agents {
  readonly lab: Lab;
  /** What agents said that ended without being told to. */
  readonly unexpectedEnds: string[] = [];
  smallDisk: SmallDisk | undefined;
  clock: WallClock | undefined;
  /** Members of no cluster of ours at the moment: what they say has nothing to do with it. */
  readonly #strangers = new Set<Host>();
  readonly #runs = new Map<Host, number>();
  readonly #settings = new Map<Host, AgentOptions>();
  readonly #expected = new WeakSet<LabProcess>();

  private constructor(lab: Lab) {
    this.lab = lab;
  }

  /** Starts an agent on every host and makes one cluster of them. */
  static async form(lab: Lab, options: AgentsOptions): Promise<Agents> {
    const agents = new Agents(lab);
    if (options.canSetClocks) agents.clock = await WallClock.build(lab.folder);
    if (options.smallDisk !== undefined) {
      agents.smallDisk = await agents.#makeSmallDisk(options.smallDisk);
    }
    for (const host of lab.hosts) {
      const settings = agents.#settings.get(host) ?? {};
      const env = agents.clock?.env(host.name);
      agents.#settings.set(host, env === undefined ? settings : { ...settings, env });
    }
    await Promise.all(lab.hosts.map((host) => agents.start(host)));
    const first = lab.host(0);
    const { token } = await createToken(first);
    for (const joiner of lab.hosts.slice(1)) await joinCluster(joiner, first, token);
    await waitSettled(lab.hosts);
    return agents;
  }

  /** The hosts that clients may ask. */
  members(): readonly Host[] {
    return this.lab.hosts.filter((host) => !this.#strangers.has(host));
  }

  /** How often the agent of `host` was started. */
  runOf(host: Host): number {
    return this.#runs.get(host) ?? 0;
  }

  isUp(host: Host): boolean {
    return host.maybeAgent?.running === true;
  }

  /** Starts the agent of `host` unless it runs, and waits until it answers. */
  async start(host: Host): Promise<void> {
    if (this.isUp(host)) return;
    this.#runs.set(host, this.runOf(host) + 1);
    const agent = host.startAgent(this.#settings.get(host) ?? {});
    void agent.exited.then((code) => {
      if (this.#expected.has(agent)) return;
      this.unexpectedEnds.push(`${host.name} ended with code ${code}: ${agent.tail(3)}`);
    });
    await host.waitHealthy(START_TIMEOUT_MS);
  }

  /** SIGKILL. */
  async kill(host: Host): Promise<void> {
    this.#expected.add(host.agent);
    await host.agent.kill();
  }

  /** SIGTERM: it hands over what it has and ends. */
  async terminate(host: Host): Promise<void> {
    this.#expected.add(host.agent);
    await host.agent.terminate(START_TIMEOUT_MS);
  }

  /** Waits until the cluster has all its voters: only then can it spare one for good. */
  async waitSpare(peer: Host): Promise<void> {
    const wanted = Math.min(this.lab.hosts.length, VOTERS);
    await waitFor(
      async () => {
        const status = await briefStatus(peer);
        return status?.cluster.quorum === true && status.cluster.voters >= wanted;
      },
      { timeoutMs: START_TIMEOUT_MS, describe: `${peer.name} to count ${wanted} voters` },
    );
  }

  /** Makes `host`, whose agent has been killed, a new node of the cluster that `peer` is in. */
  async replace(host: Host, peer: Host): Promise<void> {
    await waitFor(async () => (await peer.cli(["member", "remove", host.name])).code === 0, {
      timeoutMs: START_TIMEOUT_MS,
      describe: `${peer.name} to remove ${host.name}`,
    });
    const { wrap = [] } = this.#settings.get(host) ?? {};
    // The folder itself may be a mount of its own.
    const empty = ["find", host.dataDir, "-mindepth", "1", "-delete"];
    await host.mustRun([...wrap, ...empty]);
    this.#strangers.add(host);
    await this.start(host);
    await joinCluster(host, peer);
    this.#strangers.delete(host);
  }

  /** An end of `host` from now on is no surprise. */
  excuse(host: Host): void {
    this.#expected.add(host.agent);
  }

  /** All are about to be ended. */
  excuseAll(): void {
    for (const { maybeAgent } of this.lab.hosts) {
      if (maybeAgent !== undefined) this.#expected.add(maybeAgent);
    }
  }

  /** The host that most of those that answer name as the leader. */
  async leader(): Promise<Host | undefined> {
    const answers = await Promise.all(this.lab.hosts.map(briefStatus));
    const votes = new Map<string, number>();
    for (const answer of answers) {
      const name = answer?.cluster.leader?.name;
      if (name !== undefined) votes.set(name, (votes.get(name) ?? 0) + 1);
    }
    const [first] = [...votes].sort(([, a], [, b]) => b - a);
    return this.lab.hosts.find(({ name }) => name === first?.[0]);
  }

  /** Waits until every node answers a read that needs the cluster. */
  async waitWhole(timeoutMs: number): Promise<void> {
    let last: string[] = [];
    await waitFor(
      async () => {
        last = await Promise.all(this.lab.hosts.map(readsWell));
        return last.every((text) => text === "well");
      },
      { timeoutMs, describe: "every node to read", details: () => last.join(", ") },
    );
  }

  /** A tmpfs that outlives the agent: in a mount namespace that a process of its own holds. */
  async #makeSmallDisk(host: Host): Promise<SmallDisk> {
    const { dataDir, folder } = host;
    mkdirSync(dataDir, { recursive: true });
    const ready = join(folder, "disk-is-ready");
    const script =
      `mount -t tmpfs -o size=${SMALL_DISK_MEGABYTES}m tmpfs ${dataDir}\n` +
      `chmod 700 ${dataDir}\ntouch ${ready}\nexec sleep infinity`;
    const words = ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", script];
    const holder = host.start(words, { name: "disk" });
    await waitFor(() => existsSync(ready), { describe: "the small disk" });
    const enter = ["nsenter", `--mount=/proc/${holder.pid}/ns/mnt`, "--"];
    this.#settings.set(host, { wrap: enter });
    const ballast = join(dataDir, "ballast");
    const inside = (line: string) => host.mustRun([...enter, "sh", "-c", line]);
    return {
      host,
      fill: async () => {
        const space = `$(stat -f -c %a ${dataDir})`;
        const blocks = `$(stat -f -c %S ${dataDir})`;
        await inside(`fallocate -l $((${space} * ${blocks})) ${ballast}; true`);
      },
      free: async () => {
        await inside(`rm -f ${ballast}`);
      },
    };
  }
}

async function briefStatus(host: Host): Promise<Status | undefined> {
  try {
    const answer = await host.api("/status", { signal: AbortSignal.timeout(STATUS_TIMEOUT_MS) });
    return answer.status === 200 ? answer.json<Status>() : undefined;
  } catch {
    return undefined;
  }
}

async function readsWell(host: Host): Promise<string> {
  try {
    const answer = await host.api("/kv/none", { signal: AbortSignal.timeout(START_TIMEOUT_MS) });
    return answer.status === 404 ? "well" : `${host.name} ${answer.status}`;
  } catch (error) {
    return `${host.name} ${error instanceof Error ? error.message : error}`;
  }
}
