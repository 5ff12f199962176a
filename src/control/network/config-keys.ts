/**
 * Keys of the network config: which there are, however they are spelled, and which was meant.
 *
 * Go's `encoding/json`, which reads flannel's config, takes keys in any case: so does this.
 *
 * @module
 */
import type { FieldIssue } from "./field-issue.ts";
import { type JsonObject, type JsonValue, showValue } from "./json.ts";

export const CONFIG_KEYS = [
  "Network",
  "SubnetLen",
  "SubnetMin",
  "SubnetMax",
  "EnableIPv4",
  "EnableIPv6",
  "IPv6Network",
  "IPv6SubnetLen",
  "IPv6SubnetMin",
  "IPv6SubnetMax",
  "EnableNFTables",
  "Backend",
  "LeaseTTLSeconds",
] as const;

export type ConfigKey = (typeof CONFIG_KEYS)[number];

/**
 * `object` with its keys in their documented spelling, in the given order. `null` counts as not
 * given, as in Go. Unknown and repeated keys are left out and reported.
 */
export function canonicalKeys(
  object: JsonObject,
  known: readonly string[],
  path: string,
  issues: FieldIssue[],
): JsonObject {
  const entries = new Map<string, JsonValue>();
  const spellings = new Map<string, string>();
  for (const [key, value] of Object.entries(object)) {
    const name = known.find((candidate) => candidate.toLowerCase() === key.toLowerCase());
    const at = path + key;
    if (name === undefined) {
      issues.push({ path: at, message: `${at} is not a known key${suggestion(key, known, path)}` });
      continue;
    }
    const other = spellings.get(name);
    if (other !== undefined) {
      const message = `${path}${name} is given twice, as ${showValue(other)} and ${showValue(key)}`;
      issues.push({ path: at, message });
      continue;
    }
    spellings.set(name, key);
    if (value !== null) entries.set(name, value);
  }
  return Object.fromEntries(entries);
}

function suggestion(key: string, known: readonly string[], path: string): string {
  let nearest = "";
  let distance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const d = editDistance(key.toLowerCase(), candidate.toLowerCase());
    if (d < distance) [nearest, distance] = [candidate, d];
  }
  // Something that shares less than half of its letters was hardly meant.
  if (distance * 2 <= Math.max(key.length, nearest.length))
    return `; did you mean ${path}${nearest}?`;
  return `; the known keys are ${known.map((name) => path + name).join(", ")}`;
}

/** Levenshtein distance: letters to insert, delete or replace to turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
