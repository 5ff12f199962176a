/**
 * A container at each end of a wire: a namespace on a bridge of its own, as Docker makes it.
 *
 * What comes from a container has left its socket behind when it reaches the overlay: the kernel
 * no longer holds the sender back while a queue on the way is full. What is fast from host to host
 * may drop from container to container.
 *
 * @module
 */
import { Namespace } from "../../../tests/lab/namespace.ts";
import type { PacketPair, PairSide } from "../../../tests/lab/packet-pair.ts";
import { mustRun } from "../../../tests/lab/run.ts";
import type { Ends } from "./iperf.ts";

/** Where the containers of a contender are. */
export interface ContainerPlan {
  /** The first three numbers of their /24: of side a's, of side b's. */
  readonly networks: readonly [string, string];
  /** Where each side sends what is for the other's containers; absent: it knows already. */
  readonly gateways?: readonly [string, string];
  readonly mtu: number;
}

/** Opens both, and tells `onNamespace` the kernel's name of each before it is made. */
export async function openContainers(
  pair: PacketPair,
  plan: ContainerPlan,
  onNamespace: (id: string) => void,
): Promise<Ends> {
  const [source, target] = [
    await openContainer(pair.a, 0, plan, onNamespace),
    await openContainer(pair.b, 1, plan, onNamespace),
  ];
  return { source, target, address: `${plan.networks[1]}.2` };
}

async function openContainer(
  { namespace }: PairSide,
  index: 0 | 1,
  { networks, gateways, mtu }: ContainerPlan,
  onNamespace: (id: string) => void,
): Promise<Namespace> {
  const id = `${namespace.id}c`;
  onNamespace(id);
  await mustRun(["ip", "netns", "add", id]);
  const own = networks[index];
  const size = ["mtu", String(mtu)];
  const peer = ["peer", "name", "eth0", ...size, "netns", id];
  await namespace.mustRun(["ip", "link", "add", "br0", ...size, "type", "bridge"]);
  await namespace.mustRun(["ip", "link", "add", "c0", ...size, "type", "veth", ...peer]);
  await namespace.mustRun(["ip", "link", "set", "c0", "master", "br0", "up"]);
  await namespace.mustRun(["ip", "address", "add", `${own}.1/24`, "dev", "br0"]);
  await namespace.mustRun(["ip", "link", "set", "br0", "up"]);
  await namespace.sysctl("net.ipv4.ip_forward", 1);
  if (gateways !== undefined) {
    const other = `${networks[1 - index]}.0/24`;
    await namespace.mustRun(["ip", "route", "add", other, "via", gateways[index]]);
  }
  const container = new Namespace({
    name: `${namespace.name}c`,
    ...{ id, folder: namespace.folder, onStart: () => undefined },
  });
  await container.mustRun(["ip", "address", "add", `${own}.2/24`, "dev", "eth0"]);
  await container.mustRun(["ip", "link", "set", "lo", "up"]);
  await container.mustRun(["ip", "link", "set", "eth0", "up"]);
  await container.mustRun(["ip", "route", "add", "default", "via", `${own}.1`]);
  return container;
}
