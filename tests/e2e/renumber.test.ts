/**
 * The network of a live cluster changes under a ping between containers: nothing that has an
 * address loses a packet.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { formCluster, mustPutConfig, putConfig, statusOf, waitReaches } from "../lab/cluster.ts";
import type { Container, Host } from "../lab/host.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";

const OLD = { Network: "10.0.0.0/16" };
const NEW = { Network: "10.9.0.0/16" };
const PING = { intervalSeconds: 0.01 };
const OTHER_PORT = { ...OLD, Backend: { Type: "udp", Port: 9285 } };
/** A turn for each node before it, and the quiet after its bridge has moved. */
const MOVE_TIMEOUT_MS = 30_000;

/** As dockerd does at a restart with the new `--bip`, which ends the containers of the old one. */
async function moveBridge(host: Host): Promise<void> {
  const env = await waitAnnounced(host);
  await host.mustRun(["ip", "address", "flush", "dev", "docker0"]);
  await host.mustRun(["ip", "address", "add", env.subnet, "dev", "docker0"]);
}

function subnetIn(host: Host, network: string) {
  const env = host.subnetEnv();
  return env?.network === network ? env : undefined;
}

async function waitAnnounced(host: Host) {
  return await waitFor(() => subnetIn(host, NEW.Network), {
    timeoutMs: MOVE_TIMEOUT_MS,
    describe: `${host.name} to announce its new subnet`,
  });
}

async function kernelPackets(host: Host): Promise<number> {
  return (await statusOf(host)).dataplane?.counters["kernelTxPackets"] ?? 0;
}

/** The UDP ports of the underlay that somebody listens on. */
async function udpPorts(host: Host): Promise<readonly number[]> {
  const text = await host.mustRun(["ss", "-Hlun", `src ${host.address}`]);
  return [...text.matchAll(/:(\d+) +0\.0\.0\.0:/g)].map(([, port]) => Number(port)).sort();
}

async function waitPorts(hosts: readonly Host[], ports: readonly number[]): Promise<void> {
  for (const host of hosts) {
    await waitFor(async () => Bun.deepEquals(await udpPorts(host), ports), {
      timeoutMs: MOVE_TIMEOUT_MS,
      describe: `${host.name} to listen on ${ports.join(" and ")}`,
    });
  }
}

async function drainingLeases(host: Host): Promise<readonly string[]> {
  const answer = await host.api("/leases");
  const leases = answer.json<{ readonly subnet: string; readonly draining: boolean }[]>();
  return leases.filter(({ draining }) => draining).map(({ subnet }) => subnet);
}

async function waitDrained(host: Host): Promise<void> {
  await waitFor(async () => (await drainingLeases(host)).length === 0, {
    timeoutMs: MOVE_TIMEOUT_MS,
    describe: `${host.name} to know of no draining lease`,
  });
}

describe("a live network", () => {
  labTest(
    "is renumbered node by node under pings, old and new side by side",
    { hosts: 3, timeoutMs: 120_000 },
    async (lab) => {
      const [a, b, c] = lab.hosts as [Host, Host, Host];
      await formCluster(lab);
      await mustPutConfig(a, OLD);
      const old: Container[] = [];
      for (const host of [a, b, c]) old.push(await host.addContainer(await host.waitLease()));
      const [oldA, oldB, oldC] = old as [Container, Container, Container];
      await waitReaches(oldA, oldB);
      await waitReaches(oldB, oldC);
      const pings = [oldA.startPing(oldB.address, PING), oldB.startPing(oldC.address, PING)];

      expect((await putConfig(a, NEW)).status).toBe(409);
      expect((await putConfig(a, NEW, "?renumber=true")).status).toBe(200);
      for (const host of lab.hosts) await waitAnnounced(host);
      const { warnings } = await statusOf(a);
      expect(warnings.join("\n")).toContain("docker0 still uses 10.0.");
      expect(await drainingLeases(b)).toHaveLength(3);
      for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);

      // One node has moved, the other has not: containers of both networks reach each other.
      await moveBridge(a);
      const newA = await a.addContainer(a.subnetEnv());
      const mixed = oldB.startPing(newA.address, PING);
      await waitReaches(newA, oldC);
      await moveBridge(c);
      const newC = await c.addContainer(c.subnetEnv());
      await waitReaches(newA, newC);
      const moved = newA.startPing(newC.address, PING);
      await waitFor(async () => (await drainingLeases(b)).length === 1, {
        timeoutMs: MOVE_TIMEOUT_MS,
        describe: "two of three to have given up their old subnets",
      });
      expect((await mixed.stop()).lost).toEqual([]);

      await moveBridge(b);
      await waitDrained(b);
      await waitDrained(a);
      expect((await moved.stop()).lost).toEqual([]);
      expect((await statusOf(a)).warnings).toEqual([]);
      const { stdout } = await a.run(["ip", "route", "show", OLD.Network]);
      expect(stdout).toBe("");
    },
  );

  labTest(
    "goes back in the middle of a renumbering: every node has its old subnet again",
    { hosts: 2, timeoutMs: 60_000 },
    async (lab) => {
      const [a, b] = lab.hosts as [Host, Host];
      await formCluster(lab);
      await mustPutConfig(a, OLD);
      const before = [await a.waitLease(), await b.waitLease()];
      const oldA = await a.addContainer(before[0]);
      const oldB = await b.addContainer(before[1]);
      await waitReaches(oldA, oldB);
      const ping = oldA.startPing(oldB.address, PING);
      expect((await putConfig(a, NEW, "?renumber=true")).status).toBe(200);
      for (const host of lab.hosts) await waitAnnounced(host);
      expect((await putConfig(b, OLD, "?renumber=true")).status).toBe(200);
      await waitDrained(b);
      await waitDrained(a);
      expect((await ping.stop()).lost).toEqual([]);
      expect([a.subnetEnv(), b.subnetEnv()]).toEqual(before);
    },
  );

  labTest(
    "gets another UDP port under pings: both are open until everybody knows",
    { hosts: 2, timeoutMs: 60_000 },
    async (lab) => {
      const [a, b] = lab.hosts as [Host, Host];
      await formCluster(lab);
      await mustPutConfig(a, OLD);
      const inA = await a.addContainer(await a.waitLease());
      const inB = await b.addContainer(await b.waitLease());
      await waitReaches(inA, inB);
      const pings = [inA.startPing(inB.address, PING), inB.startPing(inA.address, PING)];
      const isCarried = async () => (await kernelPackets(a)) > 0 && (await kernelPackets(b)) > 0;
      await waitFor(isCarried, { describe: "the kernel to carry packets" });

      await mustPutConfig(a, OTHER_PORT);
      await waitPorts(lab.hosts, [8285, 9285]);
      await waitPorts(lab.hosts, [9285]);
      const before = [await kernelPackets(a), await kernelPackets(b)];
      await waitFor(
        async () => (await kernelPackets(a)) > before[0]! && (await kernelPackets(b)) > before[1]!,
        { describe: "the kernel to carry packets from the other port" },
      );
      const lost = (await Promise.all(pings.map((ping) => ping.stop()))).flatMap((p) => p.lost);
      // A busy machine may drop one anywhere.
      expect(lost.length).toBeLessThanOrEqual(1);
    },
  );

  labTest(
    "sealed: three ports in a row, one taken, one node off meanwhile",
    { hosts: 3, timeoutMs: 90_000 },
    async (lab) => {
      const [a, b, c] = lab.hosts as [Host, Host, Host];
      const portOf = (Port: number) => {
        return { ...OLD, Backend: { Type: "udp", Port, Encryption: "aes-256-gcm" } };
      };
      await formCluster(lab);
      await mustPutConfig(a, portOf(8285));
      const containers: Container[] = [];
      for (const host of lab.hosts)
        containers.push(await host.addContainer(await host.waitLease()));
      const [inA, inB, inC] = containers as [Container, Container, Container];
      for (const target of [inB, inC]) await waitReaches(inA, target);
      await waitReaches(inB, inC);

      // Who cannot have the new port keeps the old one and says so; all reach each other.
      const holder = c.start(["perl", "-MSocket", "-e", takesPort(c.address, 9285)]);
      await waitFor(async () => (await udpPorts(c)).includes(9285), { describe: "a taken port" });
      const pings = [inA.startPing(inB.address, PING), inB.startPing(inC.address, PING)];
      await mustPutConfig(a, portOf(9285));
      await waitFor(async () => (await statusOf(c)).warnings.join().includes("9285"), {
        describe: "the node to say that its port is taken",
        details: () => c.agent.tail(10),
      });
      await mustPutConfig(a, portOf(9286));
      await mustPutConfig(a, portOf(9287));
      await waitPorts([a, b], [9287]);
      await holder.kill();
      await waitPorts([c], [9287]);
      expect((await statusOf(c)).warnings).toEqual([]);
      const lost = (await Promise.all(pings.map((ping) => ping.stop()))).map((each) => each.lost);
      expect(lost).toEqual([[], []]);

      // Off during a change: found at its old port until it is back.
      await c.agent.kill();
      await mustPutConfig(a, portOf(8285));
      await waitPorts([a, b], [8285]);
      await c.startHealthyAgent();
      await waitPorts([c], [8285]);
      await waitReaches(inA, inC);
      await waitReaches(inC, inB);
    },
  );
});

/** A program that listens on a port of UDP until it is killed. */
function takesPort(address: string, port: number): string {
  return (
    `socket(S, PF_INET, SOCK_DGRAM, 17) && bind(S, sockaddr_in(${port}, inet_aton("${address}")))` +
    " or die; sleep 600"
  );
}
