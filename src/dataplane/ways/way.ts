/**
 * The ways that the backend "auto" chooses from, for each peer.
 *
 *     direct   a plain route through the peer's own address: nothing is put around packets
 *     vxlan    the kernel's tunnel
 *     udp      the packet engine: works wherever UDP does, so it is what remains
 *
 * @module
 */

export type Way = "direct" | "vxlan" | "udp";

/** Ways that the kernel carries packets by, which a probe must have passed before they are used. */
export type KernelWay = Exclude<Way, "udp">;

/** What "direct,vxlan,udp" means, in whatever order; undefined when one of the names is no way. */
export function parseWays(text: string): readonly Way[] | undefined {
  const names = text.split(",").map((name) => name.trim());
  const isKnown = names.every((name) => WAYS.some((way) => way === name));
  return isKnown ? WAYS.filter((way) => names.includes(way)) : undefined;
}

/** The best first. */
export const WAYS: readonly Way[] = ["direct", "vxlan", "udp"];
