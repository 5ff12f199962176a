/**
 * Per peer: which of its keys open what comes, whether to seal to it, whether to refuse plain
 * packets from it. One half of the keyring's state machine; see there.
 *
 * @module
 */
import type { NodeId, Revision } from "../../base/ids.ts";
import { keyIdOf, type PublicKey } from "./exchange-key.ts";
import { PLAIN_GRACE_MS, SWITCH_MAX_MS } from "./limits.ts";
import type { KeyringInput, ListedKey, ListedPeer } from "./listed-keys.ts";

/** How to deal with one peer. */
export interface PeerDecision {
  /** Keys in its lease, newest first: the first is the one to seal to. */
  readonly keys: readonly PublicKey[];
  /** Keys that its lease listed until lately: they only open. */
  readonly retired: readonly PublicKey[];
  /** Nothing goes to it but sealed. */
  readonly seals: boolean;
  /** Nothing comes from it but sealed. */
  readonly refusesPlain: boolean;
}

/** When this node's lease first listed a key, and the lease's revision then. */
export interface Publication {
  readonly ms: number;
  readonly revision: Revision;
}

interface KnownKey {
  readonly text: string;
  readonly publicKey: PublicKey;
  readonly keyId: number;
}

interface PeerState {
  keys: readonly KnownKey[];
  retired: { readonly key: KnownKey; readonly vanishedMs: number }[];
  /** Since when its lease lists a key; Infinity: it does not. */
  keyedSinceMs: number;
  grantRevision: Revision;
  /** Whether it was sealed to at the last decision. */
  isSealed: boolean;
}

const NOTHING: ReadonlyMap<NodeId, PeerDecision> = new Map();

/** All peers of one node. */
export class PeerSwitches {
  readonly #times: { readonly keySpreadMs: number; readonly keyRetireMs: number };
  readonly #peers = new Map<NodeId, PeerState>();
  #isWanted: boolean | undefined;
  /** When plain packets end for good; Infinity: they are wanted. */
  #settledMs = Number.POSITIVE_INFINITY;
  #publication: Publication | undefined;

  constructor(times: { readonly keySpreadMs: number; readonly keyRetireMs: number }) {
    this.#times = times;
  }

  /** Whether some peer's lease lists a key. */
  get hasKeys(): boolean {
    for (const peer of this.#peers.values()) if (peer.keys.length > 0) return true;
    return false;
  }

  /** Whether no key of any peer is remembered. */
  get isEmpty(): boolean {
    for (const peer of this.#peers.values()) {
      if (peer.keys.length > 0 || peer.retired.length > 0) return false;
    }
    return true;
  }

  /** Whether a peer has a key with the id `keyId`. */
  hasKeyId(keyId: number): boolean {
    for (const peer of this.#peers.values()) {
      if (peer.keys.some((key) => key.keyId === keyId)) return true;
    }
    return false;
  }

  /** Takes what the store says. `keepsRetired`: this node may still be sealed to by old keys. */
  note(input: KeyringInput, publication: Publication | undefined, keepsRetired: boolean): void {
    this.#noteSwitch(input);
    this.#publication = publication;
    const { nowMs } = input;
    // Nor anything to remember, until somebody lists a key or sealing is wanted.
    if (
      this.#isWanted !== true &&
      this.isEmpty &&
      input.peers.every(({ keys }) => keys.length === 0)
    ) {
      this.#peers.clear();
      return;
    }
    const listed = new Map(input.peers.map((peer) => [peer.node, peer]));
    for (const [node, state] of this.#peers) {
      if (!listed.has(node)) this.#peers.delete(node);
      else this.#dropRetired(state, nowMs, keepsRetired);
    }
    for (const peer of input.peers) this.#notePeer(peer, nowMs);
  }

  /** What to do about each peer. `canSend`: this node has a key of its own to send with. */
  decide(nowMs: number, canSend: boolean): ReadonlyMap<NodeId, PeerDecision> {
    // In a network that was never sealed there is nothing to say about anybody.
    if (this.#isWanted !== true && this.isEmpty) return NOTHING;
    const isSettled = nowMs >= this.#settledMs;
    const decisions = new Map<NodeId, PeerDecision>();
    for (const [node, peer] of this.#peers) {
      const knownMs = this.#knownMs(peer);
      const canSeal = canSend && peer.keys.length > 0;
      // Who was sealed to stays so while its lease lists a key: it says by that when it takes plain
      // packets, and may never hear that sealing was off for a moment. While it is off, sealing
      // does not begin, since the peer may never have known our key.
      const isReady = peer.isSealed || (this.#isWanted === true && nowMs >= knownMs);
      peer.isSealed = canSeal && isReady;
      decisions.set(node, {
        keys: peer.keys.map((key) => key.publicKey),
        retired: peer.retired.map(({ key }) => key.publicKey),
        seals: isSettled || peer.isSealed,
        refusesPlain: isSettled || (this.#isWanted === true && nowMs >= knownMs + PLAIN_GRACE_MS),
      });
    }
    return decisions;
  }

  /** When after `nowMs` a decision first changes by itself; Infinity: it does not. */
  nextMs(nowMs: number): number {
    let next = this.#settledMs > nowMs ? this.#settledMs : Number.POSITIVE_INFINITY;
    for (const peer of this.#peers.values()) {
      for (const ms of this.#deadlines(peer)) if (ms > nowMs && ms < next) next = ms;
    }
    return next;
  }

  #deadlines(peer: PeerState): number[] {
    const retiring = peer.retired.map(({ vanishedMs }) => vanishedMs + this.#times.keyRetireMs);
    if (this.#isWanted !== true) return retiring;
    const knownMs = this.#knownMs(peer);
    return [...retiring, knownMs, knownMs + PLAIN_GRACE_MS];
  }

  #noteSwitch({ nowMs, isWanted, own }: KeyringInput): void {
    if (isWanted === this.#isWanted) return;
    // Found sealed at the start, with a lease that lists keys or none at all: there is no plain
    // past that anybody could still be in.
    const wasPlain = this.#isWanted === false || (own !== undefined && own.keys.length === 0);
    const startMs = wasPlain ? nowMs + SWITCH_MAX_MS : nowMs;
    this.#settledMs = isWanted ? startMs : Number.POSITIVE_INFINITY;
    this.#isWanted = isWanted;
  }

  #notePeer({ node, keys, grantRevision }: ListedPeer, nowMs: number): void {
    let state = this.#peers.get(node);
    if (state === undefined) {
      const keyedSinceMs = Number.POSITIVE_INFINITY;
      state = { keys: [], retired: [], keyedSinceMs, grantRevision, isSealed: false };
      this.#peers.set(node, state);
    }
    state.grantRevision = grantRevision;
    if (isSameList(state.keys, keys)) return;
    const before = state.keys;
    state.keys = keys.map((key) => before.find(({ text }) => text === key.publicKey) ?? known(key));
    const current = new Set(keys.map((key) => key.publicKey));
    for (const key of before) {
      if (!current.has(key.text)) state.retired.push({ key, vanishedMs: nowMs });
    }
    state.retired = state.retired.filter(({ key }) => !current.has(key.text));
    if (keys.length === 0) state.keyedSinceMs = Number.POSITIVE_INFINITY;
    else state.keyedSinceMs = Math.min(state.keyedSinceMs, nowMs);
  }

  #dropRetired(state: PeerState, nowMs: number, keepsRetired: boolean): void {
    if (keepsRetired) return;
    const { keyRetireMs } = this.#times;
    state.retired = state.retired.filter(({ vanishedMs }) => nowMs - vanishedMs < keyRetireMs);
  }

  /** From when on the peer must know our key. */
  #knownMs(peer: PeerState): number {
    const publication = this.#publication;
    if (publication === undefined) return Number.POSITIVE_INFINITY;
    // It got its subnet after we published: with its own lease it has seen ours.
    const both = Math.max(peer.keyedSinceMs, publication.ms);
    return peer.grantRevision > publication.revision ? both : both + this.#times.keySpreadMs;
  }
}

function known(key: ListedKey): KnownKey {
  const bytes = new Uint8Array(Buffer.from(key.publicKey, "hex"));
  return { text: key.publicKey, publicKey: { epoch: key.epoch, bytes }, keyId: keyIdOf(bytes) };
}

function isSameList(a: readonly KnownKey[], b: readonly ListedKey[]): boolean {
  return a.length === b.length && a.every(({ text }, i) => text === b[i]?.publicKey);
}
