/**
 * Descriptors that outlive the process: held by somebody while it is away, taken by the next one.
 *
 * Types only. Two holders exist: systemd's store for a service that it runs (descriptor-store.ts),
 * and a tiny process of our own elsewhere (keeper.ts). A holder that cannot hold says so in the
 * log, and the next process begins without.
 *
 * @module
 */

/** What is kept: the TUN, the underlay socket, and the state of sealing. */
export const KEPT_NAMES = ["tun", "udp", "seal"] as const;
export type KeptName = (typeof KEPT_NAMES)[number];

/** Open descriptors by what they are. */
export type KeptDescriptors = ReadonlyMap<KeptName, number>;

/** Holds descriptors while this process is away. */
export interface DescriptorHolder {
  /**
   * What an earlier process has left, as descriptors of this process, closed on exec. Empty when
   * there is nothing, or nothing that can be trusted. Once, at the start.
   */
  takeAll(): Map<KeptName, number>;
  /** Holds copies of exactly these from now on. */
  hold(descriptors: KeptDescriptors): void;
  /** Holds nothing any more: when this returns, its copies are closed. */
  drop(): void;
}
