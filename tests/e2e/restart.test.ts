/**
 * An agent that goes away and comes back under traffic: stopped, killed, replaced by another build.
 * Packets that come meanwhile are late, not lost, in each of the ways that packets take.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { addContainers, join, mustPutConfig, waitReaches, waitSettled } from "../lab/cluster.ts";
import { type Host, OVERLAY_PATH } from "../lab/host.ts";
import { pidsIn } from "../lab/janitor.ts";
import type { PingReport } from "../lab/ping.ts";
import { labTest } from "../lab/requirements.ts";
import { AGENT_ENDS, openPair, PACKET_WAYS, pingThrough, SEALED_CONFIG } from "../lab/restarts.ts";
import { sendIntact } from "../lab/transfer.ts";
import { waitFor } from "../lab/wait.ts";

/** What may be lost: the packet that the agent has just read when it is killed. */
const LOST_MAX = 1;

const TWO_HOSTS = { hosts: 2, timeoutMs: 120_000 } as const;

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
  for (const [name, way] of Object.entries(PACKET_WAYS)) {
    labTest(`${name}: at most one ping is lost`, TWO_HOSTS, async (lab) => {
      const pair = await openPair(lab, way);
      const host = lab.host(0);
      const other = joinPath(host.folder, "another-overlay");
      copyFileSync(OVERLAY_PATH, other);
      for (const end of Object.values(AGENT_ENDS)) {
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
