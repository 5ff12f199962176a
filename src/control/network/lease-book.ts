/**
 * The leases in the store, with their indexes, as one command reads and changes them.
 *
 * Invariants, asserted where they are relied on:
 * - a node has at most one lease beside draining ones (draining.ts), held or expired, and the index
 *   by node leads to it;
 * - a held lease is only ever replaced by its own holder;
 * - all leases are subnets of the config's pool, so two of them are the same or do not overlap.
 *
 * Pure: a view of the writer that the handler was given, without state of its own.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import { parsePrefix } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import { isCounter } from "../kv/plain.ts";
import type { KvWriter } from "../kv/types.ts";
import {
  EXPIRED_PREFIX,
  expiredKey,
  leaseKey,
  nodeKey,
  SUBNETS_PREFIX,
  subnetOfExpiredKey,
  USAGE_KEY,
} from "./keys.ts";
import { decodeLease, encodeLease, type Lease, type LeaseAttributes } from "./lease.ts";
import { REMEMBERED_LEASES_MAX } from "./limits.ts";
import { decodeJson, encodeJson } from "./record.ts";

/** How many leases there are. */
export interface LeaseUsage {
  readonly held: number;
  readonly expired: number;
}

const NO_BYTES = new Uint8Array(0);

export class LeaseBook {
  readonly #writer: KvWriter;
  readonly #rememberedMax: number;

  /** `rememberedMax` is for tests: every replica must use the same. */
  constructor(writer: KvWriter, rememberedMax = REMEMBERED_LEASES_MAX) {
    this.#writer = writer;
    this.#rememberedMax = rememberedMax;
  }

  /** The lease of `subnet`, held or expired. */
  get(subnet: Prefix): Lease | undefined {
    const pair = this.#writer.get(leaseKey(subnet));
    if (pair === undefined) return undefined;
    const lease = decodeLease(pair);
    assert(lease !== undefined, "lease in the store must be readable");
    return lease;
  }

  has(subnet: Prefix): boolean {
    return this.#writer.get(leaseKey(subnet)) !== undefined;
  }

  /** The lease that `node` holds or held last. */
  ofNode(node: NodeId): Lease | undefined {
    const record = this.#read(nodeKey(node));
    if (record === undefined) return undefined;
    const { Subnet: text } = record;
    const subnet = typeof text === "string" ? parsePrefix(text) : undefined;
    const lease = subnet === undefined ? undefined : this.get(subnet);
    assert(lease?.node === node, "index by node must lead to the node's lease");
    return lease;
  }

  /** All leases, in the order of their keys. */
  *all(): Iterable<Lease> {
    for (const pair of this.#writer.list(SUBNETS_PREFIX)) {
      const lease = decodeLease(pair);
      assert(lease !== undefined, "lease in the store must be readable");
      yield lease;
    }
  }

  /** The expired leases, the one that expired first first. */
  *expired(): Iterable<Lease> {
    for (const { key } of this.#writer.list(EXPIRED_PREFIX)) {
      const subnet = subnetOfExpiredKey(key);
      const lease = subnet === undefined ? undefined : this.get(subnet);
      assert(lease?.state === "expired", "index of the expired must lead to an expired lease");
      yield lease;
    }
  }

  usage(): LeaseUsage {
    const record = this.#read(USAGE_KEY);
    if (record === undefined) return { held: 0, expired: 0 };
    const { Held: held, Expired: expired } = record;
    assert(isCounter(held) && isCounter(expired), "usage in the store must be readable");
    return { held, expired };
  }

  /** Grants `subnet` to `node`, which gives up whatever other lease it has. */
  grant(grant: {
    readonly subnet: Prefix;
    readonly node: NodeId;
    readonly attributes: LeaseAttributes;
    readonly ttlSeconds: number;
  }): Lease {
    const { subnet, node, attributes, ttlSeconds } = grant;
    const before = this.get(subnet);
    assert(before?.state !== "held", "held lease must not be granted");
    if (before !== undefined) this.remove(before);
    const other = this.ofNode(node);
    if (other !== undefined) this.remove(other);
    this.#count({ held: 1, expired: 0 });
    this.#writer.put(nodeKey(node), encodeJson({ Subnet: subnet }));
    const epoch = this.#writer.changeRevision;
    // Coming back to the same node is the same grant: nobody held it in between.
    const grantRevision = before?.node === node ? before.grantRevision : epoch;
    return this.#write({
      subnet,
      node,
      state: "held",
      attributes,
      epoch,
      grantRevision,
      ttlSeconds,
    });
  }

  /** Renews a held lease under a new epoch. */
  renew(lease: Lease, attributes: LeaseAttributes, ttlSeconds: number): Lease {
    assert(lease.state === "held", "only a held lease can be renewed");
    return this.#write({ ...lease, attributes, ttlSeconds, epoch: this.#writer.changeRevision });
  }

  /** Ends a held lease; it stays remembered for its node. */
  expire(lease: Lease): Lease {
    assert(lease.state === "held", "only a held lease can expire");
    this.#count({ held: -1, expired: 1 });
    this.#writer.put(expiredKey(lease.subnet, this.#writer.changeRevision), NO_BYTES);
    const expired = this.#write({ ...lease, state: "expired" });
    if (this.usage().expired > this.#rememberedMax) {
      const [oldest] = this.expired();
      assert(oldest !== undefined, "counted expired leases must be there");
      this.remove(oldest);
    }
    return expired;
  }

  /** Forgets a lease altogether. */
  remove(lease: Lease): void {
    const held = lease.state === "held";
    this.#count(held ? { held: -1, expired: 0 } : { held: 0, expired: -1 });
    if (!held) {
      const known = this.#writer.delete(expiredKey(lease.subnet, lease.modRevision));
      assert(known, "expired lease must be in the index");
    }
    const indexed = this.#writer.delete(nodeKey(lease.node));
    const present = this.#writer.delete(leaseKey(lease.subnet));
    assert(indexed && present, "removed lease must be present and in the index");
  }

  #write(lease: Omit<Lease, "modRevision">): Lease {
    this.#writer.put(leaseKey(lease.subnet), encodeLease(lease));
    return { ...lease, modRevision: this.#writer.changeRevision };
  }

  #count(change: LeaseUsage): void {
    const { held, expired } = this.usage();
    const next = { Held: held + change.held, Expired: expired + change.expired };
    assert(next.Held >= 0 && next.Expired >= 0, "there must not be fewer than no leases");
    this.#writer.put(USAGE_KEY, encodeJson(next));
  }

  #read(key: string): Readonly<Record<string, unknown>> | undefined {
    const pair = this.#writer.get(key);
    if (pair === undefined) return undefined;
    const record = decodeJson(pair.value);
    assert(record !== undefined, "record in the store must be readable");
    return record;
  }
}
