/**
 * Nodes whose packets travel over IPv6.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import {
  addContainers,
  join,
  mustPutConfig,
  NETWORK_CONFIG,
  statusOf,
  waitReaches,
} from "../lab/cluster.ts";
import type { Container } from "../lab/host.ts";
import { labTest } from "../lab/requirements.ts";
import { sendIntact } from "../lab/transfer.ts";

const PORT = 8285;
const ETHERTYPE_IPV6 = 0x86dd;
/** Of the underlay, less IPv6 and UDP headers. */
const MTU = 1500 - 48;

describe("an IPv6 underlay", () => {
  labTest("pings of the full MTU and TCP cross, all of it over IPv6", { hosts: 2 }, async (lab) => {
    for (const [at, host] of lab.hosts.entries()) {
      const address = `fd99::${at + 1}`;
      await host.mustRun(["ip", "address", "add", `${address}/64`, "dev", "eth0", "nodad"]);
      await host.startHealthyAgent({ args: ["--public-ipv6", address] });
    }
    await join(lab.host(1), lab.host(0));
    await mustPutConfig(lab.host(0), NETWORK_CONFIG);
    const [a, b] = (await addContainers(lab)) as [Container, Container];
    await waitReaches(a, b);
    expect((await statusOf(lab.host(0))).dataplane?.mtu).toBe(MTU);
    const capture = await lab.host(1).capture({ filter: `udp port ${PORT}` });
    const whole = { count: 5, sizeBytes: MTU - 28, dontFragment: true, intervalSeconds: 0.05 };
    expect((await a.ping(b.address, whole)).lost).toEqual([]);
    await sendIntact(a, b, { address: b.address, bytes: 2_000_000 });
    await capture.stop();
    const types = capture.frames().map(({ bytes }) => (bytes[12]! << 8) | bytes[13]!);
    expect([...new Set(types)]).toEqual([ETHERTYPE_IPV6]);
  });
});
