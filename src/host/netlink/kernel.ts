/**
 * The `Kernel` port on rtnetlink and /proc/sys.
 *
 * One socket for requests and one for events of each of rtnetlink and nf_tables, all of the network
 * namespace in which `openKernel` was called (the firewall's on its first use).
 *
 * @module
 */
import type { Family, IpAddress } from "../../base/address.ts";
import { HostError } from "../../base/host-error.ts";
import type { LinkIndex } from "../../base/ids.ts";
import type { Log } from "../../base/log.ts";
import type {
  ActualAddress,
  ActualFdbEntry,
  ActualNeighbour,
  ActualRoute,
  ActualState,
  Kernel,
  KernelChange,
  SnapshotQuery,
  Way,
} from "../kernel-ports.ts";
import type { Clock } from "../ports.ts";
import { openNetlinkSocket } from "../sys/netlink-socket.ts";
import { readSysctl } from "../sysctl/sysctl.ts";
import { decodeInterfaceAddress, encodeAddressDump } from "./address.ts";
import { applyOperation } from "./apply.ts";
import { decodeChange, ROUTE_GROUPS } from "./events.ts";
import { createExchange, type Exchange } from "./exchange.ts";
import { decodeLink, encodeLinkDump } from "./link.ts";
import { decodeFdbEntry, decodeNeighbour, encodeNeighbourDump } from "./neighbour.ts";
import { decodeFirewallChange, NFNLGRP_NFTABLES } from "./nftables/decode.ts";
import { EMPTY_FIREWALL, Firewall } from "./nftables/firewall.ts";
import { decodeRoute, decodeWay, encodeRouteDump, encodeRouteGet } from "./route.ts";
import { Watch, type WatchOptions } from "./watch.ts";

const FAMILIES: readonly Family[] = [4, 6];
const RT_TABLE_MAIN = 254;
const ANY = 0;
/** How the kernel says that no route leads there; any other failure is one. */
const NO_WAY: ReadonlySet<string> = new Set(["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL"]);

/** What the kernel port needs beside the kernel. */
export interface KernelOptions {
  readonly clock: Clock;
  readonly log: Log;
}

/** Opens the kernel of the calling thread's network namespace. Throws `HostError`. */
export function openKernel({ clock, log }: KernelOptions): Kernel {
  const listeners = new Set<(change: KernelChange) => void>();
  const tell = (change: KernelChange | undefined) => {
    if (change === undefined) return;
    for (const listener of listeners) listener(change);
  };
  const exchange = createExchange(openNetlinkSocket("route"));
  const firewall = new Firewall();
  const watch = new Watch({
    protocol: "route",
    groups: ROUTE_GROUPS,
    onMessage: (message) => tell(decodeChange(message)),
    onOverrun: () => tell({ kind: "overrun" }),
    clock,
    log,
  });
  const firewallWatch = openFirewallWatch({
    onMessage: (message) => tell(decodeFirewallChange(message)),
    onOverrun: () => tell({ kind: "overrun" }),
    clock,
    log,
  });
  return {
    snapshot: (query) => ({
      ...readState(exchange, query),
      firewall: query.firewall === undefined ? EMPTY_FIREWALL : firewall.read(query.firewall),
    }),
    mainRoutes: (family) =>
      readRoutes(exchange, { family, protocol: ANY, table: RT_TABLE_MAIN }).filter(
        (route) => route.table === RT_TABLE_MAIN,
      ),
    wayTo: (target) => readWay(exchange, target),
    apply: (operation) => applyOperation({ exchange, firewall }, operation),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      listeners.clear();
      watch.close();
      firewallWatch?.close();
      exchange.close();
      firewall.close();
    },
  };
}

/** Without nf_tables in the kernel, or without the right to it, there is nothing to hear of. */
function openFirewallWatch(options: Omit<WatchOptions, "groups" | "protocol">): Watch | undefined {
  try {
    return new Watch({ ...options, protocol: "netfilter", groups: [NFNLGRP_NFTABLES] });
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    options.log.debug("changes of the firewall are not heard of", { reason: error.message });
    return undefined;
  }
}

function readState(exchange: Exchange, query: SnapshotQuery): Omit<ActualState, "firewall"> {
  const protocol = query.routeProtocol;
  const sysctls = new Map<string, string>();
  for (const path of query.sysctls) {
    const value = readSysctl(path);
    if (value !== undefined) sysctls.set(path, value);
  }
  const purpose = { operation: "list", object: "links" };
  const links = exchange.dump(purpose, encodeLinkDump, decodeLink);
  const names = new Set(query.neighbourLinks);
  const asked = links.filter(({ name }) => names.has(name));
  return {
    links,
    neighbours: asked.flatMap(({ index }) => readNeighbours(exchange, index)),
    fdb: asked
      .filter(({ kind }) => kind === "vxlan")
      .flatMap(({ index }) => readFdb(exchange, index)),
    addresses: FAMILIES.flatMap((family) => readAddresses(exchange, family)),
    // A kernel that does not filter is filtered here.
    routes: FAMILIES.flatMap((family) =>
      readRoutes(exchange, { family, protocol, table: ANY }),
    ).filter((route) => route.protocol === protocol),
    sysctls,
  };
}

function readAddresses(exchange: Exchange, family: Family): ActualAddress[] {
  return exchange.dump(
    { operation: "list", object: `IPv${family} addresses` },
    (out, sequence) => encodeAddressDump(out, family, sequence),
    decodeInterfaceAddress,
  );
}

/** A link that has gone meanwhile has none, and the kernel says ENODEV. */
function readNeighbours(exchange: Exchange, link: LinkIndex): ActualNeighbour[] {
  return FAMILIES.flatMap((family) =>
    unlessGone(() =>
      exchange.dump(
        { operation: "list", object: `IPv${family} neighbours` },
        (out, sequence) => encodeNeighbourDump(out, { family, link }, sequence),
        decodeNeighbour,
      ),
    ),
  ).filter((neighbour) => neighbour.link === link);
}

function readFdb(exchange: Exchange, link: LinkIndex): ActualFdbEntry[] {
  return unlessGone(() =>
    exchange.dump(
      { operation: "list", object: "FDB entries" },
      (out, sequence) => encodeNeighbourDump(out, { family: "fdb", link }, sequence),
      decodeFdbEntry,
    ),
  ).filter((entry) => entry.link === link);
}

function unlessGone<T>(read: () => T[]): T[] {
  try {
    return read();
  } catch (error) {
    if (error instanceof HostError && error.errno === "ENODEV") return [];
    throw error;
  }
}

function readRoutes(
  exchange: Exchange,
  filter: { readonly family: Family; readonly protocol: number; readonly table: number },
): ActualRoute[] {
  try {
    return exchange.dump(
      { operation: "list", object: `IPv${filter.family} routes` },
      (out, sequence) => encodeRouteDump(out, filter, sequence),
      decodeRoute,
    );
  } catch (error) {
    // A table comes into being with its first route; before that there is nothing to list.
    if (error instanceof HostError && error.errno === "ENOENT") return [];
    throw error;
  }
}

function readWay(exchange: Exchange, target: IpAddress): Way | undefined {
  const purpose = { operation: "find the way to", object: target };
  try {
    return exchange.query(
      purpose,
      (out, sequence) => encodeRouteGet(out, target, sequence),
      (body) => ({ way: decodeWay(body) }),
    ).way;
  } catch (error) {
    if (error instanceof HostError && NO_WAY.has(error.errno ?? "")) return undefined;
    throw error;
  }
}
