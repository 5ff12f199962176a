/**
 * Every session of this node, as the packet loop finds them: by peer slot to send, by the first
 * eight bytes of a packet to receive.
 *
 * The agent says which keys there are; a session's own key is derived when its first packet comes
 * (0.2 ms), and never for a packet that names keys which do not exist. Sessions whose keys stay
 * live on when others change. Belongs to the loop's thread.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import type { AeadEngine, AeadKey } from "./aead.ts";
import { keyIdOf, LoopKeyPair, type PublicKey, type SharedKeyPair } from "./exchange-key.ts";
import { receiverWord } from "./header.ts";
import type { KeptWindows } from "./kept-state.ts";
import { deriveSession, type SealContext, type SealParty } from "./key-schedule.ts";
import { decodePeerKeys } from "./peer-keys.ts";
import { ReplayWindow } from "./replay-window.ts";
import { ReceiveSession, SendSession } from "./session.ts";

/** All keys at one time, from the agent's thread. */
export interface SealKeys {
  readonly context: SealContext;
  /** This node. */
  readonly node: NodeId;
  /** Pairs that open what comes. */
  readonly own: readonly SharedKeyPair[];
  /** Epoch of the pair to send with; undefined: nothing can be sealed. */
  readonly sendEpoch: number | undefined;
  /** From `encodePeerKeys`. */
  readonly peers: Uint8Array;
}

/** A pair of ours with the first word of what is sealed to it. */
interface OwnKey {
  readonly pair: LoopKeyPair;
  readonly word: number;
}

/** One key of a peer and the sessions with it; null: these keys agree on nothing. */
interface PeerKey {
  readonly node: NodeId;
  readonly publicKey: PublicKey;
  readonly keyId: number;
  slot: number;
  readonly senders: Map<LoopKeyPair, SendSession | null>;
  readonly receivers: Map<LoopKeyPair, ReceiveSession | null>;
}

/** The sessions of one loop. Starts without any. */
export class SessionTable {
  readonly #engine: AeadEngine;
  readonly #windows: KeptWindows | undefined;
  #keys: SealKeys | undefined;
  #own: readonly OwnKey[] = [];
  #sendPair: LoopKeyPair | undefined;
  /** By key id. */
  #peerKeys = new Map<number, PeerKey>();
  /** The keys to seal to, by peer slot. */
  #targets: (PeerKey | undefined)[] = [];
  /** The session found last: packets of one peer come in runs. */
  #recentReceiver = 0;
  #recentSender = 0;
  #recent: ReceiveSession | undefined;

  /** `windows`: where they outlive the process. */
  constructor(engine: AeadEngine, windows?: KeptWindows) {
    this.#engine = engine;
    this.#windows = windows;
  }

  get engineName(): string {
    return this.#engine.name;
  }

  /** Goes over to `keys`; what they do not name any more is forgotten. */
  use(keys: SealKeys): void {
    if (this.#keys !== undefined && !isSamePlace(this.#keys, keys)) this.close();
    this.#keys = keys;
    this.#recent = undefined;
    const known = this.#own;
    this.#own = keys.own.map((shared) => keepOrOpen(known, shared));
    const pairs = new Set(this.#own.map(({ pair }) => pair));
    this.#sendPair = this.#own.find(({ pair }) => pair.publicKey.epoch === keys.sendEpoch)?.pair;
    const before = this.#peerKeys;
    this.#peerKeys = new Map();
    this.#targets = [];
    for (const { slot, node, rank, publicKey } of decodePeerKeys(keys.peers)) {
      const keyId = keyIdOf(publicKey.bytes);
      // Two keys with one id: the first keeps it, and the owner of the other takes a new key.
      if (this.#peerKeys.has(keyId)) continue;
      const old = before.get(keyId);
      const isSame = old !== undefined && old.node === node && isSameKey(old.publicKey, publicKey);
      const peerKey = isSame ? old : newPeerKey(slot, node, publicKey, keyId);
      peerKey.slot = slot;
      if (isSame) before.delete(keyId);
      this.#peerKeys.set(keyId, peerKey);
      forgetOthers(peerKey, pairs);
      for (const session of peerKey.receivers.values()) if (session !== null) session.slot = slot;
      if (rank === 0) this.#targets[slot] = peerKey;
    }
    for (const peerKey of before.values()) forgetOthers(peerKey, new Set());
    this.#windows?.keepOnly(new Set(this.#own.map(({ pair }) => pair.keyId)));
  }

  /** The session to seal to the peer with `slot`; undefined when there is none. */
  sender(slot: number): SendSession | undefined {
    const peerKey = this.#targets[slot];
    const pair = this.#sendPair;
    if (peerKey === undefined || pair === undefined) return undefined;
    const known = peerKey.senders.get(pair);
    if (known !== undefined) return known ?? undefined;
    const key = this.#derive(pair, peerKey, true);
    const session = key === undefined ? null : new SendSession(pair, peerKey.keyId, key);
    peerKey.senders.set(pair, session);
    return session ?? undefined;
  }

  /** The session of packets that begin with these two words; undefined when there is none. */
  receiver(receiver: number, sender: number): ReceiveSession | undefined {
    if (receiver === this.#recentReceiver && sender === this.#recentSender && this.#recent) {
      return this.#recent;
    }
    const peerKey = this.#peerKeys.get(sender);
    if (peerKey === undefined) return undefined;
    for (const { pair, word } of this.#own) {
      if (word !== receiver) continue;
      const session = this.#receiverOf(pair, peerKey);
      this.#recentReceiver = receiver;
      this.#recentSender = sender;
      this.#recent = session;
      return session;
    }
    return undefined;
  }

  /** Forgets everything. */
  close(): void {
    for (const peerKey of this.#peerKeys.values()) forgetOthers(peerKey, new Set());
    this.#peerKeys.clear();
    this.#targets = [];
    this.#own = [];
    this.#sendPair = undefined;
    this.#recent = undefined;
  }

  #receiverOf(pair: LoopKeyPair, peerKey: PeerKey): ReceiveSession | undefined {
    const known = peerKey.receivers.get(pair);
    if (known !== undefined) return known ?? undefined;
    const key = this.#derive(pair, peerKey, false);
    const session =
      key === undefined
        ? null
        : new ReceiveSession(key, peerKey.slot, this.#windowOf(pair, peerKey));
    peerKey.receivers.set(pair, session);
    return session ?? undefined;
  }

  /** Where the next process finds it; without room for that, the pair ends with this one. */
  #windowOf(pair: LoopKeyPair, peerKey: PeerKey): ReplayWindow {
    const kept = this.#windows?.open(pair.keyId, peerKey.keyId);
    if (kept === undefined) pair.markIncomplete();
    return kept ?? new ReplayWindow();
  }

  #derive(pair: LoopKeyPair, peerKey: PeerKey, isSending: boolean): AeadKey | undefined {
    const keys = this.#keys;
    const shared = pair.agree(peerKey.publicKey.bytes);
    if (keys === undefined || shared === undefined) return undefined;
    const self: SealParty = { node: keys.node, publicKey: pair.publicKey };
    const direction = isSending
      ? { sender: self, receiver: peerKey }
      : { sender: peerKey, receiver: self };
    const { key, salt } = deriveSession(shared, keys.context, direction);
    const opened = this.#engine.createKey(key, salt);
    shared.fill(0);
    key.fill(0);
    return opened;
  }
}

function keepOrOpen(known: readonly OwnKey[], shared: SharedKeyPair): OwnKey {
  const kept = known.find(({ pair }) => isSameKey(pair.publicKey, shared.publicKey));
  if (kept !== undefined) return kept;
  const pair = new LoopKeyPair(shared);
  return { pair, word: receiverWord(pair.keyId) };
}

function newPeerKey(slot: number, node: NodeId, publicKey: PublicKey, keyId: number): PeerKey {
  return { slot, node, publicKey, keyId, senders: new Map(), receivers: new Map() };
}

/** Closes the sessions of `peerKey` with pairs that are not among `pairs`. */
function forgetOthers(peerKey: PeerKey, pairs: ReadonlySet<LoopKeyPair>): void {
  for (const sessions of [peerKey.senders, peerKey.receivers]) {
    for (const [pair, session] of sessions) {
      if (pairs.has(pair)) continue;
      session?.key.close();
      sessions.delete(pair);
    }
  }
}

function isSamePlace(a: SealKeys, b: SealKeys): boolean {
  return (
    a.node === b.node &&
    a.context.generation === b.context.generation &&
    Buffer.compare(a.context.clusterId, b.context.clusterId) === 0
  );
}

function isSameKey(a: PublicKey, b: PublicKey): boolean {
  return a.epoch === b.epoch && Buffer.compare(a.bytes, b.bytes) === 0;
}
