/**
 * The config that the delegate gets: the user's wishes, completed with this node's subnet.
 *
 * As flannel's plugin makes it, so that a config written for that one means the same here: what
 * the user set is left alone, what is missing comes from `subnet.env`, ranges always do. Pure.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import { isRecord, type JsonRecord } from "../../base/json-record.ts";
import type { ParsedSubnetEnv } from "../flannel/subnet-env.ts";
import type { CniConfig } from "./call.ts";

/** All that the plugin needs of `subnet.env`. */
export interface NodeSubnet {
  readonly networks: readonly Prefix[];
  /** Of this node, one for each family. */
  readonly subnets: readonly Prefix[];
  readonly mtu: number;
  readonly ipMasq: boolean;
}

/** The node's subnet, if the file says all of it. */
export function nodeSubnet(env: ParsedSubnetEnv): NodeSubnet | undefined {
  const { ipMasq, ipv6Subnet, mtu, networks, subnet } = env;
  const subnets = [subnet, ipv6Subnet].filter((each) => each !== undefined);
  if (networks.length === 0 || subnets.length === 0) return undefined;
  if (mtu === undefined || ipMasq === undefined) return undefined;
  return { networks, subnets, mtu, ipMasq };
}

/** The delegate's plugin: "bridge" unless the user says otherwise. */
export function delegateType({ delegate }: Pick<CniConfig, "delegate">): string {
  const { type } = delegate;
  return typeof type === "string" ? type : "bridge";
}

/** The delegate's config for a container on this node. */
export function makeDelegateConfig(config: CniConfig, node: NodeSubnet): JsonRecord {
  const { delegate, ipam, name, runtimeConfig, version } = config;
  const type = delegateType(config);
  const routes = Array.isArray(ipam["routes"]) ? ipam["routes"] : [];
  return {
    cniVersion: version,
    name,
    // Whoever masquerades, it is one of the two: see docker-options.ts.
    ipMasq: !node.ipMasq,
    mtu: node.mtu,
    ...(type === "bridge" ? { isGateway: true } : {}),
    ...delegate,
    type,
    ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
    ipam: {
      type: "host-local",
      ...ipam,
      ranges: node.subnets.map((subnet) => [{ subnet }]),
      routes: [...routes, ...node.networks.map((dst) => ({ dst }))],
    },
  };
}

/** The subnets that a config of `makeDelegateConfig` hands out addresses of, as text. */
export function subnetsOf({ ipam }: JsonRecord): string {
  return JSON.stringify(isRecord(ipam) ? ipam["ranges"] : undefined) ?? "none";
}

/**
 * A result whose routes all name their gateway. Delegates lay a route without one over the gateway
 * of the address, and then, asked to check, look for a route without one.
 */
export function withGateways(result: JsonRecord): JsonRecord {
  const { ips, routes } = result;
  if (!Array.isArray(ips) || !Array.isArray(routes)) return result;
  const gateways = ips.filter(isRecord).map(({ gateway }) => gateway);
  const filled = routes.map((route: unknown) => {
    if (!isRecord(route) || route["gw"] !== undefined) return route;
    const isV6 = String(route["dst"]).includes(":");
    const gw = gateways.find((gateway) => String(gateway).includes(isV6 ? ":" : "."));
    return gw === undefined ? route : { ...route, gw };
  });
  return { ...result, routes: filled };
}
