/**
 * Figures: printed by the test command as "measured: …", and held to bounds that only something
 * badly wrong exceeds, since this machine may be busy with anything.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import {
  createToken,
  formCluster,
  join,
  mustPutConfig,
  NETWORK_CONFIG,
  waitSettled,
} from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import { labTest } from "../lab/requirements.ts";
import { describeTransfer, transferTcp } from "../lab/transfer.ts";
import { timed, waitFor } from "../lab/wait.ts";

const THREE = { hosts: 3, timeoutMs: 90_000 } as const;
const VXLAN_PORT = 4790;
const TRANSFER_SECONDS = 2;

/** Prints a figure where the test command passes it on. */
function report(what: string, elapsedMs: number): void {
  console.log(`measured: ${what} ${elapsedMs.toFixed(0)} ms`);
}

/** The address of the overlay's own link, which needs no container to be reached. */
function tunAddress(gateway: string): string {
  return gateway.replace(/\.1$/, ".0");
}

/** A kernel VXLAN link between two hosts, to measure against on the same wire. */
async function addVxlan(host: Host, peer: Host, address: string): Promise<void> {
  const ends = ["local", host.address, "remote", peer.address, "dstport", String(VXLAN_PORT)];
  await host.mustRun([
    "ip",
    "link",
    "add",
    "vx0",
    "type",
    "vxlan",
    "id",
    "7",
    "dev",
    "eth0",
    ...ends,
  ]);
  await host.mustRun(["ip", "address", "add", `${address}/24`, "dev", "vx0"]);
  await host.mustRun(["ip", "link", "set", "dev", "vx0", "up"]);
}

describe("figures", () => {
  labTest("join to lease, PUT to first ping", THREE, async (lab) => {
    const [a, b, c] = [lab.host(0), lab.host(1), lab.host(2)];
    await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
    await join(b, a);
    await waitSettled([a, b]);

    const put = await timed(async () => {
      await mustPutConfig(a, NETWORK_CONFIG);
      const [envA, envB] = await Promise.all([a.waitLease(), b.waitLease()]);
      // From host to host: the address of one TUN to that of the other, no container needed.
      const [source, target] = [tunAddress(envA.gateway), tunAddress(envB.gateway)];
      await waitFor(
        async () => {
          const words = ["ping", "-n", "-c", "1", "-W", "0.2", "-I", source, target];
          return (await a.run(words)).code === 0;
        },
        { describe: "the first ping" },
      );
    });
    report("PUT to first ping", put.elapsedMs);
    expect(put.elapsedMs).toBeLessThan(5_000);

    const { token } = await createToken(a);
    const joined = await timed(async () => {
      await join(c, a, token);
      await c.waitLease();
    });
    report("join to lease", joined.elapsedMs);
    expect(joined.elapsedMs).toBeLessThan(10_000);
  });

  labTest("an idle agent: memory and processor", THREE, async (lab) => {
    await formCluster(lab);
    await mustPutConfig(lab.host(0), NETWORK_CONFIG);
    for (const host of lab.hosts) await host.waitLease();
    const agents = lab.hosts.map((host) => host.agent);
    const clock = lab.host(0).startPing("127.0.0.1", { intervalSeconds: 1 });
    const pass = (seconds: number) => {
      const goal = clock.received() + seconds;
      return waitFor(() => clock.received() >= goal, { describe: `${seconds} seconds to pass` });
    };
    // With its first table the packet thread compiles its code, and the agent collects once.
    await pass(5);
    const before = agents.map((agent) => agent.cpuSeconds());
    const { elapsedMs } = await timed(() => pass(5));
    await clock.stop();
    for (const [index, agent] of agents.entries()) {
      const share = ((agent.cpuSeconds() - (before[index] ?? 0)) / elapsedMs) * 1000 * 100;
      const mebibytes = agent.residentBytes() / 1024 / 1024;
      const figures = `${mebibytes.toFixed(0)} MiB resident, ${share.toFixed(1)} % of a core`;
      console.log(`measured: idle agent of ${agent.name}: ${figures}`);
      expect(mebibytes).toBeLessThan(120);
      expect(share).toBeLessThan(5);
    }
  });

  for (const wire of ["real", "virtual"] as const) {
    labTest(`TCP beside kernel VXLAN on the ${wire} wire`, { hosts: 2, wire }, async (lab) => {
      const [a, b] = [lab.host(0), lab.host(1)];
      await formCluster(lab);
      await mustPutConfig(a, NETWORK_CONFIG);
      const target = tunAddress((await b.waitLease()).gateway);
      await a.waitLease();
      await waitFor(async () => (await a.ping(target, { count: 1 })).received > 0, {
        describe: "the overlay",
      });
      await addVxlan(a, b, "172.31.0.1");
      await addVxlan(b, a, "172.31.0.2");
      const seconds = TRANSFER_SECONDS;
      const vxlan = await transferTcp(a, b, { address: "172.31.0.2", seconds });
      const ours = await transferTcp(a, b, { address: target, seconds });
      const ratio = ours.gigabitsPerSecond / vxlan.gigabitsPerSecond;
      console.log(
        `measured: TCP on the ${wire} wire: ours ${describeTransfer(ours)}; ` +
          `kernel VXLAN ${describeTransfer(vxlan)}; ratio ${ratio.toFixed(2)}`,
      );
      expect(ratio).toBeGreaterThan(0.1);
    });
  }
});
