/**
 * Sealed packets from outside: nothing readable on the wire, switched on and off under a ping
 * without a loss, and the status says what is so.
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
  unreachablePairs,
  waitReaches,
} from "../lab/cluster.ts";
import type { Container, Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { packetOf } from "../lab/packet.ts";
import { labTest } from "../lab/requirements.ts";
import { sendIntact } from "../lab/transfer.ts";
import { waitFor } from "../lab/wait.ts";

const SEALED_CONFIG = { ...NETWORK_CONFIG, Backend: { Type: "udp", Encryption: "aes-256-gcm" } };
const PLAIN_CONFIG = { ...NETWORK_CONFIG, Backend: { Type: "udp", Encryption: "none" } };
const PORT = 8285;
/** A ping fills its packets with this, again and again. */
const PATTERN = "6f7665726c6179207365616c";
/** KEY_SPREAD_MS and PLAIN_GRACE_MS, with room for a busy machine. */
const SWITCH_TIMEOUT_MS = 60_000;

/** First nibbles of the datagrams between agents in `capture`. */
interface Seen {
  readonly kinds: ReadonlySet<number>;
  readonly isReadable: boolean;
}

/** What a listener between the hosts sees while `traffic` goes by. */
async function listen(host: Host, traffic: () => Promise<unknown>): Promise<Seen> {
  const capture = await host.capture({ filter: `udp port ${PORT}` });
  await traffic();
  await capture.stop();
  const kinds = new Set<number>();
  let isReadable = false;
  for (const frame of capture.frames()) {
    const packet = packetOf(frame);
    if (packet?.payload.kind !== "udp") continue;
    kinds.add(packet.payload.data[0]! >>> 4);
    isReadable ||= Buffer.from(packet.bytes).includes(Buffer.from(PATTERN, "hex"));
  }
  return { kinds, isReadable };
}

async function pingMarked(source: Container, target: Container): Promise<void> {
  await source.mustRun(["ping", "-n", "-c", "5", "-i", "0.05", "-p", PATTERN, target.address]);
}

async function encryptionOf(host: Host): Promise<string> {
  const { dataplane } = await statusOf(host);
  return dataplane?.encryption ?? "no data plane";
}

/** Waits until every host says `encryption`, and that nothing is on its way any more. */
async function waitEncryption(lab: Lab, encryption: string): Promise<void> {
  const isDone = async (host: Host) => {
    const { dataplane, warnings } = await statusOf(host);
    const isSwitching = warnings.some((warning) => warning.startsWith("Switching to"));
    return dataplane?.encryption === encryption && !isSwitching;
  };
  for (const host of lab.hosts) {
    await waitFor(() => isDone(host), {
      timeoutMs: SWITCH_TIMEOUT_MS,
      describe: `${host.name} to say ${encryption}`,
    });
  }
}

/** Sealed and plain packets that were dropped for a reason of the seal, on any host. */
async function sealDrops(lab: Lab): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const host of lab.hosts) {
    const { dataplane } = await statusOf(host);
    for (const [name, count] of Object.entries(dataplane?.counters ?? {})) {
      if (/^drop_.*(seal|plain)/.test(name)) found[`${host.name} ${name}`] = count;
    }
  }
  return found;
}

describe("sealed packets", () => {
  labTest(
    "sealed from the start: a node joins under traffic, all cross, nothing is readable",
    { hosts: 3, timeoutMs: 120_000 },
    async (lab) => {
      const [first, second, newcomer] = lab.hosts as [Host, Host, Host];
      await formCluster(lab, [first, second]);
      await first.mustCli(["config", "set", JSON.stringify(SEALED_CONFIG)]);
      const a = await first.addContainer(await first.waitLease());
      const b = await second.addContainer(await second.waitLease());
      await waitReaches(a, b);
      const ping = a.startPing(b.address, { intervalSeconds: 0.01 });
      await join(newcomer, first);
      const c = await newcomer.addContainer(await newcomer.waitLease());
      await waitReaches(b, c);
      await waitReaches(c, a);
      expect((await ping.stop()).lost).toEqual([]);
      const containers = [a, b, c];
      expect(await unreachablePairs(containers)).toEqual([]);
      expect(await Promise.all(lab.hosts.map(encryptionOf))).toEqual(Array(3).fill("aes-256-gcm"));
      expect(lab.host(0).subnetEnv()?.mtu).toBe(1440);
      // A probe that was faster than the lease with its key is among these.
      const before = await sealDrops(lab);
      const seen = await listen(lab.host(1), async () => {
        await pingMarked(a, b);
        await sendIntact(a, b, { address: b.address, bytes: 5_000_000 });
        await sendIntact(c, b, { address: b.address, bytes: 1_000_001 });
      });
      expect([...seen.kinds]).toEqual([1]);
      expect(seen.isReadable).toBe(false);
      expect(await sealDrops(lab)).toEqual(before);
    },
  );

  labTest(
    "switched on and off under a ping of 100 a second: nothing is lost",
    { hosts: 3, timeoutMs: 240_000 },
    async (lab) => {
      await formCluster(lab);
      await mustPutConfig(lab.host(0), PLAIN_CONFIG);
      const containers = await addContainers(lab);
      const [a, b, c] = [containers[0]!, containers[1]!, containers[2]!];
      await waitReaches(a, b);
      await waitReaches(b, c);
      await waitReaches(c, a);
      const plain = await listen(lab.host(1), () => pingMarked(a, b));
      expect([plain.isReadable, plain.kinds.has(1)]).toEqual([true, false]);
      const pings = [
        a.startPing(b.address, { intervalSeconds: 0.01 }),
        b.startPing(c.address, { intervalSeconds: 0.01 }),
        c.startPing(a.address, { intervalSeconds: 0.01, sizeBytes: 1400 }),
      ];
      await mustPutConfig(lab.host(1), SEALED_CONFIG);
      await waitEncryption(lab, "aes-256-gcm");
      const sealed = await listen(lab.host(1), async () => {
        await pingMarked(a, b);
        await sendIntact(b, a, { address: a.address, bytes: 3_000_000 });
      });
      expect([sealed.isReadable, [...sealed.kinds]]).toEqual([false, [1]]);
      await mustPutConfig(lab.host(2), PLAIN_CONFIG);
      await waitEncryption(lab, "none");
      const after = await listen(lab.host(1), () => pingMarked(a, b));
      expect([after.isReadable, after.kinds.has(1)]).toEqual([true, false]);
      for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
      expect(await sealDrops(lab)).toEqual({});
    },
  );
});
