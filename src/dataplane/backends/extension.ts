/**
 * The extension backend: programs of the operator carry the packets. Here is which of them are to
 * be run, for whom, and in which order; who runs them is not here. Pure.
 *
 * Source: flannel `pkg/backend/extension`. Its commands follow events; these follow what is wanted:
 *
 *     wanted, not known        add
 *     wanted, known otherwise  remove as it was known, then add
 *     known, not wanted        remove
 *
 * A peer is known from before its first command until its removal has succeeded. So whatever may
 * have been made for it is taken away, also when nobody was there to see it go.
 *
 * @module
 */
import { addressFamily, type IpAddress, type Prefix } from "../../base/address.ts";
import type {
  ExtensionCommand,
  ExtensionCommands,
} from "../../control/network/extension-config.ts";
import { type Backend, type BackendPeer, EMPTY_PLAN } from "./backend.ts";

const KIND = "extension";

/** Nothing is taken off the MTU: what the programs put around packets, if anything, they know. */
export const extension: Backend = {
  kind: KIND,
  mtu: ({ host }) => host.underlayMtu,
  publish: (_, config) => {
    const data = config.kind === KIND ? (config.data ?? null) : null;
    return { kind: "other", type: KIND, data };
  },
  plan: () => EMPTY_PLAN,
};

/** One peer, and what adds and removes it. */
export interface ExtensionPeer {
  readonly subnet: Prefix;
  /** Underlay address. */
  readonly address: IpAddress;
  /** What the peer's own PreStartupCommand printed: the standard input of both commands. */
  readonly data: string;
  /** Undefined: nothing is run. */
  readonly add: ExtensionCommand | undefined;
  readonly remove: ExtensionCommand | undefined;
}

/** What has been done for a peer, as far as anybody can know. */
export interface KnownPeer {
  readonly peer: ExtensionPeer;
  /** Whether its command has succeeded since the agent started. */
  readonly isAdded: boolean;
}

/** One command that is due. */
export interface ExtensionStep {
  readonly kind: "add" | "remove";
  readonly peer: ExtensionPeer;
}

/** Those of `peers` whose leases say that they are reached so, to be added by `commands`. */
export function extensionPeers(
  peers: readonly BackendPeer[],
  commands: ExtensionCommands,
): readonly ExtensionPeer[] {
  const { SubnetAddCommand: add, SubnetRemoveCommand: remove, PreStartupCommand } = commands;
  if (add === undefined && remove === undefined) return [];
  return peers.flatMap(({ address, backend, subnet }) => {
    if (backend.kind !== "other" || backend.type !== KIND) return [];
    // Null: its program has not printed yet, or there is none. Else it is text, or makes no sense.
    const data = backend.data ?? (PreStartupCommand === undefined ? "" : undefined);
    return typeof data === "string" ? [{ subnet, address, data, add, remove }] : [];
  });
}

/** All that is due, removals first. Each peer has one step: an addition follows its removal. */
export function planSteps(
  known: ReadonlyMap<Prefix, KnownPeer>,
  wanted: ReadonlyMap<Prefix, ExtensionPeer>,
): readonly ExtensionStep[] {
  const removals: ExtensionStep[] = [];
  const additions: ExtensionStep[] = [];
  for (const { peer } of known.values()) {
    const next = wanted.get(peer.subnet);
    if (next === undefined || !isSamePeer(peer, next)) removals.push({ kind: "remove", peer });
  }
  for (const peer of wanted.values()) {
    const before = known.get(peer.subnet);
    const isDue = before === undefined || (isSamePeer(before.peer, peer) && !before.isAdded);
    if (isDue) additions.push({ kind: "add", peer });
  }
  return [...removals, ...additions];
}

/** Whether what was made for `a` serves for `b`. Another way to remove it changes nothing. */
export function isSamePeer(a: ExtensionPeer, b: ExtensionPeer): boolean {
  return a.address === b.address && a.data === b.data && isSameCommand(a.add, b.add);
}

/** Whether the same program would be run with the same arguments. */
export function isSameCommand(
  a: ExtensionCommand | undefined,
  b: ExtensionCommand | undefined,
): boolean {
  return a?.length === b?.length && (a ?? []).every((word, at) => word === b?.[at]);
}

/** What a command about a subnet finds in its environment, by flannel's names. */
export function subnetVariables(subnet: Prefix, address: IpAddress): Record<string, string> {
  return {
    [addressFamily(subnet) === 4 ? "SUBNET" : "IPV6SUBNET"]: subnet,
    [addressFamily(address) === 4 ? "PUBLIC_IP" : "PUBLIC_IPV6"]: address,
  };
}

/** The same for a command about this node's part in the network. */
export function networkVariables(
  network: Prefix,
  subnet: Prefix,
  address: IpAddress,
): Record<string, string> {
  const name = addressFamily(network) === 4 ? "NETWORK" : "IPV6NETWORK";
  return { [name]: network, ...subnetVariables(subnet, address) };
}
