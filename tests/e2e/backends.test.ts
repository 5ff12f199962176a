/**
 * The kernel's backends of whole agents: what others undo is done again, what is not ours stays,
 * and nodes reach each other while the backend changes under them.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { spoilTunnelChecksums } from "../lab/bad-card.ts";
import {
  addContainers,
  formCluster,
  mustPutConfig,
  statusOf,
  waitReaches,
} from "../lab/cluster.ts";
import type { Container, Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { labTest } from "../lab/requirements.ts";
import { sendIntact } from "../lab/transfer.ts";
import { waitFor } from "../lab/wait.ts";

const TWO = { hosts: 2, timeoutMs: 90_000 } as const;
const THREE = { hosts: 3, timeoutMs: 120_000 } as const;
const NETWORK = "10.0.0.0/16";
const OFTEN = { intervalSeconds: 0.01 };
/** "Right again within a second", at a hundred pings a second. */
const REPAIR_LOST_MAX = 100;
/** For each change of the backend. */
const SWITCH_LOST_MAX = 2;

const config = (Type: string, options: object = {}) => ({
  Network: NETWORK,
  Backend: { Type, ...options },
});

async function openOverlay(lab: Lab, backend: object): Promise<Container[]> {
  await formCluster(lab);
  await mustPutConfig(lab.host(0), backend);
  const containers = await addContainers(lab);
  for (const target of containers.slice(1)) await waitReaches(containers[0]!, target);
  return containers;
}

const shown = async (host: Host, command: string) => await host.mustRun(["sh", "-c", command]);

describe("vxlan", () => {
  labTest("whatever of it is falsified is right again within a second", THREE, async (lab) => {
    const [a, b] = (await openOverlay(lab, config("vxlan"))) as [Container, Container];
    const host = lab.host(0);
    expect((await statusOf(host)).dataplane).toMatchObject({ mtu: 1450, interface: "overlay.1" });
    const subnet = b.address.replace(/\d+$/, "0");
    const mac = /([0-9a-f:]{17})/.exec(await shown(host, `ip neigh show ${subnet} dev overlay.1`));
    const foreign = [
      "ip route add 172.30.0.0/24 dev docker0",
      "ip neigh add 172.30.0.9 lladdr 02:00:00:00:00:99 dev docker0 nud permanent",
    ];
    for (const line of foreign) await shown(host, line);
    const damages = [
      "ip link del overlay.1",
      "ip link set overlay.1 down",
      "ip link set overlay.1 mtu 1000",
      "ip link set overlay.1 address 02:11:22:33:44:55",
      "ip link set overlay.1 name gone",
      `ip route del ${subnet}/24`,
      `ip route replace ${subnet}/24 via 192.168.77.1 dev eth0 proto 85`,
      `bridge fdb replace ${mac?.[1]} dev overlay.1 dst 192.168.77.250 self permanent`,
      `bridge fdb del ${mac?.[1]} dev overlay.1`,
      `ip neigh replace ${subnet} lladdr 02:11:22:33:44:55 dev overlay.1 nud permanent`,
      `ip neigh del ${subnet} dev overlay.1`,
      "ip addr flush dev overlay.1",
      "ip link set eth0 down; ip link set eth0 up; ip route add default via 192.168.77.1",
      "nft flush ruleset",
    ];
    for (const damage of damages) {
      const ping = a.startPing(b.address, OFTEN);
      await waitFor(() => ping.received() > 5, { describe: `answers before: ${damage}` });
      await shown(host, damage);
      const seen = ping.received();
      await waitFor(() => ping.received() > seen + 20, { describe: `answers after: ${damage}` });
      const { longestGap } = await ping.stop();
      expect({ damage, isSoon: longestGap <= REPAIR_LOST_MAX }).toEqual({ damage, isSoon: true });
    }
    const isRight = async () => {
      const link = await shown(host, "ip -d link show overlay.1");
      return (
        link.includes("mtu 1450") && link.includes("vxlan id 1") && link.includes("nolearning")
      );
    };
    await waitFor(isRight, { describe: "the link as wanted" });
    expect(await shown(host, "ip route show 172.30.0.0/24; ip neigh show 172.30.0.9")).toMatch(
      /172\.30\.0\.0\/24[\s\S]*PERMANENT/,
    );
    await host.mustCli(["leave"]);
    expect(await shown(host, "ip -o link; ip route show proto 85")).not.toMatch(/overlay|proto/);
  });

  for (const DirectRouting of [false, true]) {
    const name = DirectRouting ? "with DirectRouting" : "through the tunnel";
    labTest(`reaches a host set up by hand as flannel does, ${name}`, TWO, async (lab) => {
      const [here, there] = (await openOverlay(lab, config("vxlan", { DirectRouting }))) as [
        Container,
        Container,
      ];
      const [node, hand] = lab.hosts as [Host, Host];
      const subnetOf = ({ address }: Container) => address.replace(/\d+$/, "0");
      const macOf = async (host: Host) =>
        /link\/ether (\S+)/.exec(await shown(host, "ip link show overlay.1"))?.[1] ?? "";
      const [own, mac, subnet, theirMac] = [
        subnetOf(here),
        await macOf(node),
        subnetOf(there),
        await macOf(hand),
      ];
      // Its lease stays, and what the agent made does not.
      await hand.agent.kill();
      await shown(
        hand,
        "ip link del overlay.1; ip route flush proto 85; nft delete table inet overlay",
      );
      const peer = DirectRouting
        ? [`ip route add ${own}/24 via ${node.address}`]
        : [
            `ip neigh add ${own} lladdr ${mac} dev flannel.1 nud permanent`,
            `bridge fdb add ${mac} dev flannel.1 dst ${node.address} self permanent`,
            `ip route add ${own}/24 via ${own} dev flannel.1 onlink`,
          ];
      const tunnel = `id 1 dev eth0 local ${hand.address} dstport 8472 nolearning`;
      for (const line of [
        `ip link add flannel.1 address ${theirMac} mtu 1450 type vxlan ${tunnel}`,
        `ip addr add ${subnet}/32 dev flannel.1`,
        "ip link set flannel.1 up",
        ...peer,
      ]) {
        await shown(hand, line);
      }
      await waitReaches(here, there);
      const big = { count: 5, sizeBytes: 1450 - 28, dontFragment: true, intervalSeconds: 0.02 };
      for (const [source, target] of [
        [here, there],
        [there, here],
      ] as const) {
        expect((await source.ping(target.address, big)).lost).toEqual([]);
      }
      expect((await shown(node, `ip route show ${subnet}/24`)).includes("eth0")).toBe(
        DirectRouting,
      );
    });
  }
});

describe("checksums of packets in tunnels", () => {
  const isOffOf = async (host: Host) =>
    (await shown(host, "ethtool -k overlay.1")).includes("tx-checksum-ip-generic: off");

  labTest("are the kernel's where the card does them wrong, and only there", TWO, async (lab) => {
    const [first, second] = lab.hosts as [Host, Host];
    spoilTunnelChecksums(lab.switch, first.name);
    const [a, b] = (await openOverlay(lab, config("vxlan"))) as [Container, Container];
    await waitFor(() => isOffOf(first), { describe: "the link to be switched" });
    const isTold = async () =>
      (await statusOf(first)).warnings.some((it) => it.includes("of overlay.1 is off"));
    await waitFor(isTold, { describe: "the reason in the status" });
    await sendIntact(a, b, { address: b.address, bytes: 1_000_000 });
    await shown(first, "ip link del overlay.1");
    await waitFor(() => isOffOf(first), { describe: "the next link to be switched" });
    await sendIntact(a, b, { address: b.address, bytes: 1_000_000 });
    expect(await isOffOf(second)).toBe(false);
    expect((await statusOf(second)).warnings).toEqual([]);
  });
});

describe("a live cluster", () => {
  labTest("udp, vxlan, host-gw and back under a ping", TWO, async (lab) => {
    const [a, b] = (await openOverlay(lab, { Network: NETWORK })) as [Container, Container];
    for (const type of ["vxlan", "host-gw", "udp"]) {
      const ping = a.startPing(b.address, OFTEN);
      await waitFor(() => ping.received() > 20, { describe: "answers" });
      await mustPutConfig(lab.host(0), config(type));
      const isThere = async () => {
        const all = await Promise.all(lab.hosts.map((host) => host.api("/status")));
        return all.every((answer) => {
          const { dataplane, peers } = answer.json<{
            dataplane: { backend: string; engine: string } | null;
            peers: { path: string }[];
          }>();
          const isMoved = dataplane?.backend === type && peers[0]?.path === type;
          return isMoved && (dataplane.engine === "kernel") === (type !== "udp");
        });
      };
      await waitFor(isThere, { describe: `both to be on ${type}`, timeoutMs: 20_000 });
      const seen = ping.received();
      await waitFor(() => ping.received() > seen + 50, { describe: "answers after" });
      const { lost } = await ping.stop();
      expect({ type, few: lost.length <= SWITCH_LOST_MAX, lost: lost.length }).toMatchObject({
        type,
        few: true,
      });
      const isOldWayGone = async () => {
        const links = await shown(lab.host(1), "ip -o link");
        return (
          links.includes("overlay.1") === (type === "vxlan") &&
          links.includes("overlay0") === (type === "udp")
        );
      };
      await waitFor(isOldWayGone, { describe: `the links of ${type} alone`, timeoutMs: 20_000 });
    }
  });

  labTest("vxlan with other options under a ping", TWO, async (lab) => {
    const [a, b] = (await openOverlay(lab, config("vxlan"))) as [Container, Container];
    const subnets = [b, a].map(({ address }) => address.replace(/\d+$/, "0/24"));
    // Each comes before what the last one left behind is gone.
    const rows = [
      { change: { Port: 4789 }, link: "overlay.1-4789" },
      { change: { VNI: 16_777_215 }, link: "ovl-ffffff-2118" },
      { change: { DirectRouting: true }, link: "eth0" },
      { change: { MTU: 1400 }, link: "overlay.1" },
    ];
    for (const { change, link } of rows) {
      const ping = a.startPing(b.address, OFTEN);
      await waitFor(() => ping.received() > 20, { describe: "answers" });
      await mustPutConfig(lab.host(0), config("vxlan", change));
      const why = JSON.stringify(change);
      const isThere = async () => {
        const routes = await Promise.all(
          lab.hosts.map((host, at) => shown(host, `ip route show ${subnets[at]}`)),
        );
        return routes.every((route) => route.includes(`dev ${link} `));
      };
      await waitFor(isThere, { describe: `routes by ${link}`, timeoutMs: 20_000 });
      const seen = ping.received();
      await waitFor(() => ping.received() > seen + 20, { describe: `answers after ${why}` });
      const { lost } = await ping.stop();
      expect({ why, few: lost.length <= SWITCH_LOST_MAX, lost: lost.length }).toMatchObject({
        why,
        few: true,
      });
    }
    const areOldGone = async () => {
      const all = await Promise.all(
        lab.hosts.map((host) => shown(host, "ip -o link show type vxlan")),
      );
      return all.every((links) => /^\d+: overlay\.1: .* mtu 1350 .*\n$/.test(links));
    };
    await waitFor(areOldGone, { describe: "the last link alone", timeoutMs: 20_000 });
  });
});
