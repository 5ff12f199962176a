/**
 * Sealing for a packet node: keys in its file take the place of leases and of the keyring, so that
 * a test decides what is known when.
 *
 * @module
 */
import type { SealSetting } from "../../src/agent/seal-link.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import { createKeyPair, type SharedKeyPair } from "../../src/dataplane/seal/exchange-key.ts";
import { SEAL_OVERHEAD } from "../../src/dataplane/seal/limits.ts";

/** What the file says about keys. Keys are made of their node and epoch: this is no secret. */
export interface PacketSealConfig {
  readonly node: number;
  /** Epochs of the pairs that open, newest first. */
  readonly own: readonly number[];
  /** Epoch of the pair to send with. */
  readonly sendEpoch: number;
  readonly peers: readonly {
    readonly node: number;
    /** Newest first. */
    readonly epochs: readonly number[];
    readonly seals: boolean;
    readonly refusesPlain: boolean;
  }[];
}

/** Overlay MTU that leaves room for sealing on Ethernet. */
export const SEALED_MTU = 1472 - SEAL_OVERHEAD;

/** Both nodes of a pair with one key each, everything sealed. */
export function sealedPairConfig(node: 1 | 2): PacketSealConfig {
  const peer = { node: 3 - node, epochs: [1], seals: true, refusesPlain: true };
  return { node, own: [1], sendEpoch: 1, peers: [peer] };
}

const pairs = new Map<string, SharedKeyPair>();

/** The pair of a node: always the same one, since it counts what was sealed with it. */
function pairOf(node: number, epoch: number): SharedKeyPair {
  const name = `${node} ${epoch}`;
  const known = pairs.get(name);
  if (known !== undefined) return known;
  const digest = new Bun.CryptoHasher("sha256").update(`packet node ${name}`).digest();
  const pair = createKeyPair(epoch, new Uint8Array(digest));
  pairs.set(name, pair);
  return pair;
}

/** The keys as the engine takes them. */
export function sealSetting(config: PacketSealConfig): SealSetting {
  return {
    context: { clusterId: new Uint8Array(16), generation: 1 },
    node: decodeNodeId(config.node),
    own: config.own.map((epoch) => pairOf(config.node, epoch)),
    sendEpoch: config.sendEpoch,
    peers: new Map(
      config.peers.map(({ node, epochs }) => {
        const keys = epochs.map((epoch) => pairOf(node, epoch).publicKey);
        return [decodeNodeId(node), { keys, retired: [] }];
      }),
    ),
  };
}

/** What a row of the table says about sealing to `node`. */
export function rowSeal(config: PacketSealConfig | undefined, node: number) {
  const peer = config?.peers.find((one) => one.node === node);
  return { seals: peer?.seals ?? false, refusesPlain: peer?.refusesPlain ?? false };
}
