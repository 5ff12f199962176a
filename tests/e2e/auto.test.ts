/**
 * The backend "auto" of whole agents: each pair goes by the best way that works, moves when it
 * stops, says why, and reaches nodes that know one way only.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import {
  addContainers,
  formCluster,
  join,
  mustPutConfig,
  statusOf,
  waitReaches,
  waitSettled,
} from "../lab/cluster.ts";
import type { Container, Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";

const CONFIG = { Network: "10.0.0.0/16", Backend: { Type: "auto" } };
const MTU = 1450;
const OFTEN = { intervalSeconds: 0.01 };
/** A second until the next probe, and some more to be sure, at a hundred pings a second. */
const MOVE_LOST_MAX = 500;
/** For each change of the backend, and of the way that follows. */
const SWITCH_LOST_MAX = 3;
/** The first hold, and probes at both ends. */
const RETURN_TIMEOUT_MS = 30_000;
const FAR = "192.168.78";

const shown = async (host: Host, command: string) => await host.mustRun(["sh", "-c", command]);

/** Puts `host` behind a router, which is the switch. */
async function moveBehindRouter(lab: Lab, host: Host, number: number): Promise<string> {
  const address = `${FAR}.${number}`;
  await lab.switch.mustRun([
    "sh",
    "-ec",
    `ip address add ${FAR}.1/24 dev br0
     sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.conf.br0.send_redirects=0`,
  ]);
  await shown(
    host,
    `ip address flush dev eth0; ip address add ${address}/24 dev eth0;
     ip route add default via ${FAR}.1`,
  );
  return address;
}

interface PeerPath {
  readonly name: string;
  readonly path: string;
  readonly pathReason: string | null;
}

async function pathTo(host: Host, peer: Host): Promise<PeerPath> {
  const { peers } = (await host.api("/status")).json<{ readonly peers: readonly PeerPath[] }>();
  const found = peers.find(({ name }) => name === peer.name);
  if (found === undefined) throw new Error(`${host.name} does not know ${peer.name}`);
  return found;
}

async function waitPath(ends: readonly [Host, Host], path: string, timeoutMs = 15_000) {
  const [a, b] = ends;
  let last: readonly PeerPath[] = [];
  await waitFor(
    async () => {
      last = await Promise.all([pathTo(a, b), pathTo(b, a)]);
      return last.every((it) => it.path === path);
    },
    {
      ...{ timeoutMs, describe: `${a.name} and ${b.name} to go by ${path}` },
      details: () => JSON.stringify(last),
    },
  );
}

describe("auto", () => {
  labTest("each pair by its best way", { hosts: 3, timeoutMs: 180_000 }, async (lab) => {
    const [first, near, far] = lab.hosts as [Host, Host, Host];
    await moveBehindRouter(lab, far, 13);
    await formCluster(lab);
    await mustPutConfig(first, CONFIG);
    const [a, b, c] = (await addContainers(lab)) as [Container, Container, Container];
    await waitPath([first, near], "direct");
    await waitPath([first, far], "vxlan");
    expect((await pathTo(first, near)).pathReason).toBe("the best way");
    expect((await pathTo(first, far)).pathReason).toBe("not on a segment of this node");
    expect((await statusOf(first)).dataplane?.mtu).toBe(MTU);
    const big = { count: 5, sizeBytes: MTU - 28, dontFragment: true, intervalSeconds: 0.02 };
    for (const target of [b, c]) expect((await a.ping(target.address, big)).lost).toEqual([]);

    // What hypervisors do to port 8472 (flannel #2388), under a ping.
    const ping = a.startPing(c.address, OFTEN);
    await waitFor(() => ping.received() > 20, { describe: "answers" });
    await shown(
      first,
      `nft add table inet block
       nft add chain inet block out '{ type filter hook output priority 0; }'
       nft add rule inet block out udp dport 8472 drop`,
    );
    await waitPath([first, far], "udp");
    const moved = ping.received();
    await waitFor(() => ping.received() > moved + 20, { describe: "answers by udp" });
    const { longestGap } = await ping.stop();
    expect({ isSoon: longestGap <= MOVE_LOST_MAX, longestGap }).toMatchObject({ isSoon: true });
    expect((await pathTo(first, far)).pathReason).toMatch(
      /^vxlan \(UDP 8472\) has not answered for \d+ s; not on a segment of this node$/,
    );
    const text = await first.mustCli(["status"]);
    expect(text).toContain("h2 by direct: the best way\n");
    expect(text).toContain("h3 by udp: vxlan (UDP 8472) has not answered for");
    await waitPath([first, near], "direct");

    await shown(first, "nft delete table inet block");
    await waitPath([first, far], "vxlan", RETURN_TIMEOUT_MS);
    const metrics = (await first.api("/metrics")).text;
    expect(metrics).toContain('overlay_path_changes_total{way="udp"} 1');
  });

  const LIVE = { hosts: 3, timeoutMs: 120_000 } as const;
  labTest("a live network goes there and back; a node of one way is reached", LIVE, async (lab) => {
    const [first, second, plain] = lab.hosts as [Host, Host, Host];
    for (const host of [first, second]) await host.startHealthyAgent();
    await plain.startHealthyAgent({ args: ["--ways", "udp"] });
    for (const host of [second, plain]) await join(host, first);
    await waitSettled(lab.hosts);
    await mustPutConfig(first, { Network: CONFIG.Network });
    const [a, b, c] = (await addContainers(lab)) as [Container, Container, Container];
    for (const target of [b, c]) await waitReaches(a, target);
    for (const [Type, path, reason] of [
      ["auto", "direct", "the best way"],
      ["vxlan", "vxlan", null],
      ["auto", "direct", "the best way"],
    ] as const) {
      const pings = [a.startPing(b.address, OFTEN), c.startPing(a.address, OFTEN)];
      await waitFor(() => pings.every((it) => it.received() > 20), { describe: "answers" });
      await mustPutConfig(first, { ...CONFIG, Backend: { Type } });
      await waitPath([first, second], path);
      await waitPath([first, plain], Type === "auto" ? "udp" : path);
      expect((await pathTo(second, first)).pathReason).toBe(reason);
      const before = pings.map((it) => it.received());
      const goOn = () => pings.every((it, at) => it.received() > before[at]! + 50);
      await waitFor(goOn, { describe: `answers with ${Type}` });
      const lost = (await Promise.all(pings.map((it) => it.stop()))).map((it) => it.lost.length);
      const isFew = lost.every((count) => count <= SWITCH_LOST_MAX);
      expect({ Type, isFew, lost }).toMatchObject({ isFew: true });
    }
    expect((await pathTo(plain, first)).pathReason).toBe("this node takes part in no other way");
    expect((await pathTo(first, plain)).pathReason).toBe("its lease names no other way");
    const isTunnelGone = async () => !(await shown(plain, "ip -o link")).includes("overlay.1");
    await waitFor(isTunnelGone, { describe: "the way of before to end" });
  });
});
