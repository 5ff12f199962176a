/**
 * Which keys this node has, publishes and uses, and when packets to and from a peer are sealed.
 * A state machine over what the leases say; docs/SECURITY.md has it in words.
 *
 * Own keys:
 *
 *     made ─► opens ─► published ─► used (KEY_SPREAD_MS later) ─► replaced ─► forgotten
 *                                     │ after an hour, or 2^32 packets      (KEY_RETIRE_MS later)
 *                                     └─► the next one is made
 *
 * Switched on, per peer:     plain, takes both ─► sealed, takes both ─► sealed, refuses plain
 * Switched off, per peer:    sealed, takes both ─(its lease lists no keys)─► plain, takes both
 *
 * Keys leave the lease KEY_SPREAD_MS after the switch: when it is switched on again before all have
 * heard that it was off, nobody is without a key for those who never heard.
 *
 * A peer gets sealed packets as soon as its lease lists a key and it must know ours. SWITCH_MAX_MS
 * after the switch the node is settled: it neither takes nor sends a plain packet any more, and
 * whoever lists no key gets nothing. A node that starts in a sealed network is settled at once.
 *
 * No clock and no randomness of its own.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import {
  createKeyPair,
  forgetKeyPair,
  keyIdOf,
  type SharedKeyPair,
  sealedCount,
} from "./exchange-key.ts";
import type { KeptState } from "./kept-state.ts";
import {
  EXCHANGE_KEY_SIZE,
  KEY_RETIRE_MS,
  KEY_SPREAD_MS,
  PUBLISHED_KEYS_MAX,
  REKEY_AFTER_MS,
  REKEY_AFTER_PACKETS,
  SEALED_COUNT_CHECK_MS,
} from "./limits.ts";
import type { KeyringInput, ListedKey } from "./listed-keys.ts";
import { type PeerDecision, PeerSwitches, type Publication } from "./peer-switches.ts";

/** What to do about it. */
export interface KeyringDecision {
  /** What this node's lease shall list, newest first. */
  readonly publish: readonly ListedKey[];
  /** Pairs that open what comes. */
  readonly own: readonly SharedKeyPair[];
  /** Epoch of the pair to send with; undefined: none may be used yet. */
  readonly sendEpoch: number | undefined;
  readonly peers: ReadonlyMap<NodeId, PeerDecision>;
  /** Whether any packet may be sealed, so that the overlay MTU must leave room for it. */
  readonly needsRoom: boolean;
  /** When to ask again though nothing has changed; undefined: not before something changes. */
  readonly nextMs: number | undefined;
}

/** Times that a test may shorten. */
export interface KeyringTimes {
  readonly rekeyAfterMs: number;
  readonly keySpreadMs: number;
  readonly keyRetireMs: number;
}

const TIMES: KeyringTimes = {
  rekeyAfterMs: REKEY_AFTER_MS,
  keySpreadMs: KEY_SPREAD_MS,
  keyRetireMs: KEY_RETIRE_MS,
};

/** A pair and its life so far, as an earlier process of this node left it. */
export interface KeyLife {
  readonly pair: SharedKeyPair;
  readonly madeMs: number;
  /** First seen in our own lease; Infinity: not yet. */
  readonly publishedMs: number;
  /** A newer one took its place in sending; Infinity: not yet. */
  readonly replacedMs: number;
}

interface OwnKey extends KeyLife {
  readonly text: string;
  readonly keyId: number;
  publishedMs: number;
  replacedMs: number;
}

/** The keys of one node in one cluster. Private halves are in memory only. */
export class Keyring {
  readonly #makeBytes: (count: number) => Uint8Array;
  readonly #times: KeyringTimes;
  readonly #kept: KeptState | undefined;
  readonly #switches: PeerSwitches;
  /** Newest first. */
  #own: OwnKey[] = [];
  #epoch = 0;
  /** When this node learned that sealing is not wanted; undefined while it is. */
  #unwantedMs: number | undefined;
  /** Since when our lease lists no key any more; undefined while it lists one. */
  #withdrawnMs: number | undefined;
  #isRekeyAsked = false;
  #publication: Publication | undefined;

  /** `kept`: where the pairs lie that shall outlive the process. */
  constructor(
    makeBytes: (count: number) => Uint8Array,
    times: Partial<KeyringTimes> = {},
    kept?: KeptState,
  ) {
    this.#makeBytes = makeBytes;
    this.#times = { ...TIMES, ...times };
    this.#kept = kept;
    this.#switches = new PeerSwitches(this.#times);
  }

  /** The pairs that there are, newest first. */
  get lives(): readonly KeyLife[] {
    return this.#own;
  }

  /** Goes on with the pairs of an earlier process, newest first. Before the first `update`. */
  resume(lives: readonly KeyLife[]): void {
    this.#own = lives.map((life) => ownKey(life));
    this.#epoch = lives[0]?.pair.publicKey.epoch ?? 0;
  }

  /** Asks for a new key pair at the next `update`, whatever the age of the present one. */
  rekey(): void {
    this.#isRekeyAsked = true;
  }

  /** Takes what the store says now and decides. Time never goes back. */
  update(input: KeyringInput): KeyringDecision {
    const { nowMs, isWanted, own } = input;
    if (isWanted) this.#unwantedMs = undefined;
    else this.#unwantedMs ??= nowMs;
    this.#noteOwnLease(own?.keys ?? [], nowMs);
    this.#notePublication(input);
    this.#switches.note(input, this.#publication, !isWanted && !this.#isWithdrawn(nowMs));
    if (isWanted) this.#makeIfNeeded(nowMs);
    this.#markReplaced(nowMs);
    this.#forget(nowMs, isWanted);
    const used = this.#chooseUsed(nowMs);
    const peers = this.#switches.decide(nowMs, used !== undefined);
    return {
      publish: isWanted || this.#isListedStill(input) ? this.#own.map(listed) : [],
      own: this.#own.map(({ pair }) => pair),
      sendEpoch: used?.pair.publicKey.epoch,
      peers,
      needsRoom: isWanted || (used !== undefined && hasSealed(peers)),
      nextMs: this.#nextMs(nowMs, isWanted),
    };
  }

  /** Forgets all private keys; the next `update` makes a new pair, as after a restart. */
  forget(): void {
    for (const { pair } of this.#own) forgetKeyPair(pair);
    this.#own = [];
    this.#publication = undefined;
  }

  /** Whether our lease lists keys although sealing is not wanted, and is to do so for a while. */
  #isListedStill({ nowMs, own }: KeyringInput): boolean {
    const unwantedForMs = nowMs - (this.#unwantedMs ?? nowMs);
    return (own?.keys.length ?? 0) > 0 && unwantedForMs < this.#times.keySpreadMs;
  }

  #noteOwnLease(keys: readonly ListedKey[], nowMs: number): void {
    for (const { epoch, publicKey } of keys) {
      // Epochs of an earlier life count on.
      this.#epoch = Math.max(this.#epoch, epoch);
      const key = this.#own.find(({ text }) => text === publicKey);
      if (key !== undefined) key.publishedMs = Math.min(key.publishedMs, nowMs);
    }
    if (keys.length > 0) this.#withdrawnMs = undefined;
    else this.#withdrawnMs ??= nowMs;
  }

  #notePublication({ nowMs, isWanted, own }: KeyringInput): void {
    if (!isWanted) this.#publication = undefined;
    else if (own?.keys.some(({ publicKey }) => this.#own.some(({ text }) => text === publicKey))) {
      this.#publication ??= { ms: nowMs, revision: own.revision };
    }
  }

  #makeIfNeeded(nowMs: number): void {
    const newest = this.#own[0];
    // One at a time: a key that nobody was told of is not replaced by another.
    const isWaiting = newest !== undefined && newest.publishedMs > nowMs;
    const isWanting = newest === undefined || (!isWaiting && this.#isDue(newest, nowMs));
    // Two keys with one id, once in many lives: only one of them can be found by it.
    const isDouble = newest !== undefined && this.#switches.hasKeyId(newest.keyId);
    if (this.#own.length === PUBLISHED_KEYS_MAX || !(isWanting || isDouble)) return;
    this.#isRekeyAsked = false;
    const secret = this.#makeBytes(EXCHANGE_KEY_SIZE);
    assert(Number.isSafeInteger(this.#epoch + 1), "epochs must not run out");
    const place = this.#kept?.takeSlot(new Set(this.#own.map(({ pair: { slot } }) => slot)));
    const pair = createKeyPair(++this.#epoch, secret, place);
    secret.fill(0);
    const [publishedMs, replacedMs] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    this.#own.unshift(ownKey({ pair, madeMs: nowMs, publishedMs, replacedMs }));
  }

  #isDue(key: OwnKey, nowMs: number): boolean {
    return (
      this.#isRekeyAsked ||
      nowMs - key.madeMs >= this.#times.rekeyAfterMs ||
      sealedCount(key.pair) >= REKEY_AFTER_PACKETS
    );
  }

  /** The key to send with: the newest that everybody must know, else the oldest published. */
  #chooseUsed(nowMs: number): OwnKey | undefined {
    const published = this.#own.filter((key) => key.publishedMs <= nowMs);
    const known = published.find((key) => nowMs - key.publishedMs >= this.#times.keySpreadMs);
    return known ?? published.at(-1);
  }

  #markReplaced(nowMs: number): void {
    const used = this.#chooseUsed(nowMs);
    if (used === undefined) return;
    for (const key of this.#own.slice(this.#own.indexOf(used) + 1)) {
      key.replacedMs = Math.min(key.replacedMs, nowMs);
    }
  }

  #forget(nowMs: number, isWanted: boolean): void {
    const isUseless = !isWanted && this.#isWithdrawn(nowMs) && !this.#switches.hasKeys;
    const isOver = (key: OwnKey) => isUseless || nowMs - key.replacedMs >= this.#times.keyRetireMs;
    for (const { pair } of this.#own.filter(isOver)) forgetKeyPair(pair);
    this.#own = this.#own.filter((key) => !isOver(key));
  }

  #isWithdrawn(nowMs: number): boolean {
    const since = this.#withdrawnMs;
    return since !== undefined && nowMs - since >= this.#times.keyRetireMs;
  }

  #nextMs(nowMs: number, isWanted: boolean): number | undefined {
    const { rekeyAfterMs, keySpreadMs, keyRetireMs } = this.#times;
    const times = this.#own.flatMap((key) => [
      key.publishedMs + keySpreadMs,
      key.replacedMs + keyRetireMs,
      key.madeMs + rekeyAfterMs,
    ]);
    if (isWanted) times.push(nowMs + SEALED_COUNT_CHECK_MS);
    else if (this.#own.length > 0) times.push((this.#withdrawnMs ?? nowMs) + keyRetireMs);
    if (this.#unwantedMs !== undefined && this.#withdrawnMs === undefined) {
      times.push(this.#unwantedMs + keySpreadMs);
    }
    times.push(this.#switches.nextMs(nowMs));
    const next = Math.min(...times.filter((ms) => ms > nowMs));
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }
}

function ownKey({ pair, madeMs, publishedMs, replacedMs }: KeyLife): OwnKey {
  const { bytes } = pair.publicKey;
  const text = Buffer.from(bytes).toString("hex");
  return { pair, text, keyId: keyIdOf(bytes), madeMs, publishedMs, replacedMs };
}

function hasSealed(peers: ReadonlyMap<NodeId, PeerDecision>): boolean {
  for (const peer of peers.values()) if (peer.seals) return true;
  return false;
}

function listed({ pair, text }: OwnKey): ListedKey {
  return { epoch: pair.publicKey.epoch, publicKey: text };
}
