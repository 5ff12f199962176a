/**
 * Address pools: the subnets that a config hands out, by position.
 *
 * Position 0 is SubnetMin, the last one SubnetMax. One code path for both families. Pure.
 *
 * @module
 */

import {
  addressBits,
  addressFamily,
  decodeBits,
  familyBits,
  type IpAddress,
  type Prefix,
  prefixAddress,
  prefixLength,
  prefixOf,
} from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import { POOL_POSITIONS_MAX } from "./limits.ts";

/** Equal subnets from `min` to `max`, both included. Invariant: both lie on a boundary. */
export interface Pool {
  readonly network: Prefix;
  readonly subnetLength: number;
  /** First address of the first subnet handed out. */
  readonly min: IpAddress;
  /** First address of the last subnet handed out. */
  readonly max: IpAddress;
}

/** How many subnets the pool hands out, at most `POOL_POSITIONS_MAX`. */
export function poolCapacity(pool: Pool): number {
  const count = ((addressBits(pool.max) - addressBits(pool.min)) >> hostBits(pool)) + 1n;
  return count > BigInt(POOL_POSITIONS_MAX) ? POOL_POSITIONS_MAX : Number(count);
}

/** The subnet at `position`, from 0 to the capacity − 1. */
export function poolSubnet(pool: Pool, position: number): Prefix {
  const bits = addressBits(pool.min) + (BigInt(position) << hostBits(pool));
  assert(bits <= addressBits(pool.max), "pool position out of range");
  return prefixOf(decodeBits(bits, addressFamily(pool.min)), pool.subnetLength);
}

/** Whether `subnet` is one that the pool hands out. */
export function poolHas(pool: Pool, subnet: Prefix): boolean {
  if (addressFamily(subnet) !== addressFamily(pool.min)) return false;
  if (prefixLength(subnet) !== pool.subnetLength) return false;
  const bits = addressBits(prefixAddress(subnet));
  const offset = (bits - addressBits(pool.min)) >> hostBits(pool);
  return offset >= 0n && offset < BigInt(POOL_POSITIONS_MAX) && bits <= addressBits(pool.max);
}

function hostBits(pool: Pool): bigint {
  return BigInt(familyBits(addressFamily(pool.min)) - pool.subnetLength);
}
