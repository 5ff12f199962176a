import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeNodeId, decodeRevision } from "../../base/ids.ts";
import type { SharedKeyPair } from "./exchange-key.ts";
import { Keyring } from "./keyring.ts";
import {
  KEY_RETIRE_MS,
  KEY_SPREAD_MS,
  PLAIN_GRACE_MS,
  PUBLISHED_KEYS_MAX,
  REKEY_AFTER_MS,
  REKEY_AFTER_PACKETS,
  SWITCH_MAX_MS,
} from "./limits.ts";
import type { KeyringInput, ListedKey, ListedPeer } from "./listed-keys.ts";

const PEER = decodeNodeId(9);
const PEER_KEY = { epoch: 3, publicKey: "0b".repeat(32) };
const NEXT_PEER_KEY = { epoch: 4, publicKey: "0c".repeat(32) };

function seeded(seed: number): (count: number) => Uint8Array {
  let state = seed;
  return (count) =>
    Uint8Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    });
}

/** A keyring whose decisions reach its lease at once. */
class Rig {
  readonly keyring = new Keyring(seeded(1));
  nowMs = 1000;
  isWanted = true;
  own: readonly ListedKey[] | undefined;
  revision = 10;
  peers: ListedPeer[] = [];

  peer(keys: readonly ListedKey[], grantRevision = 1): void {
    this.peers = [{ node: PEER, keys, grantRevision: decodeRevision(grantRevision) }];
  }

  update() {
    const own =
      this.own === undefined
        ? undefined
        : { keys: this.own, revision: decodeRevision(this.revision) };
    const input: KeyringInput = {
      ...{ nowMs: this.nowMs, isWanted: this.isWanted, own, peers: this.peers },
    };
    return this.keyring.update(input);
  }

  /** Decides, writes the lease, and decides on what it then says. */
  settle() {
    this.own = this.update().publish;
    this.revision++;
    return this.update();
  }

  after(ms: number) {
    this.nowMs += ms;
    return this.settle();
  }

  of(decision: ReturnType<Rig["update"]>) {
    const { seals, refusesPlain } = decision.peers.get(PEER)!;
    return { seals, refusesPlain };
  }
}

const PLAIN = { seals: false, refusesPlain: false };
const BOTH = { seals: true, refusesPlain: false };
const SEALED = { seals: true, refusesPlain: true };

function isForgotten(pair: SharedKeyPair): boolean {
  return pair.memory.subarray(0, 32).every((byte) => byte === 0);
}

describe("Keyring: switching", () => {
  test("not wanted: no keys, plain packets, nothing to wait for", () => {
    const rig = new Rig();
    rig.isWanted = false;
    rig.own = [];
    rig.peer([]);
    const decision = rig.settle();
    expect([decision.publish, decision.own, decision.needsRoom]).toEqual([[], [], false]);
    expect(decision.nextMs).toBeUndefined();
    expect(decision.peers.size).toBe(0);
  });

  test("switched on: plain until both keys are known, then sealed, then nothing but sealed", () => {
    const rig = new Rig();
    rig.isWanted = false;
    rig.own = [];
    rig.peer([]);
    rig.settle();
    rig.isWanted = true;
    const first = rig.settle();
    expect([first.publish.length, first.needsRoom, rig.of(first)]).toEqual([1, true, PLAIN]);
    rig.peer([PEER_KEY]);
    expect(rig.of(rig.after(5000))).toEqual(PLAIN);
    expect(rig.of(rig.after(KEY_SPREAD_MS - 1))).toEqual(PLAIN);
    expect(rig.of(rig.after(1))).toEqual(BOTH);
    expect(rig.of(rig.after(PLAIN_GRACE_MS - 1))).toEqual(BOTH);
    expect(rig.of(rig.after(1))).toEqual(SEALED);
  });

  test("switched on, and a peer lists no key: after SWITCH_MAX_MS it is cut off", () => {
    const rig = new Rig();
    rig.isWanted = false;
    rig.own = [];
    rig.peer([]);
    rig.settle();
    rig.isWanted = true;
    rig.settle();
    expect(rig.of(rig.after(SWITCH_MAX_MS - 1))).toEqual(PLAIN);
    expect(rig.of(rig.after(1))).toEqual(SEALED);
  });

  test("a node whose lease listed keys when it started takes no plain packet ever", () => {
    const rig = new Rig();
    rig.own = [{ epoch: 7, publicKey: "aa".repeat(32) }];
    rig.peer([PEER_KEY]);
    expect(rig.of(rig.update())).toEqual(SEALED);
    expect(rig.update().sendEpoch).toBeUndefined();
    const decision = rig.settle();
    expect(decision.publish.map(({ epoch }) => epoch)).toEqual([8]);
    expect(decision.sendEpoch).toBe(8);
  });

  test("so does one that never had a lease; one that had a plain lease switches", () => {
    const rig = new Rig();
    rig.peer([PEER_KEY]);
    expect(rig.of(rig.settle())).toEqual(SEALED);
    const other = new Rig();
    other.own = [];
    other.peer([PEER_KEY]);
    expect(other.of(other.settle())).toEqual(PLAIN);
  });

  test("a peer that got its subnet after we published is sealed to at once", () => {
    const rig = new Rig();
    rig.own = [];
    rig.peer([PEER_KEY], 5);
    expect(rig.of(rig.settle())).toEqual(PLAIN);
    rig.peer([PEER_KEY], rig.revision + 1);
    expect(rig.of(rig.update())).toEqual(BOTH);
  });

  test("switched off: sealed as long as the peer lists keys, then plain; keys live on a while", () => {
    const rig = new Rig();
    rig.peer([PEER_KEY]);
    rig.settle();
    const [pair] = rig.after(KEY_SPREAD_MS).own;
    rig.isWanted = false;
    expect(rig.settle().publish.length).toBe(1);
    expect(rig.after(KEY_SPREAD_MS - 1).publish.length).toBe(1);
    rig.after(1);
    const off = rig.settle();
    expect([off.publish, off.own.length, off.needsRoom, rig.of(off)]).toEqual([[], 1, true, BOTH]);
    rig.peer([]);
    const plain = rig.after(100);
    expect([rig.of(plain), plain.needsRoom]).toEqual([PLAIN, false]);
    expect(plain.nextMs).toBe(rig.nowMs - 100 + KEY_RETIRE_MS);
    expect(plain.peers.get(PEER)!.retired.length).toBe(1);
    expect(rig.after(KEY_RETIRE_MS - 101).own.length).toBe(1);
    const end = rig.after(102);
    expect([end.own, end.peers.size]).toEqual([[], 0]);
    expect(isForgotten(pair!)).toBe(true);
    expect(end.nextMs).toBeUndefined();
  });

  test("switched off for a moment: the key stays listed, and who was sealed to stays so", () => {
    const rig = new Rig();
    rig.peer([PEER_KEY]);
    rig.settle();
    rig.after(KEY_SPREAD_MS);
    rig.isWanted = false;
    const off = rig.after(500);
    rig.isWanted = true;
    const on = rig.settle();
    expect([off.publish, rig.of(off)]).toEqual([on.publish, BOTH]);
    expect([on.publish.length, rig.of(on)]).toEqual([1, BOTH]);
  });

  test("switched off while a peer is cut off from the cluster: it is sealed to for ever", () => {
    const rig = new Rig();
    rig.peer([PEER_KEY]);
    rig.settle();
    rig.after(KEY_SPREAD_MS);
    rig.isWanted = false;
    rig.settle();
    expect(rig.of(rig.after(10 * KEY_RETIRE_MS))).toEqual(BOTH);
  });

  test("switched off before the peer can know our key: sealing does not begin any more", () => {
    const rig = new Rig();
    rig.isWanted = false;
    rig.own = [];
    rig.peer([]);
    rig.settle();
    rig.isWanted = true;
    rig.settle();
    rig.peer([PEER_KEY]);
    expect(rig.of(rig.after(300))).toEqual(PLAIN);
    rig.isWanted = false;
    expect(rig.of(rig.after(300))).toEqual(PLAIN);
    expect(rig.of(rig.after(KEY_SPREAD_MS))).toEqual(PLAIN);
  });

  test("off and on again: peers are given the time to learn the key again", () => {
    const rig = new Rig();
    rig.peer([PEER_KEY]);
    rig.settle();
    rig.isWanted = false;
    rig.settle();
    rig.peer([]);
    rig.after(50);
    rig.isWanted = true;
    rig.peer([NEXT_PEER_KEY]);
    expect(rig.of(rig.after(50))).toEqual(PLAIN);
    expect(rig.of(rig.after(KEY_SPREAD_MS))).toEqual(BOTH);
  });
});

describe("Keyring: rotation", () => {
  const start = () => {
    const rig = new Rig();
    rig.peer([PEER_KEY]);
    rig.settle();
    return rig;
  };

  test("after an hour: made, published, used ten seconds later, the old one forgotten", () => {
    const rig = start();
    expect(rig.after(REKEY_AFTER_MS - 1).publish.length).toBe(1);
    const next = rig.after(1);
    expect(next.publish.map(({ epoch }) => epoch)).toEqual([2, 1]);
    expect([next.own.length, next.sendEpoch]).toEqual([2, 1]);
    const [, old] = next.own;
    expect(rig.after(KEY_SPREAD_MS - 1).sendEpoch).toBe(1);
    expect(rig.after(1).sendEpoch).toBe(2);
    expect(rig.after(KEY_RETIRE_MS - 1).own.length).toBe(2);
    expect(isForgotten(old!)).toBe(false);
    const end = rig.after(1);
    expect(end.publish.map(({ epoch }) => epoch)).toEqual([2]);
    expect(isForgotten(old!)).toBe(true);
  });

  test("after 2^32 packets, whenever that is", () => {
    const rig = start();
    const [pair] = rig.update().own;
    new Float64Array(pair!.memory.buffer)[5] = REKEY_AFTER_PACKETS - 1;
    expect(rig.after(1000).own.length).toBe(1);
    new Float64Array(pair!.memory.buffer)[5] = REKEY_AFTER_PACKETS;
    expect(rig.after(1000).own.length).toBe(2);
  });

  test("a key that could not be published is not used, and no other is made meanwhile", () => {
    const rig = start();
    rig.nowMs += REKEY_AFTER_MS;
    for (let hour = 0; hour < 5; hour++) {
      rig.nowMs += REKEY_AFTER_MS;
      const decision = rig.update();
      expect([decision.own.length, decision.sendEpoch]).toEqual([2, 1]);
    }
    rig.settle();
    expect(rig.after(KEY_SPREAD_MS).sendEpoch).toBe(2);
  });

  test("asked for again and again: never more keys than a lease may list", () => {
    const rig = start();
    for (let i = 0; i < 20; i++) {
      rig.keyring.rekey();
      const { publish, own } = rig.after(KEY_SPREAD_MS);
      expect(publish.length).toBeLessThanOrEqual(PUBLISHED_KEYS_MAX);
      expect(own.length).toBe(publish.length);
    }
  });

  test("the id of a peer's key is the id of ours: another pair is made", () => {
    const rig = start();
    const mine = rig.update().publish[0]!;
    rig.peer([{ epoch: 1, publicKey: mine.publicKey }]);
    expect(rig.settle().publish.length).toBe(2);
    expect(rig.settle().publish.length).toBe(2);
  });

  test("a peer's replaced key opens for KEY_RETIRE_MS more", () => {
    const rig = start();
    rig.peer([NEXT_PEER_KEY]);
    const peer = rig.settle().peers.get(PEER)!;
    expect([peer.keys[0]!.epoch, peer.retired[0]!.epoch, peer.seals]).toEqual([4, 3, true]);
    expect(rig.after(KEY_RETIRE_MS).peers.get(PEER)!.retired).toEqual([]);
  });

  test("nextMs is never in the past, and following it alone changes all that time changes", () => {
    const rig = start();
    for (let step = 0; step < 200; step++) {
      const { nextMs } = rig.settle();
      expect(nextMs!).toBeGreaterThan(rig.nowMs);
      rig.nowMs = nextMs!;
    }
    expect(rig.update().publish[0]!.epoch).toBeGreaterThan(1);
  });

  test("forget: every private key is zeroed, and the next update makes a new one", () => {
    const rig = start();
    const { own } = rig.update();
    rig.keyring.forget();
    expect(own.every(isForgotten)).toBe(true);
    expect(rig.settle().sendEpoch).toBe(2);
  });
});

test("Keyring: seventy thousand peers are no more than a loop", () => {
  const rig = new Rig();
  const keys = [PEER_KEY];
  const grantRevision = decodeRevision(1);
  for (let node = 1; node <= 70_000; node++) {
    rig.peers.push({ node: decodeNodeId(node), keys, grantRevision });
  }
  rig.own = [];
  const decision = rig.settle();
  expect([decision.peers.size, decision.nextMs]).toEqual([70_000, rig.nowMs + KEY_SPREAD_MS]);
});

describe("Keyring: anything", () => {
  test("the used key is always published and known; forgotten ones never come back", () => {
    const step = fc.record({
      ms: fc.integer({ min: 0, max: 200_000 }),
      isWanted: fc.boolean(),
      peerKeys: fc.integer({ min: 0, max: 2 }),
      isWritten: fc.boolean(),
      rekey: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const rig = new Rig();
        const gone = new Set<SharedKeyPair>();
        let before: readonly SharedKeyPair[] = [];
        for (const { ms, isWanted, peerKeys, isWritten, rekey } of steps) {
          rig.nowMs += ms;
          rig.isWanted = isWanted;
          rig.peer([NEXT_PEER_KEY, PEER_KEY].slice(2 - peerKeys));
          if (rekey) rig.keyring.rekey();
          const decision = isWritten ? rig.settle() : rig.update();
          const epochs = decision.own.map(({ publicKey }) => publicKey.epoch);
          expect(epochs).toEqual([...epochs].sort((a, b) => b - a));
          if (decision.sendEpoch !== undefined) expect(epochs).toContain(decision.sendEpoch);
          for (const pair of before) if (!decision.own.includes(pair)) gone.add(pair);
          for (const pair of decision.own) expect(gone.has(pair)).toBe(false);
          for (const pair of gone) expect(isForgotten(pair)).toBe(true);
          before = decision.own;
        }
      }),
      { numRuns: 100 },
    );
  });
});
