/**
 * The pool that a network config describes: flannel's rules for subnet lengths and bounds.
 *
 * Source: flannel `CheckNetworkConfig`. The same rules for both families, with the numbers of each.
 *
 * @module
 */
import {
  addressBits,
  addressPlus,
  type Family,
  familyBits,
  type IpAddress,
  type Prefix,
  parsePrefix,
  prefixAddress,
  prefixesOverlap,
  prefixHas,
  prefixLast,
  prefixLength,
  prefixOf,
} from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { ConfigKey } from "./config-keys.ts";
import { readAddress, readInteger, readPrefix } from "./config-values.ts";
import type { FieldIssue } from "./field-issue.ts";
import type { JsonObject } from "./json.ts";
import type { Pool } from "./pool.ts";

/** What flannel's rules are for one family. */
interface PoolRules {
  readonly family: Family;
  readonly keys: {
    readonly network: ConfigKey;
    readonly subnetLength: ConfigKey;
    readonly min: ConfigKey;
    readonly max: ConfigKey;
  };
  /** Length that a subnet gets by itself when the network has room for four of them. */
  readonly subnetLengthDefault: number;
  /** Longest subnet: two addresses beside the network's own and the last one. */
  readonly subnetLengthMax: number;
  /** Prefixes that no overlay network can use, with their names. */
  readonly unusable: readonly (readonly [string, string])[];
}

/** Bits by which a subnet must be longer than its network: room for four. */
const SUBNET_BITS_MIN = 2;

const V4: PoolRules = {
  family: 4,
  keys: { network: "Network", subnetLength: "SubnetLen", min: "SubnetMin", max: "SubnetMax" },
  subnetLengthDefault: 24,
  subnetLengthMax: 30,
  unusable: [
    ["0.0.0.0/8", "this host"],
    ["127.0.0.0/8", "loopback"],
    ["224.0.0.0/4", "multicast"],
  ],
};

const V6: PoolRules = {
  family: 6,
  keys: {
    network: "IPv6Network",
    subnetLength: "IPv6SubnetLen",
    min: "IPv6SubnetMin",
    max: "IPv6SubnetMax",
  },
  subnetLengthDefault: 64,
  subnetLengthMax: 126,
  unusable: [
    ["::/8", "loopback and unspecified"],
    ["fe80::/10", "link-local"],
    ["ff00::/8", "multicast"],
  ],
};

/** The IPv4 pool of a config with canonical keys; undefined after reporting why not. */
export function parsePool(values: JsonObject, issues: FieldIssue[]): Pool | undefined {
  const before = issues.length;
  const pool = poolOf(V4, values, issues);
  // While IPv6 is off its keys are kept but mean nothing; what they say must make sense already.
  if (values[V6.keys.network] === undefined) readRest(V6, values, issues);
  else poolOf(V6, values, issues);
  return issues.length === before ? pool : undefined;
}

function poolOf(rules: PoolRules, values: JsonObject, issues: FieldIssue[]): Pool | undefined {
  const before = issues.length;
  const { keys, family } = rules;
  const network = readPrefix(values, keys.network, family, issues);
  const {
    subnetLength: givenLength,
    min: givenMin,
    max: givenMax,
  } = readRest(rules, values, issues);
  if (values[keys.network] === undefined) {
    const message = `${keys.network} must be given, such as {"Network":"10.0.0.0/16"}`;
    issues.push({ path: keys.network, message });
  }
  if (network === undefined) return undefined;
  checkUsable(rules, network, issues);
  const subnetLength = checkLengths(rules, network, givenLength, issues);
  if (subnetLength === undefined) return undefined;
  const first = prefixAddress(network);
  const size = 1n << BigInt(familyBits(family) - subnetLength);
  // flannel skips the first subnet: its first address, the network's own, was a broadcast once.
  const min = givenMin ?? addressPlus(first, size);
  const max = givenMax ?? prefixAddress(prefixOf(prefixLast(network), subnetLength));
  assert(min !== undefined, "second subnet must exist");
  const pool = { network, subnetLength, min, max };
  checkBound(keys.min, pool, min, issues);
  checkBound(keys.max, pool, max, issues);
  if (addressBits(min) > addressBits(max)) {
    const message = `${keys.min} must not be after ${keys.max}; got ${min} and ${max}`;
    issues.push({ path: keys.min, message });
  }
  return issues.length === before ? pool : undefined;
}

/** The keys beside the network. 0, and the address of zeros, count as not given: as in flannel. */
function readRest(rules: PoolRules, values: JsonObject, issues: FieldIssue[]) {
  const { keys, family } = rules;
  const length = readInteger(values, keys.subnetLength, issues, {
    min: 0,
    max: familyBits(family),
  });
  const given = (address: IpAddress | undefined) =>
    address === undefined || addressBits(address) === 0n ? undefined : address;
  return {
    subnetLength: length === 0 ? undefined : length,
    min: given(readAddress(values, keys.min, family, issues)),
    max: given(readAddress(values, keys.max, family, issues)),
  };
}

function checkUsable(rules: PoolRules, network: Prefix, issues: FieldIssue[]): void {
  const { network: key } = rules.keys;
  for (const [text, name] of rules.unusable) {
    const unusable = parsePrefix(text);
    assert(unusable !== undefined, "unusable prefix must be valid");
    if (prefixesOverlap(unusable, network)) {
      const message = `${key} must not overlap ${text} (${name}); got ${network}`;
      issues.push({ path: key, message });
    }
  }
}

/** The length of a subnet, given or by default. */
function checkLengths(
  rules: PoolRules,
  network: Prefix,
  given: number | undefined,
  issues: FieldIssue[],
): number | undefined {
  const { keys, subnetLengthMax, subnetLengthDefault } = rules;
  const networkLength = prefixLength(network);
  const shortest = networkLength + SUBNET_BITS_MIN;
  if (shortest > subnetLengthMax) {
    const least = subnetLengthMax - SUBNET_BITS_MIN;
    const message = `${keys.network} is too small: the minimum useful network is a /${least}; got ${network}`;
    issues.push({ path: keys.network, message });
    return undefined;
  }
  if (given === undefined) return Math.max(subnetLengthDefault, shortest);
  if (given > subnetLengthMax) {
    const message = `${keys.subnetLength} must be less than /${subnetLengthMax + 1}; got ${given}`;
    issues.push({ path: keys.subnetLength, message });
    return undefined;
  }
  if (given < shortest) {
    const message =
      `${keys.subnetLength} must be from ${shortest} to ${subnetLengthMax}: ${network} must be ` +
      `able to accommodate at least four subnets; got ${given}`;
    issues.push({ path: keys.subnetLength, message });
    return undefined;
  }
  return given;
}

function checkBound(key: ConfigKey, pool: Pool, bound: IpAddress, issues: FieldIssue[]): void {
  const { network, subnetLength } = pool;
  if (!prefixHas(network, bound)) {
    issues.push({ path: key, message: `${key} must be in the range of ${network}; got ${bound}` });
    return;
  }
  const boundary = prefixAddress(prefixOf(bound, subnetLength));
  if (boundary === bound) return;
  const message = `${key} must be on a SubnetLen boundary, the first address of a /${subnetLength} such as ${boundary}; got ${bound}`;
  issues.push({ path: key, message });
}
