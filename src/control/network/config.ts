/**
 * The network config: flannel's JSON, checked and completed.
 *
 * Source: flannel `pkg/subnet/config.go` for keys, defaults and rules. Unlike flannel, which
 * ignores what it does not know, an unknown key is refused: a typing error must not become a
 * default in silence. Every problem is reported at once. Pure.
 *
 * @module
 */
import { AssertionError } from "../../base/assert.ts";
import type { Result } from "../../base/result.ts";
import type { JsonObject } from "./lease.ts";
import type { Pool } from "./pool.ts";

/** One problem of a config, for the person who wrote it. */
export interface FieldIssue {
  /** Dotted path of the key, in the spelling that was given; "" for the whole body. */
  readonly path: string;
  readonly message: string;
}

/** How packets are carried. */
export interface UdpBackendConfig {
  readonly kind: "udp";
  readonly port: number;
  readonly encryption: "none";
}

export type BackendConfig = UdpBackendConfig;

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
  throw new AssertionError(`not built yet: ${typeof body}`);
}

/** The user's own keys and values, as `GET /config` shows them and the store keeps them. */
export function formatNetworkConfig(config: NetworkConfig): JsonObject {
  return config.source;
}
