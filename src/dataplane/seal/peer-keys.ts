/**
 * Whose public keys are known, as one piece of bytes for the packet loop's thread.
 *
 * Ten thousand peers as objects take a tenth of a second to pass between threads; this takes
 * nothing. A record of 56 bytes for each key:
 *
 *      0  peer slot, 32 bits       8  node id, a 64-bit float
 *      4  rank, 32 bits           16  epoch, a 64-bit float
 *                                 24  public key, 32 bytes
 *
 * Rank 0 is the key to seal to; the others only open what their owner still sends.
 *
 * @module
 */
import { decodeNodeId, type NodeId } from "../../base/ids.ts";
import type { PublicKey } from "./exchange-key.ts";
import { EXCHANGE_KEY_SIZE } from "./limits.ts";

const RECORD_SIZE = 24 + EXCHANGE_KEY_SIZE;

/** One peer. */
export interface PeerKeys {
  /** As in the forwarding table. */
  readonly slot: number;
  readonly node: NodeId;
  /** The one to seal to first. */
  readonly keys: readonly PublicKey[];
  /** Keys that only open. */
  readonly retired?: readonly PublicKey[];
}

/** One key of one peer. */
export interface PeerKeyRecord {
  readonly slot: number;
  readonly node: NodeId;
  readonly rank: number;
  readonly publicKey: PublicKey;
}

/** All keys of `peers`. Equal input gives equal bytes. */
export function encodePeerKeys(peers: readonly PeerKeys[]): Uint8Array {
  const count = peers.reduce(
    (sum, { keys, retired = [] }) => sum + keys.length + retired.length,
    0,
  );
  const bytes = new Uint8Array(count * RECORD_SIZE);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const put = (record: PeerKeyRecord) => {
    view.setUint32(at, record.slot);
    view.setUint32(at + 4, record.rank);
    view.setFloat64(at + 8, record.node);
    view.setFloat64(at + 16, record.publicKey.epoch);
    bytes.set(record.publicKey.bytes, at + 24);
    at += RECORD_SIZE;
  };
  for (const { slot, node, keys, retired = [] } of peers) {
    for (const [rank, publicKey] of keys.entries()) put({ slot, node, rank, publicKey });
    for (const publicKey of retired) put({ slot, node, rank: keys.length + 1, publicKey });
  }
  return bytes;
}

/** The records in `bytes`, in order. Keys are views into it. */
export function* decodePeerKeys(bytes: Uint8Array): Iterable<PeerKeyRecord> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += RECORD_SIZE) {
    yield {
      slot: view.getUint32(at),
      rank: view.getUint32(at + 4),
      node: decodeNodeId(view.getFloat64(at + 8)),
      publicKey: {
        epoch: view.getFloat64(at + 16),
        bytes: bytes.subarray(at + 24, at + RECORD_SIZE),
      },
    };
  }
}
