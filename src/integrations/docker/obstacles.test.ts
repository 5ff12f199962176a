import { expect, test } from "bun:test";
import { parseKernelRoutes } from "./kernel-routes.ts";
import { findObstacles } from "./obstacles.ts";

const HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
const OWN = "docker0\t004A010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
const OTHER = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
const VIA = "eth0\t004A010A\t0100A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
const OBSTACLES: readonly { lines: string; blocked: string; warning: string; why: string }[] = [
  { lines: "", blocked: "none", warning: "none", why: "no bridge yet" },
  { lines: OWN, blocked: "none", warning: "none", why: "the bridge is there already" },
  {
    lines: OTHER,
    blocked: "none",
    warning:
      "docker0 is in 172.17.0.0/16 and not at 10.1.74.1/24: restart Docker with the options of " +
      '"overlay docker-env"; if that does not move it, stop Docker, "ip link delete docker0", and ' +
      "start Docker",
    why: "a bridge of an earlier Docker",
  },
  { lines: OTHER + OWN, blocked: "none", warning: "none", why: "a second address of the bridge" },
  {
    lines: VIA,
    blocked:
      "the routing table already sends 10.1.74.0/24 via 192.168.0.1 dev eth0; delete that route, or start Docker without it in the way",
    warning: "none",
    why: "somebody else's route to the subnet",
  },
];
for (const { lines, blocked, warning, why } of OBSTACLES) {
  test(`findObstacles: ${why}`, () => {
    const found = findObstacles("10.1.74.1/24", parseKernelRoutes(HEADER + lines));
    expect({ blocked: found.blocked ?? "none", warning: found.warning ?? "none" }).toEqual({
      blocked,
      warning,
    });
  });
}
