/**
 * What flannel keeps in etcd, out of a range of keys.
 *
 *     <prefix>/config                                  the network config, JSON
 *     <prefix>/subnets/10.5.34.0-24                    a lease: who has the subnet, JSON
 *     <prefix>/subnets/10.12.13.0-24&fd00:12:13::-56   the same with an IPv6 half
 *
 * A range is JSON as etcd's gateway answers it and as `etcdctl get --prefix -w json` prints it.
 * Source: flannel `pkg/subnet/etcd`, `pkg/lease`. Pure.
 *
 * @module
 */
import { type IpAddress, type Prefix, parseAddress, parsePrefix } from "../../base/address.ts";
import { isRecord, type JsonRecord, parseRecord } from "../../base/json-record.ts";
import { err, ok, type Result } from "../../base/result.ts";

/** flannel's own. */
export const PREFIX_DEFAULT = "/coreos.com/network";

/** A subnet that somebody has. */
export interface FlannelLease {
  readonly subnet: Prefix;
  readonly publicIp: IpAddress;
  /** As the lease says it; flannel's udp backend says nothing. */
  readonly backendType: string;
  /** Without a time to live: what flannel's documents call a reservation. */
  readonly reserved: boolean;
  readonly hasIpv6: boolean;
  /** etcd's revision of the last change, as far as a number holds it. */
  readonly modRevision: number;
}

export interface FlannelNetwork {
  readonly config: JsonRecord;
  readonly leases: readonly FlannelLease[];
  /** Keys among the leases that are none. */
  readonly strange: readonly string[];
}

interface Pair {
  readonly key: string;
  readonly value: string;
  readonly reserved: boolean;
  readonly modRevision: number;
}

const LEASE_NAME = /^([0-9.]+)-([0-9]{1,2})(&.+)?$/;

/** flannel's network at `prefix` in the range that `text` holds, or why there is none. */
export function parseDump(text: string, prefix: string): Result<FlannelNetwork, string> {
  const range = parseRecord(text);
  if (range === undefined) return err("it is not a JSON object");
  const { kvs = [] } = range;
  if (!Array.isArray(kvs)) return err('its "kvs" is not a list');
  const pairs = kvs.flatMap((entry: unknown) => parsePair(entry) ?? []);
  const configPair = pairs.find(({ key }) => key === `${prefix}/config`);
  if (configPair === undefined) return err(noConfig(pairs, prefix));
  const config = parseRecord(configPair.value);
  if (config === undefined) return err(`the value of ${prefix}/config is not a JSON object`);
  const leases: FlannelLease[] = [];
  const strange: string[] = [];
  for (const pair of pairs) {
    if (!pair.key.startsWith(`${prefix}/subnets/`)) continue;
    const lease = parseLease(pair, pair.key.slice(`${prefix}/subnets/`.length));
    if (lease === undefined) strange.push(pair.key);
    else leases.push(lease);
  }
  return ok({ config, leases, strange });
}

function noConfig(pairs: readonly Pair[], prefix: string): string {
  const others = pairs.flatMap(({ key }) => /^(.*)\/config$/.exec(key)?.[1] ?? []);
  const hint = others.length === 0 ? "" : `; there is one at ${others.join(", ")}: --prefix`;
  return `there is no key ${prefix}/config${hint}`;
}

/** Numbers are text in the gateway's JSON: etcd has 64 bits for them. */
function parsePair(entry: unknown): Pair | undefined {
  if (!isRecord(entry)) return undefined;
  const key = fromBase64(entry["key"]);
  const value = fromBase64(entry["value"] ?? "");
  if (key === undefined || value === undefined) return undefined;
  const { lease = 0 } = entry;
  const modRevision = Number(entry["mod_revision"] ?? 0);
  return { key, value, reserved: String(lease) === "0", modRevision };
}

function parseLease(
  { modRevision, reserved, value }: Pair,
  name: string,
): FlannelLease | undefined {
  const [, address = "", length = "", ipv6] = LEASE_NAME.exec(name) ?? [];
  const subnet = parsePrefix(`${address}/${length}`);
  const record = parseRecord(value);
  const { BackendType: type, PublicIP: ip } = record ?? {};
  const publicIp = typeof ip === "string" ? parseAddress(ip) : undefined;
  if (subnet === undefined || publicIp === undefined) return undefined;
  const backendType = typeof type === "string" && type !== "" ? type : "udp";
  return { subnet, publicIp, backendType, reserved, hasIpv6: ipv6 !== undefined, modRevision };
}

function fromBase64(value: unknown): string | undefined {
  return typeof value === "string" ? Buffer.from(value, "base64").toString("utf8") : undefined;
}
