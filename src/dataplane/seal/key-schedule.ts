/**
 * From two X25519 keys to the key of one direction.
 *
 *     shared = X25519(own private key, peer's public key)
 *     okm    = HKDF-SHA256(IKM = shared, salt = LABEL, info = context, 36 bytes)
 *     key    = okm[0..32), salt of the nonce = okm[32..36)
 *
 * The context names the cluster, its generation, both nodes, both key epochs and both public keys,
 * the sender's first: each direction of each pair of keys has a key of its own (RFC 5869 §3.2).
 *
 * @module
 */
import { hkdfSync } from "node:crypto";
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { PublicKey } from "./exchange-key.ts";
import { EXCHANGE_KEY_SIZE, SEAL_KEY_SIZE, SEAL_SALT_SIZE } from "./limits.ts";

const LABEL = new TextEncoder().encode("overlay sealed packets v1 aes-256-gcm");
export const CLUSTER_ID_SIZE = 16;
const CONTEXT_SIZE = CLUSTER_ID_SIZE + 8 + 2 * (8 + 8 + EXCHANGE_KEY_SIZE);

/** Where a key belongs to. */
export interface SealContext {
  /** CLUSTER_ID_SIZE bytes. */
  readonly clusterId: Uint8Array;
  /** Generation of the cluster: recovery from a lost majority begins a new one. */
  readonly generation: number;
}

/** One end of a direction. */
export interface SealParty {
  readonly node: NodeId;
  readonly publicKey: PublicKey;
}

/** Key and nonce salt of one direction. */
export interface SessionSecret {
  readonly key: Uint8Array;
  readonly salt: Uint8Array;
}

/** What protects packets from `sender` to `receiver`, given their shared X25519 secret. */
export function deriveSession(
  shared: Uint8Array,
  context: SealContext,
  direction: { readonly sender: SealParty; readonly receiver: SealParty },
): SessionSecret {
  const size = SEAL_KEY_SIZE + SEAL_SALT_SIZE;
  const okm = new Uint8Array(hkdfSync("sha256", shared, LABEL, infoOf(context, direction), size));
  return { key: okm.slice(0, SEAL_KEY_SIZE), salt: okm.slice(SEAL_KEY_SIZE) };
}

function infoOf(
  context: SealContext,
  { sender, receiver }: { readonly sender: SealParty; readonly receiver: SealParty },
): Uint8Array {
  assert(context.clusterId.length === CLUSTER_ID_SIZE, "cluster id must be 16 bytes");
  const info = new Uint8Array(CONTEXT_SIZE);
  const view = new DataView(info.buffer);
  info.set(context.clusterId);
  putInteger(view, CLUSTER_ID_SIZE, context.generation);
  let at = CLUSTER_ID_SIZE + 8;
  for (const { node, publicKey } of [sender, receiver]) {
    putInteger(view, at, node);
    putInteger(view, at + 8, publicKey.epoch);
    info.set(publicKey.bytes, at + 16);
    at += 16 + EXCHANGE_KEY_SIZE;
  }
  return info;
}

/** A safe integer as eight bytes, big-endian. */
function putInteger(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, "only safe integers have eight bytes");
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value >>> 0);
}
