/**
 * One node's way from the subnets of an earlier network to that of the present one.
 *
 *     draining lease appears --its turn--> the new subnet is announced (subnet.env)
 *     announced --nothing on this machine uses the old one for DRAIN_QUIET_MS--> released
 *
 * Both subnets are carried from the first moment to the last, by all nodes; only what programs on
 * this machine are told changes, one node after the other, so that whatever restarts them does not
 * restart them everywhere at once. A node that does not move holds the others up no longer than
 * its turn. No I/O: what uses a subnet is asked, what ends is told.
 *
 * @module
 */
import { type Prefix, prefixCovers } from "../base/address.ts";
import type { NodeId } from "../base/ids.ts";
import type { DrainingLease } from "../control/network/draining.ts";
import type { NetworkView } from "../control/network/view.ts";
import type { Clock } from "../host/ports.ts";

/** From one node's turn to the next one's, while the first is still in its old subnet. */
export const TURN_MS = 2000;
/** Nobody waits longer, however many are before it. */
export const TURN_WAIT_MAX_MS = 120_000;
/** A bridge that is being made anew is not there for a moment. */
export const DRAIN_QUIET_MS = 5000;
const LOOK_MS = 1000;

/** A subnet and the network that it is of. */
export interface PlacedSubnet {
  readonly network: Prefix;
  readonly subnet: Prefix;
}

/** What is carried beside the present network, and what programs are told. */
export interface RenumberingPlan {
  /** Earlier networks that some node still has a subnet of. */
  readonly formerNetworks: readonly Prefix[];
  /** Subnets of them that are this node's own. */
  readonly draining: readonly Prefix[];
  /** For subnet.env. */
  readonly announced: PlacedSubnet;
}

export interface RenumberingOptions {
  readonly nodeId: NodeId;
  /** The subnet that this machine's files name at the start. */
  readonly knownSubnet: Prefix | undefined;
  /** What on this machine has addresses in `subnet`; undefined when nothing has. */
  readonly usedBy: (subnet: Prefix) => string | undefined;
  /** Ends the draining lease of `subnet`. */
  readonly release: (subnet: Prefix) => Promise<void>;
  /** `plan` would say something else now. */
  readonly onTurn: () => void;
  readonly clock: Clock;
}

/** What is known of one of this node's subnets that drain. */
interface Use {
  /** The link that had addresses in it at the last look; undefined when none had. */
  user: string | undefined;
  /** Since when nothing uses it; undefined while something does. */
  quietSinceMs: number | undefined;
}

/** What this node does about draining leases. */
export class Renumbering {
  readonly #options: RenumberingOptions;
  #announced: Prefix | undefined;
  #current: Prefix | undefined;
  #turnAtMs = Number.POSITIVE_INFINITY;
  /** When this node first knew of a lease to drain. */
  #sinceMs: number | undefined;
  readonly #uses = new Map<Prefix, Use>();
  #stopLooking: (() => void) | undefined;

  constructor(options: RenumberingOptions) {
    this.#options = options;
    this.#announced = options.knownSubnet;
  }

  /** What to do about `view`, where this node's lease is `current`; undefined: nothing drains. */
  plan(view: NetworkView, current: PlacedSubnet): RenumberingPlan | undefined {
    const own = drainingOf(view, this.#options.nodeId);
    this.#follow(own);
    this.#current = current.subnet;
    const announced = this.#place(view, own, current);
    this.#announced = announced.subnet;
    if (view.draining.size === 0) return undefined;
    return {
      formerNetworks: formerNetworks(view, current.network),
      draining: own.map(({ subnet }) => subnet),
      announced,
    };
  }

  /** The link that still uses this node's draining `subnet`, at the last look. */
  userOf(subnet: Prefix): string | undefined {
    return this.#uses.get(subnet)?.user;
  }

  close(): void {
    this.#stopLooking?.();
    this.#stopLooking = undefined;
  }

  /** Which subnet programs are told of: the old one until it is this node's turn. */
  #place(view: NetworkView, own: readonly DrainingLease[], current: PlacedSubnet): PlacedSubnet {
    const old = own.find(({ subnet }) => subnet === this.#announced);
    this.#turnAtMs = Number.POSITIVE_INFINITY;
    if (old === undefined || this.#sinceMs === undefined) return current;
    const waitMs = Math.min(placeInLine(view, this.#options.nodeId) * TURN_MS, TURN_WAIT_MAX_MS);
    if (this.#options.clock.nowMs() >= this.#sinceMs + waitMs) return current;
    this.#turnAtMs = this.#sinceMs + waitMs;
    return { network: old.network, subnet: old.subnet };
  }

  #follow(own: readonly DrainingLease[]): void {
    for (const subnet of this.#uses.keys()) {
      if (!own.some((lease) => lease.subnet === subnet)) this.#uses.delete(subnet);
    }
    for (const { subnet } of own) {
      if (this.#uses.has(subnet)) continue;
      this.#uses.set(subnet, { user: this.#options.usedBy(subnet), quietSinceMs: undefined });
    }
    if (own.length === 0) {
      this.#sinceMs = undefined;
      this.close();
      return;
    }
    const { clock } = this.#options;
    this.#sinceMs ??= clock.nowMs();
    this.#stopLooking ??= clock.every(LOOK_MS, () => this.#look());
  }

  #look(): void {
    const { clock, usedBy, release, onTurn } = this.#options;
    const nowMs = clock.nowMs();
    if (nowMs >= this.#turnAtMs) onTurn();
    // Something may still be on its way into the old subnet, told by the files.
    const mayEnd = this.#announced === this.#current;
    for (const [subnet, use] of this.#uses) {
      use.user = usedBy(subnet);
      if (use.user !== undefined || !mayEnd) use.quietSinceMs = undefined;
      else use.quietSinceMs ??= nowMs;
      if (use.quietSinceMs === undefined || nowMs - use.quietSinceMs < DRAIN_QUIET_MS) continue;
      use.quietSinceMs = undefined;
      void release(subnet);
    }
  }
}

/** The draining leases of `node`. */
export function drainingOf(view: NetworkView, node: NodeId): readonly DrainingLease[] {
  return [...view.draining.values()].filter((lease) => lease.node === node);
}

/** How many nodes have their turn before `node`. */
function placeInLine(view: NetworkView, node: NodeId): number {
  const nodes = new Set([...view.draining.values()].map((lease) => lease.node));
  return [...nodes].filter((other) => other < node).length;
}

/** Networks that need routes and rules of their own beside `present`. */
function formerNetworks({ draining }: NetworkView, present: Prefix): readonly Prefix[] {
  const networks = new Set([...draining.values()].map(({ network }) => network));
  return [...networks].filter((network) => !prefixCovers(present, network));
}
