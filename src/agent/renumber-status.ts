/**
 * What a renumbering waits for, in sentences.
 *
 * @module
 */
import type { Prefix } from "../base/address.ts";
import type { NodeId } from "../base/ids.ts";
import { heldSubnets, type NetworkView } from "../control/network/view.ts";

/** Nodes that are named before the others are counted. */
const NAMED_MAX = 3;

export interface RenumberFacts {
  readonly self: NodeId;
  readonly view: NetworkView;
  readonly nameOf: (node: NodeId) => string;
  /** What on this machine uses one of its subnets that drain. */
  readonly userOf: (subnet: Prefix) => string | undefined;
}

/** Who still has a subnet of an earlier network, and what to do about it. */
export function renumberWarnings({ self, view, nameOf, userOf }: RenumberFacts): readonly string[] {
  const list: string[] = [];
  const others: string[] = [];
  const [current] = heldSubnets(view, self);
  for (const { subnet, node } of view.draining.values()) {
    if (node !== self) {
      others.push(`${nameOf(node)} (${subnet})`);
      continue;
    }
    const user = userOf(subnet);
    const lease = `${subnet} of the former network`;
    list.push(
      user === undefined
        ? `Renumbering: nothing uses ${lease}; it is about to be given up`
        : `Renumbering: ${user} still uses ${lease}; restart what runs there so that it takes ` +
            `${current}, or give the old one up with \`overlay lease release ${subnet}\``,
    );
  }
  if (others.length > 0) {
    const more = others.length - NAMED_MAX;
    const named = others.slice(0, NAMED_MAX).join(", ") + (more > 0 ? ` and ${more} more` : "");
    list.push(`Renumbering: still in the former network: ${named}; move them one by one`);
  }
  return list;
}
