/**
 * Keeps this node's keys for sealed packets: feeds the keyring with what the store says, and turns
 * its decisions into what the lease lists and what the data plane does.
 *
 * Private keys are made here and live in memory only. Where that memory is the kept state, which
 * outlives the process with all windows against replays, the next process goes on with them.
 * Without one they end with the process, and a packet engine that is opened anew gets new keys.
 *
 * @module
 */
import type { ClusterId, NodeId } from "../base/ids.ts";
import type { SealKey } from "../control/network/seal-key.ts";
import type { NetworkView } from "../control/network/view.ts";
import { KeptKeys } from "../dataplane/seal/kept-keys.ts";
import type { KeptState } from "../dataplane/seal/kept-state.ts";
import { Keyring, type KeyringDecision, type KeyringTimes } from "../dataplane/seal/keyring.ts";
import { SEAL_OVERHEAD } from "../dataplane/seal/limits.ts";
import type { ListedPeer } from "../dataplane/seal/listed-keys.ts";
import type { PeerDecision } from "../dataplane/seal/peer-switches.ts";
import type { Clock, Random } from "../host/ports.ts";
import type { SealSetting } from "./seal-link.ts";

export interface SealKeeperOptions {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  readonly generation: number;
  /** The packet engine that runs; another one than at the last `update` gets new keys. */
  readonly engine: () => object | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /** Absent: no key outlives this process. */
  readonly kept?: KeptSeal;
  /** Other times than the usual, for tests. */
  readonly times?: Partial<KeyringTimes>;
}

/** The kept state of this machine's agent, and the clock of its times. */
export interface KeptSeal {
  readonly state: KeptState;
  /** Milliseconds of a monotonic clock that all processes of the machine share. */
  readonly sharedMs: () => number;
}

/** What the data plane is to do about sealing. */
export interface SealPlan {
  readonly setting: SealSetting;
  /** Whether the network config asks for sealed packets. */
  readonly isWanted: boolean;
  /** Bytes to leave free in each packet. */
  readonly overhead: number;
  readonly peers: ReadonlyMap<NodeId, PeerDecision>;
}

const NOBODY: KeyringDecision = {
  publish: [],
  own: [],
  sendEpoch: undefined,
  peers: new Map(),
  needsRoom: false,
  nextMs: undefined,
};

/** The keys of one node for as long as it is in one cluster. */
export class SealKeeper {
  readonly #options: SealKeeperOptions;
  readonly #keyring: Keyring;
  readonly #keptKeys: KeptKeys | undefined;
  #decision = NOBODY;
  #isWanted = false;
  #engine: object | undefined;

  constructor(options: SealKeeperOptions) {
    const { nodeId: node, clusterId, generation, clock, kept } = options;
    this.#options = options;
    const makeBytes = (count: number) => options.random.bytes(count);
    this.#keyring = new Keyring(makeBytes, options.times, kept?.state);
    if (kept === undefined) return;
    const times = { nowMs: clock.nowMs(), sharedMs: kept.sharedMs() };
    this.#keptKeys = new KeptKeys(kept.state, { clusterId, generation, node }, times);
    this.#keyring.resume(this.#keptKeys.recall(times.nowMs));
    // Keys of another cluster end here.
    this.#keptKeys.keep(this.#keyring.lives);
  }

  /** Keys that this node's lease shall list. */
  get publish(): readonly SealKey[] {
    return this.#decision.publish;
  }

  /** When to `update` again though nothing has changed; undefined: not before something does. */
  get nextMs(): number | undefined {
    return this.#decision.nextMs;
  }

  get plan(): SealPlan {
    const { nodeId: node, clusterId, generation } = this.#options;
    const { own, sendEpoch, peers, needsRoom } = this.#decision;
    const context = { clusterId: new Uint8Array(Buffer.from(clusterId, "hex")), generation };
    return {
      setting: { context, node, own, sendEpoch, peers },
      isWanted: this.#isWanted,
      overhead: needsRoom ? SEAL_OVERHEAD : 0,
      peers,
    };
  }

  /** Decides anew by what the store says now. */
  update(view: NetworkView): void {
    const engine = this.#options.engine();
    const isNew = this.#engine !== undefined && engine !== this.#engine;
    if (isNew && this.#keptKeys === undefined) this.#keyring.forget();
    this.#engine = engine;
    const config = view.config?.config.backend;
    this.#isWanted = config?.kind === "udp" && config.encryption === "aes-256-gcm";
    const mine = view.byNode.get(this.#options.nodeId);
    const peers: ListedPeer[] = [];
    for (const { node, attributes, grantRevision } of view.leases.values()) {
      if (node === this.#options.nodeId) continue;
      const { backend } = attributes;
      const keys = backend.kind === "udp" ? (backend.sealKeys ?? []) : [];
      peers.push({ node, keys, grantRevision });
    }
    const own = mine?.attributes.backend;
    this.#decision = this.#keyring.update({
      nowMs: this.#options.clock.nowMs(),
      isWanted: this.#isWanted,
      own: mine && {
        keys: own?.kind === "udp" ? (own.sealKeys ?? []) : [],
        revision: mine.modRevision,
      },
      peers,
    });
    this.#keptKeys?.keep(this.#keyring.lives);
  }

  /** Forgets every private key that is not kept for the next process. */
  close(): void {
    if (this.#keptKeys === undefined) this.#keyring.forget();
  }
}
