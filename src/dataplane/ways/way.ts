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

/** The best first. */
export const WAYS: readonly Way[] = ["direct", "vxlan", "udp"];
