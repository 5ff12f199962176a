import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import vectors from "../../../tests/vectors/seal.json";
import { decodeNodeId } from "../../base/ids.ts";
import { createKeyPair, forgetKeyPair, keyIdOf, LoopKeyPair, sealedCount } from "./exchange-key.ts";
import { SEAL_FAULT } from "./frame.ts";
import { deriveSession } from "./key-schedule.ts";
import {
  REJECT_AFTER_PACKETS,
  REPLAY_WINDOW_PACKETS,
  SEAL_INCARNATION_COUNT,
  SEAL_OVERHEAD,
  SEAL_SEQUENCE_COUNT,
} from "./limits.ts";
import { SealNode, sealPair, secretOf, TEST_CLUSTER } from "./seal-pair.fake.ts";
import { slowPublicKey, slowSeal, slowX25519 } from "./seal-twin.fake.ts";

const hex = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const PACKET = Uint8Array.from({ length: 84 }, (_, i) => (i === 0 ? 0x45 : (i * 5) & 0xff));

describe("vectors made by another hand", () => {
  for (const one of vectors.cases) {
    test(one.name, async () => {
      const parties = [one.sender, one.receiver].map(({ node, epoch, secret }) => ({
        node,
        epoch,
        secret: hex(secret),
        pair: createKeyPair(epoch, hex(secret)),
      }));
      const [sender, receiver] = [parties[0]!, parties[1]!];
      expect(toHex(sender.pair.publicKey.bytes)).toBe(one.sender.public);
      expect(keyIdOf(receiver.pair.publicKey.bytes)).toBe(Number(`0x${one.receiver.keyId}`));
      const shared = new LoopKeyPair(sender.pair).agree(receiver.pair.publicKey.bytes)!;
      const context = { clusterId: hex(one.clusterId), generation: one.generation };
      const party = ({ node, pair }: (typeof parties)[number]) => ({
        node: decodeNodeId(node),
        publicKey: pair.publicKey,
      });
      const direction = { sender: party(sender), receiver: party(receiver) };
      const { key, salt } = deriveSession(shared, context, direction);
      expect([toHex(key), toHex(salt)]).toEqual([one.key, one.salt]);
      const twin = await slowSeal({
        ...{ clusterId: context.clusterId, generation: one.generation, sender, receiver },
        ...{ counter: BigInt(one.counter), inner: hex(one.inner) },
      });
      expect(toHex(twin)).toBe(one.sealed);
    });
  }
});

describe("X25519", () => {
  test("agrees with the slow twin, both ways", () => {
    for (const seed of [1, 2, 77]) {
      const pair = createKeyPair(1, secretOf(seed));
      expect(toHex(slowPublicKey(secretOf(seed)))).toBe(toHex(pair.publicKey.bytes));
      const other = createKeyPair(1, secretOf(seed + 100));
      const shared = new LoopKeyPair(pair).agree(other.publicKey.bytes)!;
      expect(toHex(shared)).toBe(toHex(slowX25519(secretOf(seed), other.publicKey.bytes)));
      expect(toHex(new LoopKeyPair(other).agree(pair.publicKey.bytes)!)).toBe(toHex(shared));
    }
  });

  test("keys of small order agree on nothing (RFC 7748 §6.1)", () => {
    const pair = new LoopKeyPair(createKeyPair(1, secretOf(1)));
    const one = new Uint8Array(32);
    one[0] = 1;
    const order8 = hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
    for (const bad of [new Uint8Array(32), one, order8]) expect(pair.agree(bad)).toBeUndefined();
  });

  test("a forgotten pair agrees on nothing", () => {
    const shared = createKeyPair(1, secretOf(1));
    const peer = createKeyPair(1, secretOf(2)).publicKey.bytes;
    const pair = new LoopKeyPair(shared);
    expect(pair.agree(peer)).toBeDefined();
    forgetKeyPair(shared);
    expect(pair.agree(peer)).toBeUndefined();
    expect(shared.memory.subarray(0, 32).every((byte) => byte === 0)).toBe(true);
  });
});

describe("sealing between two nodes", () => {
  test("what one seals the other opens, in one piece or two, and names the sender", async () => {
    const { a, b } = sealPair();
    const first = a.seal(5, PACKET);
    expect(first.length).toBe(PACKET.length + SEAL_OVERHEAD);
    expect(b.open(first)).toEqual({ slot: 3, inner: PACKET });
    expect(b.open(a.seal(5, PACKET, 40), 7)).toEqual({ slot: 3, inner: PACKET });
    expect(a.open(b.seal(3, PACKET))).toEqual({ slot: 5, inner: PACKET });
    const sender = { node: 101, epoch: 1, secret: secretOf(101) };
    const receiver = { node: 202, epoch: 1, secret: secretOf(202) };
    const common = { clusterId: TEST_CLUSTER, generation: 1, sender, receiver, inner: PACKET };
    expect(toHex(first)).toBe(toHex(await slowSeal({ ...common, counter: 0n })));
  });

  test("equal packets become different datagrams, and nothing of them shows", () => {
    const { a } = sealPair();
    const sealed = Array.from({ length: 50 }, () => toHex(a.seal(5, PACKET)));
    expect(new Set(sealed.map((text) => text.slice(32))).size).toBe(50);
    for (const text of sealed) expect(text.includes(toHex(PACKET.subarray(4, 12)))).toBe(false);
  });

  test("every single bit flipped: refused, and the packet itself passes afterwards", () => {
    const { a, b } = sealPair();
    const sealed = a.seal(5, PACKET.subarray(0, 40));
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const changed = Uint8Array.from(sealed);
      changed[bit >>> 3] = changed[bit >>> 3]! ^ (1 << (bit & 7));
      const result = b.open(changed);
      // The first eight bytes name the session; a counter beyond the limits needs no opening.
      const expected = bit < 64 ? SEAL_FAULT.UNKNOWN_KEY : SEAL_FAULT.FORGED;
      expect(result).toBe(expected);
    }
    expect(b.open(sealed)).toEqual({ slot: 3, inner: PACKET.subarray(0, 40) });
  });

  test("cut at every length, and longer: refused", () => {
    const { a, b } = sealPair();
    const sealed = a.seal(5, PACKET);
    for (let length = 0; length < sealed.length; length++) {
      const expected = length <= SEAL_OVERHEAD ? SEAL_FAULT.SHORT : SEAL_FAULT.FORGED;
      expect(b.open(sealed.subarray(0, length))).toBe(expected);
    }
    expect(b.open(Uint8Array.from([...sealed, 0]))).toBe(SEAL_FAULT.FORGED);
    expect(b.open(sealed)).toEqual({ slot: 3, inner: PACKET });
  });

  test("replayed: refused; reordered: passed as far as the window reaches", () => {
    const { a, b } = sealPair();
    const all = Array.from({ length: REPLAY_WINDOW_PACKETS + 65 }, () => a.seal(5, PACKET));
    const [first, second] = [all[0]!, all[64]!];
    for (const datagram of all.slice(65).reverse()) expect(b.open(datagram)).toBeObject();
    expect(b.open(all.at(-1)!)).toBe(SEAL_FAULT.REPLAYED);
    expect(b.open(all[65]!)).toBe(SEAL_FAULT.REPLAYED);
    expect(b.open(first)).toBe(SEAL_FAULT.REPLAYED);
    expect(b.open(second)).toBe(SEAL_FAULT.REPLAYED);
  });

  test("a forged packet with a far counter moves no window", () => {
    const { a, b } = sealPair();
    const datagrams = [a.seal(5, PACKET), a.seal(5, PACKET)];
    const forged = Uint8Array.from(datagrams[1]!);
    forged[12] = 0xff;
    expect(b.open(forged)).toBe(SEAL_FAULT.FORGED);
    for (const datagram of datagrams) expect(b.open(datagram)).toBeObject();
  });

  test("reflected to its sender, or brought to a third node: unknown", () => {
    const { a, b } = sealPair();
    const c = new SealNode(303);
    c.peers = [a.asPeer(0), b.asPeer(1)];
    c.publish();
    const sealed = a.seal(5, PACKET);
    expect(a.open(sealed)).toBe(SEAL_FAULT.UNKNOWN_KEY);
    expect(c.open(sealed)).toBe(SEAL_FAULT.UNKNOWN_KEY);
    // With the words of another direction in front, it is not what that direction's key sealed.
    const dressed = Uint8Array.from(sealed);
    dressed.set(b.seal(3, PACKET).subarray(0, 8));
    expect(a.open(dressed)).toBe(SEAL_FAULT.FORGED);
  });

  test("another epoch, node, generation or cluster has other keys", () => {
    for (const change of ["epoch", "node", "generation"] as const) {
      const { a, b } = sealPair();
      const sealed = a.seal(5, PACKET);
      const peer = a.asPeer(3);
      if (change === "epoch") b.peers = [{ ...peer, keys: [{ ...peer.keys[0]!, epoch: 2 }] }];
      if (change === "node") b.peers = [{ ...peer, node: decodeNodeId(102) }];
      if (change === "generation") b.generation = 2;
      b.publish();
      expect(b.open(sealed)).toBe(SEAL_FAULT.FORGED);
    }
  });

  test("anything at all: nothing throws, nothing passes", () => {
    const { a, b } = sealPair();
    const sealed = a.seal(5, PACKET);
    const mutation = fc.record({
      keep: fc.integer({ min: 0, max: 20 }),
      rest: fc.uint8Array({ maxLength: 200 }),
    });
    fc.assert(
      fc.property(mutation, ({ keep, rest }) => {
        const datagram = Uint8Array.from([...sealed.subarray(0, keep), ...rest]);
        expect(b.open(datagram)).toBeNumber();
      }),
      { numRuns: 2000 },
    );
    expect(b.open(sealed)).toBeObject();
  });
});

describe("SessionTable", () => {
  test("a new key of ours and of the peer: old and new packets pass until the old is gone", () => {
    const { a, b } = sealPair();
    const old = [a.seal(5, PACKET), a.seal(5, PACKET)];
    a.own = [...a.own, createKeyPair(2, secretOf(7))];
    b.peers = [a.asPeer(3)];
    b.publish();
    a.sendEpoch = 2;
    a.publish();
    expect(b.open(old[0]!)).toBeObject();
    expect(b.open(a.seal(5, PACKET))).toEqual({ slot: 3, inner: PACKET });
    // b already seals to the new key; what it sealed before still opens.
    const toNew = b.seal(3, PACKET);
    expect(a.open(toNew)).toEqual({ slot: 5, inner: PACKET });
    a.own = a.own.slice(1);
    a.publish();
    b.peers = [a.asPeer(3)];
    b.publish();
    expect(b.open(old[1]!)).toBe(SEAL_FAULT.UNKNOWN_KEY);
    expect(b.open(a.seal(5, PACKET))).toBeObject();
  });

  test("windows and counters outlive a change of table and of slots", () => {
    const { a, b } = sealPair();
    const sealed = a.seal(5, PACKET);
    expect(b.open(sealed)).toBeObject();
    a.peers = [b.asPeer(9)];
    a.publish();
    b.peers = [new SealNode(404).asPeer(3), a.asPeer(4)];
    b.publish();
    expect(b.open(sealed)).toBe(SEAL_FAULT.REPLAYED);
    expect(a.trySeal(5, PACKET)).toBe(SEAL_FAULT.NO_KEY);
    expect(b.open(a.seal(9, PACKET))).toEqual({ slot: 4, inner: PACKET });
  });

  test("a peer that goes and comes back, and a loop made anew, never repeat a counter", () => {
    const { a, b } = sealPair();
    const counters = new Set<string>();
    const take = (node: SealNode) => {
      const sealed = node.seal(5, PACKET);
      counters.add(toHex(sealed.subarray(4, 16)));
      expect(b.open(sealed)).toBeObject();
    };
    take(a);
    take(a);
    a.peers = [];
    a.publish();
    a.peers = [b.asPeer(5)];
    a.publish();
    take(a);
    const again = new SealNode(101);
    again.own = a.own;
    again.peers = a.peers;
    again.publish();
    take(again);
    expect(counters.size).toBe(4);
    expect(sealedCount(a.own[0]!)).toBe(4);
  });

  test("two keys with one id: the first stays, nothing breaks", () => {
    const { a, b } = sealPair();
    const double = { ...a.asPeer(8), node: decodeNodeId(999) };
    b.peers = [a.asPeer(3), double];
    b.publish();
    expect(b.open(a.seal(5, PACKET))).toEqual({ slot: 3, inner: PACKET });
    expect(b.trySeal(8, PACKET)).toBe(SEAL_FAULT.NO_KEY);
  });

  test("a peer with a key of small order: nothing is sealed to it, nothing from it opens", () => {
    const { a, b } = sealPair();
    const sealed = a.seal(5, PACKET);
    const bad = { epoch: 1, bytes: new Uint8Array(32) };
    b.peers = [{ slot: 3, node: decodeNodeId(101), keys: [bad] }];
    b.publish();
    expect(b.trySeal(3, PACKET)).toBe(SEAL_FAULT.NO_KEY);
    expect(b.open(sealed)).toBe(SEAL_FAULT.UNKNOWN_KEY);
  });

  test("close forgets every session", () => {
    const { a, b } = sealPair();
    const sealed = a.seal(5, PACKET);
    a.sessions.close();
    b.sessions.close();
    expect(a.trySeal(5, PACKET)).toBe(SEAL_FAULT.NO_KEY);
    expect(b.open(sealed)).toBe(SEAL_FAULT.UNKNOWN_KEY);
  });
});

describe("counters at their ends", () => {
  const words = (node: SealNode) => new Int32Array(node.own[0]!.memory.buffer);
  const floats = (node: SealNode) => new Float64Array(node.own[0]!.memory.buffer);

  test("after REJECT_AFTER_PACKETS nothing is sealed any more", () => {
    const { a } = sealPair();
    floats(a)[5] = REJECT_AFTER_PACKETS - 1;
    expect(a.trySeal(5, PACKET)).toBeInstanceOf(Uint8Array);
    expect(a.trySeal(5, PACKET)).toBe(SEAL_FAULT.USED_UP);
    expect(a.trySeal(5, PACKET)).toBe(SEAL_FAULT.USED_UP);
  });

  test("after the last incarnation no session begins, and the number does not come round", () => {
    const { a } = sealPair();
    words(a)[8] = SEAL_INCARNATION_COUNT - 1;
    const sealed = a.seal(5, PACKET);
    expect(toHex(sealed.subarray(8, 16))).toBe("001fffff00000000");
    a.peers = [];
    a.publish();
    a.peers = [new SealNode(202).asPeer(5)];
    a.publish();
    for (let i = 0; i < 5; i++) expect(a.trySeal(5, PACKET)).toBe(SEAL_FAULT.USED_UP);
    expect(words(a)[8]).toBe(SEAL_INCARNATION_COUNT);
  });

  test("a counter that no sender makes is refused unopened", () => {
    const { a, b } = sealPair();
    const sealed = a.seal(5, PACKET);
    new DataView(sealed.buffer).setUint32(8, SEAL_INCARNATION_COUNT);
    expect(b.open(sealed)).toBe(SEAL_FAULT.FORGED);
    expect(SEAL_INCARNATION_COUNT * SEAL_SEQUENCE_COUNT).toBeLessThanOrEqual(2 ** 53);
  });
});
