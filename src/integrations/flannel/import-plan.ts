/**
 * What of flannel's network is taken over, and what is not and why.
 *
 * The result is for a person to look at before anything is written; whether the config is valid is
 * the agent's to say. Pure.
 *
 * @module
 */
import {
  addressFamily,
  type IpAddress,
  type Prefix,
  parsePrefix,
  prefixAddress,
  prefixCovers,
  prefixLength,
} from "../../base/address.ts";
import type { JsonRecord } from "../../base/json-record.ts";
import type { FlannelLease, FlannelNetwork } from "./etcd-dump.ts";
import { importBackend } from "./import-backend.ts";

export interface ImportPlan {
  readonly config: JsonRecord;
  /** In the order of their addresses; no subnet and no address twice. */
  readonly reservations: readonly { readonly subnet: Prefix; readonly publicIp: IpAddress }[];
  /** Sentences: what changes, what is left behind. */
  readonly notes: readonly string[];
}

/** Keys of flannel's config that mean the same here. */
const KEYS = ["Network", "SubnetLen", "SubnetMin", "SubnetMax", "EnableIPv4", "Backend"] as const;
const IPV6_KEYS = [
  ...["EnableIPv6", "IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax"],
];
/** Rules are always nf_tables here. */
const NEEDLESS_KEYS = ["EnableNFTables"];
/** flannel's default, and the longest network that has it. */
const SUBNET_LENGTH_DEFAULT = 24;
const DEFAULT_LENGTH_NETWORK_MAX = 22;

/** The plan for `network`. */
export function planImport(network: FlannelNetwork): ImportPlan {
  const notes: string[] = network.strange.map((key) => `${key} is no lease and is left behind`);
  const config = convertConfig(network.config, notes);
  const range = parsePrefix(String(config["Network"]));
  if (range === undefined || addressFamily(range) !== 4) return { config, reservations: [], notes };
  const completed = fitSubnets(config, range, network.leases, notes);
  const wanted = Number(completed["SubnetLen"] ?? defaultLength(range));
  const reservations: { subnet: Prefix; publicIp: IpAddress }[] = [];
  const newest = new Set<IpAddress>();
  for (const lease of [...network.leases].sort((a, b) => b.modRevision - a.modRevision)) {
    const { publicIp, subnet } = lease;
    const why = refuse(lease, { range, wanted, isSecond: newest.has(publicIp) });
    if (why !== undefined) {
      notes.push(`${subnet} of ${publicIp} is left behind: ${why}`);
      continue;
    }
    newest.add(publicIp);
    reservations.push({ subnet, publicIp });
    if (lease.hasIpv6) notes.push(`${subnet}: its IPv6 half is left behind`);
  }
  reservations.sort((a, b) => order(a.subnet) - order(b.subnet));
  return { config: completed, reservations, notes };
}

function refuse(
  { subnet }: FlannelLease,
  { isSecond, range, wanted }: { range: Prefix; wanted: number; isSecond: boolean },
): string | undefined {
  if (!prefixCovers(range, subnet)) return `it is not in ${range}`;
  if (prefixLength(subnet) !== wanted) return `subnets have ${wanted} bits`;
  return isSecond ? "a later lease of that address is taken" : undefined;
}

/** Keys in any case, as Go reads them. */
function convertConfig(config: JsonRecord, notes: string[]): JsonRecord {
  const entries: [string, unknown][] = [];
  const isIpv6 = Object.entries(config).some(
    ([key, value]) => key.toLowerCase() === "enableipv6" && value === true,
  );
  if (isIpv6) notes.push("IPv6 is left behind: this version carries IPv4");
  for (const [key, value] of Object.entries(config)) {
    const is = (name: string) => name.toLowerCase() === key.toLowerCase();
    const name = KEYS.find(is);
    if (name === "Backend") entries.push([name, importBackend(value, notes)]);
    else if (name !== undefined) entries.push([name, value]);
    else if (!IPV6_KEYS.some(is) && !NEEDLESS_KEYS.some(is)) {
      notes.push(`"${key}" is left behind: flannel ignores it too`);
    }
  }
  return Object.fromEntries(entries);
}

/** Old versions of flannel had other defaults: what leases there are says which were meant. */
function fitSubnets(
  config: JsonRecord,
  range: Prefix,
  leases: readonly FlannelLease[],
  notes: string[],
): JsonRecord {
  const inside = leases.map(({ subnet }) => subnet).filter((each) => prefixCovers(range, each));
  const lengths = new Set(inside.map(prefixLength));
  const [length] = lengths;
  let fitted = config;
  if (config["SubnetLen"] === undefined && lengths.size === 1 && length !== defaultLength(range)) {
    fitted = { ...fitted, SubnetLen: length };
    notes.push(`SubnetLen ${length} is written out: all leases have it`);
  }
  const first = prefixAddress(range);
  const usesFirst = inside.some((subnet) => prefixAddress(subnet) === first);
  if (config["SubnetMin"] === undefined && usesFirst) {
    fitted = { ...fitted, SubnetMin: first };
    notes.push(`SubnetMin ${first} is written out: the first subnet is in use`);
  }
  return fitted;
}

function defaultLength(range: Prefix): number {
  const length = prefixLength(range);
  return length <= DEFAULT_LENGTH_NETWORK_MAX ? SUBNET_LENGTH_DEFAULT : length + 2;
}

function order(subnet: Prefix): number {
  return prefixAddress(subnet)
    .split(".")
    .reduce((sum, part) => sum * 256 + Number(part), 0);
}
