/**
 * An agent that goes away and comes back under traffic: stopped, killed, replaced by another build.
 * Packets that come meanwhile are late, not lost, in each of the ways that packets take.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import {
  addContainers,
  join,
  mustPutConfig,
  NETWORK_CONFIG,
  waitReaches,
  waitSettled,
} from "../lab/cluster.ts";
import { type Container, type Host, OVERLAY_PATH } from "../lab/host.ts";
import { pidsIn } from "../lab/janitor.ts";
import type { Lab } from "../lab/lab.ts";
import type { PingReport } from "../lab/ping.ts";
import { labTest } from "../lab/requirements.ts";
import { sendIntact } from "../lab/transfer.ts";
import { waitFor } from "../lab/wait.ts";

const OFTEN = { intervalSeconds: 0.01 } as const;
const SEALED_CONFIG = { ...NETWORK_CONFIG, Backend: { Type: "udp", Encryption: "aes-256-gcm" } };
/** What may be lost: the packet that the agent has just read when it is killed. */
const LOST_MAX = 1;

/** The ways that packets take: the config, and the flags of the agents. */
const WAYS = {
  "plain, user mode": { config: NETWORK_CONFIG, args: ["--engine", "user"] },
  "plain, with the kernel": { config: NETWORK_CONFIG, args: [] },
  sealed: { config: SEALED_CONFIG, args: [] },
} as const;

type Way = (typeof WAYS)[keyof typeof WAYS];

const TWO_HOSTS = { hosts: 2, timeoutMs: 120_000 } as const;

/** A way for an agent to go. */
const ENDS = {
  stopped: async (host: Host) => void (await host.agent.terminate()),
  killed: async (host: Host) => void (await host.agent.kill()),
} as const;

async function openOverlay(lab: Lab, way: Way): Promise<readonly [Container, Container]> {
  await Promise.all(lab.hosts.map((host) => host.startHealthyAgent({ args: way.args })));
  await join(lab.host(1), lab.host(0));
  await waitSettled(lab.hosts);
  await mustPutConfig(lab.host(0), way.config);
  const [a, b] = await addContainers(lab);
  await waitReaches(a!, b!);
  return [a!, b!];
}

/** Sends pings both ways while `host` is restarted, until it has carried packets for a while. */
async function pingThrough(
  [a, b]: readonly [Container, Container],
  restart: () => Promise<unknown>,
): Promise<readonly PingReport[]> {
  const pings = [a.startPing(b.address, OFTEN), b.startPing(a.address, OFTEN)];
  const receive = async (count: number) => {
    const goals = pings.map((ping) => ping.received() + count);
    await waitFor(() => pings.every((ping, i) => ping.received() >= goals[i]!), {
      describe: "answers",
    });
  };
  await receive(20);
  await restart();
  await receive(50);
  return await Promise.all(pings.map((ping) => ping.stop()));
}

function expectUnbroken(reports: readonly PingReport[]): void {
  for (const report of reports) {
    expect(report.lost.length).toBeLessThanOrEqual(LOST_MAX);
    expect(report.text).not.toContain("DUP");
  }
}

/** Processes in the host's namespace that hold descriptors for an agent that is away. */
function keepersOf(host: Host): number[] {
  return pidsIn(host.id).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, "utf8") === "overlay-keeper\n";
    } catch {
      return false;
    }
  });
}

describe("an agent that goes and comes back", () => {
  for (const [name, way] of Object.entries(WAYS)) {
    labTest(`${name}: at most one ping is lost`, TWO_HOSTS, async (lab) => {
      const pair = await openOverlay(lab, way);
      const host = lab.host(0);
      const other = joinPath(host.folder, "another-overlay");
      copyFileSync(OVERLAY_PATH, other);
      for (const end of Object.values(ENDS)) {
        const reports = await pingThrough(pair, async () => {
          await end(host);
          await host.startHealthyAgent({ args: way.args, program: other });
        });
        expectUnbroken(reports);
        expect(keepersOf(host).length).toBe(1);
      }
      const [a, b] = pair;
      const moved = sendIntact(a, b, { address: b.address, bytes: 400_000_000 });
      await host.agent.kill();
      await host.startHealthyAgent({ args: way.args });
      await moved;
      await host.mustCli(["leave"]);
      expect(keepersOf(host)).toEqual([]);
      expect(existsSync(joinPath(host.runDir, "keeper.json"))).toBe(false);
    });
  }

  labTest(
    "a service manager holds what is needed, and no process of ours does",
    TWO_HOSTS,
    async (lab) => {
      const host = lab.host(0);
      const notify = joinPath(host.folder, "notify");
      await lab.host(1).startHealthyAgent();
      const manager = [process.execPath, joinPath(import.meta.dir, "../lab/service-manager.ts")];
      await host.startHealthyAgent({ wrap: [...manager, notify] });
      await join(lab.host(1), host);
      await waitSettled(lab.hosts);
      await mustPutConfig(host, SEALED_CONFIG);
      const [a, b] = await addContainers(lab);
      await waitReaches(a!, b!);
      const starts = () => host.agent.output().split("agent started").length - 1;
      for (const signal of ["SIGUSR1", "SIGUSR2"] as const) {
        const before = starts();
        const reports = await pingThrough([a!, b!], async () => {
          host.agent.signal(signal);
          await waitFor(() => starts() > before, { describe: "the agent to be back" });
        });
        expectUnbroken(reports);
      }
      expect(host.agent.output()).toContain('kept="tun,udp,seal"');
      expect(keepersOf(host)).toEqual([]);
    },
  );
});
