/**
 * Which links the fast path may use: by which each endpoint is reached, of which kind it is, and
 * whether it carries super-packets whole.
 *
 * @module
 */
import type { IpAddress } from "../base/address.ts";
import { addressFamily } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import type { LinkIndex } from "../base/ids.ts";
import type { KernelWay } from "../dataplane/bpf/routes.ts";
import type { ActualLink, Kernel } from "../host/kernel-ports.ts";
import { linkFeatures } from "../host/link/link-features.ts";

/**
 * Links whose frames the programs would misread (no Ethernet header at the ingress, or another
 * link's) or that lead back into a tunnel. Kinds of `ip -d link`.
 */
const UNFIT_KINDS: ReadonlySet<string> = new Set(["tun", "ipvlan", "vrf", "wireguard"]);
/** A virtual cable: what goes in at one end comes out at the other as it is. */
const CABLE_KIND = "veth";
/** Without it, even a virtual cable gets packets that are cut to its MTU. */
const WHOLE_FEATURE = "tx-udp_tnl-segmentation";

/** Some 15 ms of asking the kernel, once a second: thousands of peers must not stop the agent. */
const LOOKUP_COUNT_MAX = 500;

/** An Ethernet link. */
export interface FastWay extends KernelWay {
  readonly link: LinkIndex;
}

export interface WaysInput {
  readonly kernel: Pick<Kernel, "wayTo">;
  readonly links: readonly ActualLink[];
}

/** The ways to endpoints, looked up a slice at a time. An endpoint without one is user mode's. */
export class WayTable {
  readonly #ways = new Map<IpAddress, FastWay>();
  #wanted: ReadonlySet<IpAddress> = new Set();
  /** Wanted ones that are to be looked up. */
  #stale = new Set<IpAddress>();
  #hasForgotten = false;
  #links: ReadonlySet<LinkIndex> = new Set();

  get(endpoint: IpAddress): FastWay | undefined {
    return this.#ways.get(endpoint);
  }

  /** Every link that some way takes, as of the last `follow`. */
  get links(): ReadonlySet<LinkIndex> {
    return this.#links;
  }

  /** Ways to these are wanted from now on; the others are forgotten. */
  want(endpoints: Iterable<IpAddress>): void {
    const wanted = new Set(endpoints);
    for (const endpoint of wanted) if (!this.#wanted.has(endpoint)) this.#stale.add(endpoint);
    for (const endpoint of this.#stale) if (!wanted.has(endpoint)) this.#stale.delete(endpoint);
    for (const endpoint of this.#ways.keys()) {
      if (wanted.has(endpoint)) continue;
      this.#ways.delete(endpoint);
      this.#hasForgotten = true;
    }
    this.#wanted = wanted;
  }

  /** Has every way looked up again; what was known stays until then. */
  expire(): void {
    this.#stale = new Set(this.#wanted);
  }

  /** Looks up what is new or expired, LOOKUP_COUNT_MAX at most. Whether any way has changed. */
  follow({ kernel, links }: WaysInput): boolean {
    const isChanged = this.#lookUp({ kernel, links }) || this.#hasForgotten;
    this.#hasForgotten = false;
    if (isChanged) this.#links = new Set([...this.#ways.values()].map((way) => way.link));
    return isChanged;
  }

  #lookUp({ kernel, links }: WaysInput): boolean {
    if (this.#stale.size === 0) return false;
    let isChanged = false;
    const byIndex = new Map(links.map((link) => [link.index, link]));
    const known = new Map<LinkIndex, FastWay | undefined>();
    for (const endpoint of [...this.#stale].slice(0, LOOKUP_COUNT_MAX)) {
      const index = addressFamily(endpoint) === 4 ? kernel.wayTo(endpoint)?.link : undefined;
      const link = index === undefined ? undefined : byIndex.get(index);
      if (link !== undefined && !known.has(link.index)) known.set(link.index, wayOver(link));
      const way = link === undefined ? undefined : known.get(link.index);
      if (this.#put(endpoint, way)) isChanged = true;
      this.#stale.delete(endpoint);
    }
    return isChanged;
  }

  #put(endpoint: IpAddress, way: FastWay | undefined): boolean {
    const before = this.#ways.get(endpoint);
    if (way === undefined) return this.#ways.delete(endpoint);
    this.#ways.set(endpoint, way);
    return before?.link !== way.link || before.whole !== way.whole;
  }
}

function wayOver(link: ActualLink): FastWay | undefined {
  // Only Ethernet has a MAC address of six bytes.
  if (link.loopback || !link.up || link.mac === undefined) return undefined;
  if (link.kind !== undefined && UNFIT_KINDS.has(link.kind)) return undefined;
  return { link: link.index, whole: link.kind === CABLE_KIND && carriesWhole(link.name) };
}

function carriesWhole(name: string): boolean {
  try {
    return linkFeatures(name).has(WHOLE_FEATURE);
  } catch (error) {
    // The link has just gone, or its driver tells nothing: then not.
    if (!(error instanceof HostError)) throw error;
    return false;
  }
}
