/**
 * A node's key pairs into the kept state and out of it again, with the clock of one process turned
 * into the one that all processes of the machine share.
 *
 * @module
 */
import type { ClusterId, NodeId } from "../../base/ids.ts";
import { findKeyPair } from "./exchange-key.ts";
import type { KeptKey, KeptState } from "./kept-state.ts";
import type { KeyLife } from "./keyring.ts";

/** Whose keys they are: those of another owner are not gone on with. */
export interface KeyOwner {
  readonly clusterId: ClusterId;
  readonly generation: number;
  readonly node: NodeId;
}

/** Two clocks at one time. */
export interface ClockPair {
  /** Of this process. */
  readonly nowMs: number;
  /** Of the machine, the same in all its processes. */
  readonly sharedMs: number;
}

/** Keeps the times of one machine's processes apart. */
export class KeptKeys {
  readonly #state: KeptState;
  readonly #owner: KeyOwner;
  /** What to add to a time of this process. */
  readonly #offsetMs: number;
  #saved = "";

  constructor(state: KeptState, owner: KeyOwner, { nowMs, sharedMs }: ClockPair) {
    this.#state = state;
    this.#owner = owner;
    this.#offsetMs = sharedMs - nowMs;
  }

  /** The pairs that an earlier process kept for this owner: all of them, or none. */
  recall(nowMs: number): readonly KeyLife[] {
    const record = this.#state.load();
    const { clusterId, generation, node } = this.#owner;
    if (record?.clusterId !== clusterId || record.generation !== generation) return [];
    if (record.node !== node) return [];
    const lives = record.keys.map((key) => this.#lifeOf(key, nowMs));
    return lives.every((life) => life !== undefined) ? lives : [];
  }

  /** Keeps `lives` and forgets all others. To be called before any of them is made known. */
  keep(lives: readonly KeyLife[]): void {
    const keys = lives.flatMap(({ pair, madeMs, publishedMs, replacedMs }): KeptKey[] => {
      if (pair.slot === undefined) return [];
      return [
        {
          slot: pair.slot,
          epoch: pair.publicKey.epoch,
          publicKey: Buffer.from(pair.publicKey.bytes).toString("hex"),
          madeMs: madeMs + this.#offsetMs,
          publishedMs: this.#sharedMs(publishedMs),
          replacedMs: this.#sharedMs(replacedMs),
        },
      ];
    });
    const record = { ...this.#owner, keys };
    const text = JSON.stringify(record);
    if (text === this.#saved) return;
    this.#state.save(record);
    this.#saved = text;
  }

  #lifeOf(key: KeptKey, nowMs: number): KeyLife | undefined {
    const { slot, epoch, publicKey } = key;
    const bytes = new Uint8Array(Buffer.from(publicKey, "hex"));
    const pair = findKeyPair({ epoch, bytes }, { slot, memory: this.#state.memoryOf(slot) });
    const madeMs = key.madeMs - this.#offsetMs;
    const publishedMs = this.#ownMs(key.publishedMs);
    const replacedMs = this.#ownMs(key.replacedMs);
    const isPast = [madeMs, publishedMs, replacedMs].every(
      (ms) => ms <= nowMs || ms === Number.POSITIVE_INFINITY,
    );
    return pair !== undefined && isPast ? { pair, madeMs, publishedMs, replacedMs } : undefined;
  }

  #sharedMs(ms: number): number | null {
    return ms === Number.POSITIVE_INFINITY ? null : ms + this.#offsetMs;
  }

  #ownMs(ms: number | null): number {
    return ms === null ? Number.POSITIVE_INFINITY : ms - this.#offsetMs;
  }
}
