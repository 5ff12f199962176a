/**
 * The fast path of whole agents, from outside: on by default, seen in the status, gone after leave,
 * and no way around a firewall.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import {
  addContainers,
  formCluster,
  join,
  mustPutConfig,
  NETWORK_CONFIG,
  statusOf,
  waitReaches,
} from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";

const TWO = { hosts: 2, timeoutMs: 90_000 } as const;
const NOTICE_TIMEOUT_MS = 30_000;
const OFTEN = { intervalSeconds: 0.01 };

/** Two nodes with a container each that reach each other through the kernel. */
async function openOverlay(lab: Lab) {
  await formCluster(lab);
  await mustPutConfig(lab.host(0), NETWORK_CONFIG);
  const [a, b] = await addContainers(lab);
  await waitReaches(a!, b!);
  const isCarried = async () => {
    await a!.ping(b!.address, { count: 2, intervalSeconds: 0.01 });
    return (await kernelPackets(lab.host(0))) > 0 && (await kernelPackets(lab.host(1))) > 0;
  };
  await waitFor(isCarried, { describe: "the kernel to carry packets" });
  return [a!, b!] as const;
}

async function kernelPackets(host: Host): Promise<number> {
  return (await statusOf(host)).dataplane?.counters["kernelTxPackets"] ?? 0;
}

async function engineOf(host: Host): Promise<unknown> {
  const { dataplane } = (await host.api("/status")).json<{ dataplane: Record<string, unknown> }>();
  return [dataplane["engine"], dataplane["engineReason"]];
}

async function qdiscs(host: Host): Promise<string> {
  return await host.mustRun(["tc", "qdisc", "show", "dev", "eth0"]);
}

describe("the fast path", () => {
  labTest("on by default; status, metrics and peers count its packets", TWO, async (lab) => {
    const [a, b] = await openOverlay(lab);
    const host = lab.host(0);
    expect(await engineOf(host)).toEqual(["ebpf+user", null]);
    const peerBytes = async () => {
      const { peers } = (await host.api("/status")).json<{ peers: { txBytes: number }[] }>();
      return peers[0]?.txBytes ?? 0;
    };
    const before = await peerBytes();
    await a.ping(b.address, { count: 100, ...OFTEN });
    expect((await peerBytes()) - before).toBeGreaterThanOrEqual(100 * 84);
    const { text } = await host.api("/metrics");
    expect(text).toMatch(/^overlay_kernel_tx_packets_total [1-9]/m);
    expect(await host.mustCli(["status"])).toContain("engine ebpf+user");
  });

  labTest("a restarted agent: the ping goes on", TWO, async (lab) => {
    const [a, b] = await openOverlay(lab);
    const ping = a.startPing(b.address, OFTEN);
    await waitFor(() => ping.received() > 20, { describe: "answers" });
    expect(await lab.host(0).agent.terminate()).toBe(0);
    await lab.host(0).startHealthyAgent();
    await lab.host(0).waitLease();
    const seen = ping.received();
    await waitFor(() => ping.received() > seen + 100, { describe: "more answers" });
    const { lost } = await ping.stop();
    expect(lost.length).toBeLessThanOrEqual(1);
  });

  labTest("an agent that was killed, and its way back", TWO, async (lab) => {
    const [a, b] = await openOverlay(lab);
    const ping = b.startPing(a.address, OFTEN);
    await waitFor(() => ping.received() > 20, { describe: "answers" });
    await lab.host(0).agent.kill();
    await lab.host(0).startHealthyAgent();
    const carried = async () => (await kernelPackets(lab.host(0))) > 50;
    await waitFor(carried, { describe: "the kernel to carry packets", timeoutMs: 30_000 });
    const { lost } = await ping.stop();
    expect(lost.length).toBeLessThanOrEqual(1);
  });

  labTest("leave: no program and no qdisc stay; join: they come again", TWO, async (lab) => {
    await openOverlay(lab);
    const [stayer, leaver] = lab.hosts;
    expect(await qdiscs(leaver!)).toContain("clsact");
    await leaver!.mustCli(["leave"]);
    expect(await qdiscs(leaver!)).not.toContain("clsact");
    await join(leaver!, stayer!);
    await leaver!.waitLease();
    const isBack = async () => (await qdiscs(leaver!)).includes("clsact");
    await waitFor(isBack, { describe: "the programs", timeoutMs: NOTICE_TIMEOUT_MS });
  });

  labTest("a firewall that shuts the port shuts the fast path too", TWO, async (lab) => {
    const [a, b] = await openOverlay(lab);
    const host = lab.host(1);
    await host.mustRun(["nft", "add", "table", "inet", "shut"]);
    const chain = "{ type filter hook input priority 0; policy accept; }";
    await host.mustRun(["nft", "add", "chain", "inet", "shut", "in", chain]);
    const rule = ["udp", "dport", "8285", "drop"];
    await host.mustRun(["nft", "add", "rule", "inet", "shut", "in", ...rule]);
    const isShut = async () => (await a.ping(b.address, { count: 2 })).received === 0;
    await waitFor(isShut, { describe: "no answer", timeoutMs: NOTICE_TIMEOUT_MS });
    await host.mustRun(["nft", "delete", "table", "inet", "shut"]);
    await waitReaches(a, b);
  });

  labTest("--engine user: no program, and what another agent left is gone", TWO, async (lab) => {
    const [a, b] = await openOverlay(lab);
    const host = lab.host(0);
    expect(await host.agent.terminate()).toBe(0);
    expect(await qdiscs(host)).toContain("clsact");
    await host.startHealthyAgent({ args: ["--engine", "user"] });
    const isGone = async () => !(await qdiscs(host)).includes("clsact");
    await waitFor(isGone, { describe: "the programs to be gone" });
    await waitReaches(a, b);
    expect(await engineOf(host)).toEqual(["user", "the agent runs with --engine user"]);
  });
});
