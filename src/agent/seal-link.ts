/**
 * The agent's end of the seal: keys by node id, as the keyring decides them, become keys by counter
 * slot, as the packet loop wants them. Says nothing while nothing has changed.
 *
 * @module
 */
import type { NodeId } from "../base/ids.ts";
import type { PublicKey, SharedKeyPair } from "../dataplane/seal/exchange-key.ts";
import type { SealContext } from "../dataplane/seal/key-schedule.ts";
import { encodePeerKeys, type PeerKeys } from "../dataplane/seal/peer-keys.ts";
import type { SealKeys } from "../dataplane/seal/session-table.ts";

/** All keys of one node at one time. */
export interface SealSetting {
  readonly context: SealContext;
  /** This node. */
  readonly node: NodeId;
  readonly own: readonly SharedKeyPair[];
  /** Epoch of the pair to send with; undefined: nothing can be sealed yet. */
  readonly sendEpoch: number | undefined;
  readonly peers: ReadonlyMap<
    NodeId,
    { readonly keys: readonly PublicKey[]; readonly retired: readonly PublicKey[] }
  >;
}

/** Remembers what the loop was told last. */
export class SealLink {
  #setting: SealSetting | undefined;
  #told: SealKeys | undefined;

  set(setting: SealSetting): void {
    this.#setting = setting;
  }

  /** The message for the loop; undefined when it would be the same as the last one. */
  encode(slotOf: (peer: NodeId) => number | undefined): SealKeys | undefined {
    const setting = this.#setting;
    if (setting === undefined) return undefined;
    const peers: PeerKeys[] = [];
    for (const [node, { keys, retired }] of setting.peers) {
      const slot = slotOf(node);
      if (slot !== undefined) peers.push({ slot, node, keys, retired });
    }
    const { context, node, sendEpoch } = setting;
    const own = setting.own.map(withoutSecret);
    const keys: SealKeys = { context, node, own, sendEpoch, peers: encodePeerKeys(peers) };
    if (this.#told !== undefined && isSame(this.#told, keys)) return undefined;
    this.#told = keys;
    return keys;
  }
}

const NOWHERE = new Uint8Array(0);

/** The loop finds a pair in a slot by itself: a message would copy the secret. */
function withoutSecret(pair: SharedKeyPair): SharedKeyPair {
  return pair.slot === undefined ? pair : { ...pair, memory: NOWHERE };
}

function isSame(a: SealKeys, b: SealKeys): boolean {
  return (
    a.node === b.node &&
    a.sendEpoch === b.sendEpoch &&
    a.context.generation === b.context.generation &&
    Buffer.compare(a.context.clusterId, b.context.clusterId) === 0 &&
    a.own.length === b.own.length &&
    a.own.every((pair, i) => pair.publicKey === b.own[i]?.publicKey) &&
    Buffer.compare(a.peers, b.peers) === 0
  );
}
