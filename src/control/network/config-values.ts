/**
 * Single values of the network config: of the right type and range, or an issue that says so.
 *
 * A key that is not given yields undefined without an issue.
 *
 * @module
 */
import {
  addressFamily,
  type Family,
  type IpAddress,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../../base/address.ts";
import type { FieldIssue } from "./field-issue.ts";
import { type JsonObject, showValue } from "./json.ts";

const EXAMPLES: Readonly<Record<Family, { readonly prefix: string; readonly address: string }>> = {
  4: { prefix: "10.0.0.0/16", address: "10.0.5.0" },
  6: { prefix: "fd00:a::/48", address: "fd00:a:0:5::" },
};

/** `path` in front of the key's name: "" or "Backend.". */
function report(issues: FieldIssue[], path: string, required: string, got: unknown): undefined {
  issues.push({ path, message: `${path} must be ${required}; got ${showValue(got)}` });
  return undefined;
}

/** A boolean; `path` where the key is nested. */
export function readSwitch(
  values: JsonObject,
  key: string,
  issues: FieldIssue[],
  path = key,
): boolean | undefined {
  const value = values[key];
  if (value === undefined || typeof value === "boolean") return value;
  return report(issues, path, "true or false", value);
}

/** A whole number from `min` to `max`; `path` where the key is nested. */
export function readInteger(
  values: JsonObject,
  key: string,
  issues: FieldIssue[],
  range: { readonly min: number; readonly max: number; readonly path?: string },
): number | undefined {
  const value = values[key];
  if (value === undefined) return undefined;
  const { min, max, path = key } = range;
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) {
    return value;
  }
  return report(issues, path, `a whole number from ${min} to ${max}`, value);
}

/** A network of `family`, host bits masked off as flannel does. */
export function readPrefix(
  values: JsonObject,
  key: string,
  family: Family,
  issues: FieldIssue[],
): Prefix | undefined {
  const value = values[key];
  if (value === undefined) return undefined;
  const prefix = typeof value === "string" ? parsePrefix(value) : undefined;
  if (prefix !== undefined && addressFamily(prefix) === family) return prefix;
  const example = EXAMPLES[family].prefix;
  return report(
    issues,
    key,
    `an IPv${family} network with its length, such as "${example}"`,
    value,
  );
}

/** An address of `family`. */
export function readAddress(
  values: JsonObject,
  key: string,
  family: Family,
  issues: FieldIssue[],
): IpAddress | undefined {
  const value = values[key];
  if (value === undefined) return undefined;
  const address = typeof value === "string" ? parseAddress(value) : undefined;
  if (address !== undefined && addressFamily(address) === family) return address;
  return report(
    issues,
    key,
    `an IPv${family} address, such as "${EXAMPLES[family].address}"`,
    value,
  );
}
