/**
 * The two contenders without a program: the wire itself, and the kernel's VXLAN.
 *
 * @module
 */
import type { PacketPair } from "../../../tests/lab/packet-pair.ts";
import type { Contender } from "./contender.ts";

const CONTAINER_NETWORKS = ["10.94.1", "10.94.2"] as const;
const UNDERLAY_MTU = 1500;
const VXLAN_PORT = 4789;
/** 1500 less IPv4, UDP, VXLAN and Ethernet. */
const VXLAN_MTU = 1450;

/** The limit of the machine: nothing between the two ends but the wire. */
export const VETH: Contender = {
  key: "veth",
  name: "veth itself",
  kind: "limit",
  start: async (pair) => ({
    target: pair.b.underlay,
    processes: [],
    containers: {
      networks: CONTAINER_NETWORKS,
      gateways: [pair.b.underlay, pair.a.underlay],
      mtu: UNDERLAY_MTU,
    },
  }),
};

/** What the others are measured by. */
export const VXLAN: Contender = {
  key: "vxlan",
  name: "kernel VXLAN",
  kind: "kernel",
  start: async (pair) => {
    for (const [index, side] of [pair.a, pair.b].entries()) await addVxlan(pair, side, index + 1);
    return {
      target: "10.77.0.2",
      processes: [],
      containers: {
        networks: CONTAINER_NETWORKS,
        gateways: ["10.77.0.2", "10.77.0.1"],
        mtu: VXLAN_MTU,
      },
    };
  },
};

async function addVxlan(pair: PacketPair, side: PacketPair["a"], number: number): Promise<void> {
  const { namespace } = side;
  const other = side === pair.a ? pair.b : pair.a;
  const remote = ["remote", other.underlay, "local", side.underlay, "dev", "eth0"];
  const kind = ["type", "vxlan", "id", "42", "dstport", String(VXLAN_PORT)];
  await namespace.mustRun(["ip", "link", "add", "vx0", ...kind, ...remote]);
  await namespace.mustRun(["ip", "address", "add", `10.77.0.${number}/24`, "dev", "vx0"]);
  await namespace.mustRun(["ip", "link", "set", "vx0", "mtu", String(VXLAN_MTU), "up"]);
}
