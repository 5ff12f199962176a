/**
 * The network config: flannel's JSON, checked and completed.
 *
 * Source: flannel `pkg/subnet/config.go` for keys, defaults and rules. Unlike flannel, which
 * ignores what it does not know, an unknown key is refused: a typing error must not become a
 * default in silence. Every problem is reported at once. Pure.
 *
 * @module
 */
import { err, ok, type Result } from "../../base/result.ts";
import { type BackendConfig, parseBackendConfig } from "./backend-config.ts";
import { CONFIG_KEYS, type ConfigKey, canonicalKeys } from "./config-keys.ts";
import { readInteger, readSwitch } from "./config-values.ts";
import type { FieldIssue } from "./field-issue.ts";
import { type JsonObject, type JsonValue, parseJsonObject, showValue } from "./json.ts";
import {
  CONFIG_ISSUES_MAX,
  LEASE_TTL_SECONDS_DEFAULT,
  LEASE_TTL_SECONDS_MAX,
  LEASE_TTL_SECONDS_MIN,
} from "./limits.ts";
import type { Pool } from "./pool.ts";
import { parsePool } from "./pool-config.ts";

/** A valid config with every default filled in. */
export interface NetworkConfig {
  readonly pool: Pool;
  readonly backend: BackendConfig;
  /** For leases acquired or renewed from now on. */
  readonly leaseTtlSeconds: number;
  /** What the user gave, keys in their documented spelling, `null` values left out. */
  readonly source: JsonObject;
}

/** The config that a parsed JSON body says, or everything that is wrong with it. */
export function parseNetworkConfig(body: unknown): Result<NetworkConfig, readonly FieldIssue[]> {
  const object = parseJsonObject(body);
  if (object === undefined) {
    const example = '{"Network":"10.0.0.0/16"}';
    const message = `Config must be a JSON object, such as ${example}; got ${showValue(body)}`;
    return err([{ path: "", message }]);
  }
  const issues: FieldIssue[] = [];
  const values = canonicalKeys(object, CONFIG_KEYS, "", issues);
  checkFamilies(values, issues);
  const pool = parsePool(values, issues);
  const { backend, source } = parseBackendConfig(values["Backend" satisfies ConfigKey], issues);
  const leaseTtlSeconds = readInteger(values, "LeaseTTLSeconds" satisfies ConfigKey, issues, {
    min: LEASE_TTL_SECONDS_MIN,
    max: LEASE_TTL_SECONDS_MAX,
  });
  if (issues.length > 0 || pool === undefined || backend === undefined) {
    return err(issues.slice(0, CONFIG_ISSUES_MAX));
  }
  return ok({
    pool,
    backend,
    leaseTtlSeconds: leaseTtlSeconds ?? LEASE_TTL_SECONDS_DEFAULT,
    source: source === undefined ? values : { ...values, Backend: source },
  });
}

/** The user's own keys and values, as `GET /config` shows them and the store keeps them. */
export function formatNetworkConfig(config: NetworkConfig): JsonObject {
  return config.source;
}

/** Which families are on; dual stack and IPv6 alone are still to come. */
function checkFamilies(values: Readonly<Record<string, JsonValue>>, issues: FieldIssue[]): void {
  readSwitch(values, "EnableNFTables" satisfies ConfigKey, issues);
  if (readSwitch(values, "EnableIPv6" satisfies ConfigKey, issues) === true) {
    const message =
      "EnableIPv6 must be false or left out: IPv6 is not yet supported by this version";
    issues.push({ path: "EnableIPv6", message });
  }
  if (readSwitch(values, "EnableIPv4" satisfies ConfigKey, issues) === false) {
    const message =
      "EnableIPv4 must be true or left out: a network without IPv4 is not yet supported by this version";
    issues.push({ path: "EnableIPv4", message });
  }
}
