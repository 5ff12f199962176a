/**
 * The leases of a network that was restored: nobody holds them any more, and each waits for its
 * node, or for whichever node comes from the address that it had.
 *
 * Like an import: a machine that was installed anew has another node id and often its old address.
 * The node itself gets its subnet under any address (allocate.ts). Pure.
 *
 * @module
 */
import type { IpAddress } from "../../base/address.ts";
import type { Command, KvReader } from "../kv/types.ts";
import { releaseLease, reserveSubnet } from "./commands.ts";
import { readNetwork } from "./view.ts";

/** The commands that make all leases in `reader` wait, in order. */
export function returningLeases(reader: KvReader): readonly Command[] {
  const { leases, reservations } = readNetwork(reader);
  const addresses = new Set<IpAddress>();
  for (const owner of reservations.values()) {
    if (owner.kind === "public_ip") addresses.add(owner.publicIp);
  }
  return [...leases.values()].flatMap(({ subnet, node, attributes }) => {
    const { publicIp } = attributes;
    const release = releaseLease({ subnet, node });
    // An address can wait for one subnet only; of two nodes behind it the ids must do.
    if (reservations.has(subnet) || addresses.has(publicIp)) return [release];
    addresses.add(publicIp);
    return [release, reserveSubnet({ subnet, owner: { kind: "public_ip", publicIp } })];
  });
}
