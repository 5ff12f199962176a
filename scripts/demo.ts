/**
 * The demo: three hosts on this machine, from nothing to containers that reach each other, and
 * what happens when the leader dies.
 *
 * Installs what is missing, builds dist/overlay, and removes all it made when it ends, also when
 * it is interrupted. Ends with 0 only when every step did what it says.
 *
 * @module
 */
import {
  addContainers,
  createToken,
  mustPutConfig,
  NETWORK_CONFIG,
  pingAll,
  statusOf,
  waitReaches,
  waitSettled,
} from "../tests/lab/cluster.ts";
import type { Container, Host } from "../tests/lab/host.ts";
import { type Lab, openLab } from "../tests/lab/lab.ts";
import { decodeIpv4, hexDump, type Ipv4Packet } from "../tests/lab/packet.ts";
import { describePing } from "../tests/lab/ping.ts";
import { labObstacle } from "../tests/lab/requirements.ts";
import { describeTransfer, sendIntact, transferTcp } from "../tests/lab/transfer.ts";
import { waitFor } from "../tests/lab/wait.ts";
import { build } from "./build.ts";
import { Progress, type StepNotes, seconds } from "./lib/progress.ts";
import { installLibraries, installPrograms } from "./lib/setup.ts";

const HOST_COUNT = 3;
const PACKET_PORT = 8285;
/** As long as this the ping goes on around the death of the leader: 5 s at 10 a second. */
const PINGS_AROUND_DEATH = 50;
const INTACT_BYTES = 8 * 1024 * 1024;

async function main(): Promise<void> {
  const startMs = performance.now();
  const progress = new Progress();
  await setUp(progress);
  await using lab = await progress.step("three hosts, each with docker0", async (notes) => {
    const opened = await openLab({ hosts: HOST_COUNT });
    notes.result(opened.hosts.map((host) => `${host.name} ${host.address}`).join(", "));
    return opened;
  });
  try {
    await showMainJob(lab, progress);
    await showFailover(lab, progress);
  } catch (error) {
    console.error(`\nThe ends of the logs:\n${lab.logTails()}`);
    throw error;
  }
  await progress.step("clean up", async () => lab.disposeNow());
  console.log(`\nAll of it in ${seconds(performance.now() - startMs)}.`);
}

async function setUp(progress: Progress): Promise<void> {
  await progress.step("libraries", async (notes) => notes.result(await installLibraries()));
  await progress.step("programs of the lab", async (notes) => {
    const outcome = await installPrograms();
    const obstacle = outcome.kind === "missing" ? outcome.text : labObstacle();
    if (obstacle !== undefined) throw new Error(`Cannot open a lab on this machine: ${obstacle}`);
    notes.result(outcome.text);
  });
  await build([], progress);
}

async function showMainJob(lab: Lab, progress: Progress): Promise<void> {
  const [first, ...others] = lab.hosts as [Host, ...Host[]];
  await progress.step("an agent on each", async (notes) => {
    await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
    notes.result("each a cluster of one");
  });
  await progress.step("join the other two", async (notes) => joinOthers(first, others, notes));
  await progress.step("set the network with curl", async (notes) => setNetwork(first, notes));
  const containers = await progress.step("a container on each", async (notes) => {
    const made = await addContainers(lab);
    notes.result(made.map((each) => `${each.name} ${each.address}`).join(", "));
    return made;
  });
  await progress.step("overlay status", async (notes) => {
    notes.show(await first.mustCli(["status"]));
  });
  await progress.step("ping in all directions", async (notes) => showPings(containers, notes));
  await progress.step("TCP both ways", async (notes) => showTransfers(containers, notes));
  await progress.step("one datagram on the wire", async (notes) => showDatagram(lab, notes));
}

async function joinOthers(first: Host, others: readonly Host[], notes: StepNotes): Promise<void> {
  for (const other of others) {
    const { token, joinCommand } = await createToken(first);
    notes.show(`${other.name}$ ${joinCommand.replace(token, shorten(token))}`);
    notes.show(await other.mustCli(["join", first.address, "--token", token]));
  }
  const leader = await waitSettled([first, ...others]);
  notes.result(`one cluster, led by ${leader.name}`);
}

async function setNetwork(host: Host, notes: StepNotes): Promise<void> {
  const body = JSON.stringify(NETWORK_CONFIG);
  notes.show(
    `${host.name}$ curl -X PUT --unix-socket overlay.sock http://localhost/config -d '${body}'`,
  );
  const { code, stdout, stderr } = await host.curl([
    ...["-X", "PUT", "--unix-socket", host.socket, "--fail-with-body"],
    ...["-H", "content-type: application/json", "-d", body, "http://localhost/config"],
  ]);
  if (code !== 0) throw new Error(`curl ended with ${code}: ${stdout}${stderr}`);
  notes.show(stdout);
}

async function showPings(containers: readonly Container[], notes: StepNotes): Promise<void> {
  for (const source of containers) {
    for (const target of containers) {
      if (source !== target) await waitReaches(source, target);
    }
  }
  const pings = await pingAll(containers, { count: 5 });
  for (const { source, target, report } of pings) {
    notes.show(`${source.address} → ${target.address}: ${describePing(report)}`);
  }
  const bad = pings.filter(({ report }) => report.lost.length > 0);
  if (bad.length > 0) throw new Error(`${bad.length} of ${pings.length} directions lost pings`);
  notes.result(`${pings.length} directions`);
}

async function showTransfers(containers: readonly Container[], notes: StepNotes): Promise<void> {
  const [a, b] = containers as [Container, Container];
  for (const [source, target] of [[a, b] as const, [b, a] as const]) {
    await sendIntact(source, target, { address: target.address, bytes: INTACT_BYTES });
    const report = await transferTcp(source, target, { address: target.address, seconds: 1 });
    notes.show(`${source.address} → ${target.address}: ${describeTransfer(report)}`);
  }
  notes.result("checksums of what arrived are right");
}

/** Catches one datagram between two hosts and shows that its payload is the inner packet. */
async function showDatagram(lab: Lab, notes: StepNotes): Promise<void> {
  const [sender, receiver] = [lab.host(0), lab.host(1)];
  const [source, target] = [sender.containers[0]!, receiver.containers[0]!];
  // The first four bits of the payload are 4: a bare IPv4 packet, not a probe between agents.
  const filter = `udp dst port ${PACKET_PORT} and src host ${sender.address} and udp[8] & 0xf0 = 0x40`;
  const capture = await receiver.capture({ filter, count: 1 });
  await source.ping(target.address, { count: 1, sizeBytes: 24 });
  const [outer] = await capture.waitPackets();
  if (outer?.payload.kind !== "udp") throw new Error("No UDP datagram was caught");
  const inner = decodeIpv4(outer.payload.data);
  if (inner?.payload.kind !== "icmp") throw new Error("Its payload is no bare ICMP packet");
  if (inner.source !== source.address || inner.target !== target.address) {
    throw new Error(`Its payload goes from ${inner.source} to ${inner.target}`);
  }
  notes.show(`outer  ${endpoint(outer)}, ${outer.payload.data.length} bytes of payload`);
  notes.show(hexDump(outer.payload.data));
  notes.show(
    `inner  ${inner.source} → ${inner.target}, TTL ${inner.ttl}, ICMP ` +
      `${inner.payload.type === 8 ? "echo request" : `type ${inner.payload.type}`}, ` +
      `sequence ${inner.payload.sequence}`,
  );
  notes.result("the payload is the inner packet, nothing added");
}

/** Kills the leader under a running ping, then brings it back. */
async function showFailover(lab: Lab, progress: Progress): Promise<void> {
  const leader = await waitSettled(lab.hosts);
  const survivors = lab.hosts.filter((host) => host !== leader);
  const [a, b] = survivors as [Host, Host];
  await progress.step(`kill -9 the leader, ${leader.name}, under a ping`, async (notes) => {
    const [source, target] = [a.containers[0]!, b.containers[0]!];
    const ping = source.startPing(target.address);
    await waitFor(() => ping.received() >= 5, { describe: "the ping to run" });
    const killedMs = performance.now();
    await leader.agent.kill();
    const revision = await mustPutConfig(a, { ...NETWORK_CONFIG, SubnetLen: 24 });
    const acceptedMs = performance.now() - killedMs;
    notes.show(`a new config, revision ${revision}, was accepted ${seconds(acceptedMs)} later`);
    const next = await waitSettled(survivors);
    await waitFor(() => ping.received() >= PINGS_AROUND_DEATH, { describe: "more pings" });
    const report = await ping.stop();
    notes.show(`${source.address} → ${target.address}: ${describePing(report)}`);
    if (report.lost.length > 0) throw new Error(`${report.lost.length} pings were lost`);
    notes.result(`no ping lost, ${next.name} leads now`);
  });
  await progress.step(`start ${leader.name} again`, async (notes) => {
    const before = leader.subnetEnv()?.subnet;
    await leader.startHealthyAgent();
    const lease = await waitFor(async () => (await statusOf(leader)).lease ?? undefined, {
      describe: `the lease of ${leader.name}`,
    });
    if (`${lease.gateway}/24` !== before) throw new Error(`It had ${before}, now ${lease.subnet}`);
    await waitReaches(leader.containers[0]!, a.containers[0]!);
    notes.result(`it has ${lease.subnet} again`);
  });
}

function endpoint(packet: Ipv4Packet): string {
  if (packet.payload.kind !== "udp") return `${packet.source} → ${packet.target}`;
  const { sourcePort, targetPort } = packet.payload;
  return `${packet.source}:${sourcePort} → ${packet.target}:${targetPort}`;
}

/** Enough of a token to see what it is. */
function shorten(token: string): string {
  return `${token.slice(0, 12)}…${token.slice(-4)}`;
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(`\n${error instanceof Error ? error.message : error}`);
    process.exit(1);
  }
}
