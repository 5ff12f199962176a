/**
 * Nodes that are killed and begin again on the memory of the last process: the same keys, no nonce
 * twice, no packet twice.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeNodeId, decodeRevision, parseClusterId } from "../../base/ids.ts";
import { createWireMemory } from "../wire/memory.ts";
import { LoopKeyPair } from "./exchange-key.ts";
import { openPacket, sealPacket } from "./frame.ts";
import { KeptKeys } from "./kept-keys.ts";
import { formatKeptState, KEPT_STATE_SIZE, KeptState, KeptWindows } from "./kept-state.ts";
import { Keyring, type KeyringDecision } from "./keyring.ts";
import { KEY_RETIRE_MS, REKEY_AFTER_MS } from "./limits.ts";
import type { ListedKey } from "./listed-keys.ts";
import { createNodeAead } from "./node-aead.ts";
import { encodePeerKeys } from "./peer-keys.ts";
import { TEST_CLUSTER } from "./seal-pair.fake.ts";
import { SessionTable } from "./session-table.ts";

const CLUSTER = parseClusterId("0a".repeat(16))!;
const INNER = Uint8Array.from({ length: 40 }, (_, i) => 0x45 + i);
const NOW_MS = 5000;

let fill = 0;
const bytes = (count: number) => new Uint8Array(count).fill(++fill & 0xff).fill(fill >>> 8, 1, 2);

/** One node of two. Its memory outlives its processes, and so does what its lease lists. */
class KeptNode {
  readonly id: number;
  readonly memory = new ArrayBuffer(KEPT_STATE_SIZE);
  readonly packets = createWireMemory(1024);
  listed: readonly ListedKey[] = [];
  keyring!: Keyring;
  sessions!: SessionTable;
  decision!: KeyringDecision;
  keys!: KeptKeys;
  node = 1;
  #offsetMs = 1000;

  constructor(id: number) {
    this.id = id;
    formatKeptState(this.memory);
    this.begin(0);
  }

  /** A new process: nothing is left but the memory. Its clock begins anew. */
  begin(sharedMs: number): void {
    this.#offsetMs = sharedMs;
    const state = new KeptState(this.memory);
    const owner = { clusterId: CLUSTER, generation: 1, node: decodeNodeId(this.id) };
    this.keys = new KeptKeys(state, owner, { nowMs: NOW_MS, sharedMs: sharedMs + NOW_MS });
    this.keyring = new Keyring(bytes, {}, state);
    this.keyring.resume(this.keys.recall(NOW_MS));
    this.keys.keep(this.keyring.lives);
    this.sessions = new SessionTable(createNodeAead(this.packets), new KeptWindows(this.memory));
  }

  look(sharedMs: number, other: KeptNode): void {
    const peer = { node: decodeNodeId(other.id), keys: other.listed };
    this.decision = this.keyring.update({
      nowMs: sharedMs - this.#offsetMs + NOW_MS,
      isWanted: true,
      own: { keys: this.listed, revision: decodeRevision(1) },
      peers: [{ ...peer, grantRevision: decodeRevision(1) }],
    });
    this.keys.keep(this.keyring.lives);
    this.listed = this.decision.publish;
    this.sessions.use({
      context: { clusterId: TEST_CLUSTER, generation: 1 },
      node: decodeNodeId(this.id),
      own: this.decision.own,
      sendEpoch: this.decision.sendEpoch,
      peers: encodePeerKeys(
        [...this.decision.peers].map(([node, { keys, retired }]) => ({
          ...{ slot: 0, node, keys, retired },
        })),
      ),
    });
  }

  seal(): Uint8Array | undefined {
    this.packets.bytes.set(INNER, 512);
    const job = { slot: 0, at: 0, head: 512, headLength: INNER.length, tail: 0, tailLength: 0 };
    const length = sealPacket(this.sessions, this.packets, job);
    return length < 0 ? undefined : this.packets.bytes.slice(0, length);
  }

  open(datagram: Uint8Array): boolean {
    this.packets.bytes.set(datagram);
    return openPacket(this.sessions, this.packets, 0, datagram.length) === 0;
  }
}

function openPair(): [KeptNode, KeptNode] {
  const [a, b] = [new KeptNode(1), new KeptNode(2)];
  for (let round = 0; round < 3; round++) {
    a.look(0, b);
    b.look(0, a);
  }
  return [a, b];
}

describe("a node that begins again", () => {
  test("goes on with its keys: the lease stays, what was sealed meanwhile opens, once", () => {
    const [a, b] = openPair();
    expect(b.open(a.seal()!)).toBe(true);
    const seen = b.seal()!;
    expect(a.open(seen)).toBe(true);
    const listed = a.listed;
    const waiting = [b.seal()!, b.seal()!];
    a.begin(300);
    a.look(300, b);
    expect(a.listed).toEqual(listed);
    expect(waiting.map((datagram) => a.open(datagram))).toEqual([true, true]);
    expect([seen, ...waiting].map((datagram) => a.open(datagram))).toEqual([false, false, false]);
    expect(b.open(a.seal()!)).toBe(true);
  });

  test("whenever it is killed: no counter comes twice, and no packet is taken twice", () => {
    const step = fc.record({
      what: fc.constantFrom("send", "send", "answer", "kill", "taken", "kill b", "replay", "wait"),
      ms: fc.integer({ min: 0, max: REKEY_AFTER_MS / 2 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const [a, b] = openPair();
        const headers = new Set<string>();
        const taken = { a: [] as Uint8Array[], b: [] as Uint8Array[] };
        let sharedMs = 0;
        for (const { what, ms } of steps) {
          if (what === "kill") a.begin(sharedMs);
          if (what === "kill b") b.begin(sharedMs);
          // Killed between taking an incarnation and using it.
          if (what === "taken") {
            for (const pair of a.decision.own) new LoopKeyPair(pair).nextIncarnation();
            a.begin(sharedMs);
          }
          if (what === "wait") sharedMs += ms;
          a.look(sharedMs, b);
          b.look(sharedMs, a);
          const [from, to, list] =
            what === "answer" ? ([b, a, taken.a] as const) : ([a, b, taken.b] as const);
          const datagram = from.seal();
          if (datagram !== undefined) {
            const header = Buffer.from(datagram.subarray(0, 16)).toString("hex");
            expect(headers.has(header)).toBe(false);
            headers.add(header);
            if (to.open(datagram)) list.push(datagram);
          }
          for (const old of taken.a) expect(a.open(old)).toBe(false);
          for (const old of taken.b) expect(b.open(old)).toBe(false);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("keys of another cluster, generation or node are not gone on with, and are forgotten", () => {
    for (const change of [
      { clusterId: parseClusterId("0b".repeat(16))! },
      { generation: 2 },
      { node: decodeNodeId(9) },
    ]) {
      const [a] = openPair();
      const pairs = a.decision.own;
      expect(pairs.length).toBe(1);
      const owner = { clusterId: CLUSTER, generation: 1, node: decodeNodeId(1), ...change };
      const state = new KeptState(a.memory);
      const keys = new KeptKeys(state, owner, { nowMs: 0, sharedMs: 1e6 });
      expect(keys.recall(0)).toEqual([]);
      keys.keep([]);
      expect(
        state
          .memoryOf(pairs[0]!.slot!)
          .subarray(0, 32)
          .every((byte) => byte === 0),
      ).toBe(true);
    }
  });

  test("a secret that is not its public key's, counts that cannot be, a time to come: none", () => {
    const changes: ((slot: Uint8Array) => void)[] = [
      (slot) => slot.fill(slot[0]! ^ 0x40, 0, 1),
      (slot) => slot.fill(0, 0, 32),
      // More incarnations than there are, less than no packets, a window without room.
      (slot) => slot.fill(0xff, 32, 36),
      (slot) => slot.fill(0xff, 40, 48),
      (slot) => slot.fill(1, 36, 37),
    ];
    for (const change of changes) {
      const [a] = openPair();
      change(new KeptState(a.memory).memoryOf(a.decision.own[0]!.slot!));
      a.begin(300);
      expect(a.keyring.lives).toEqual([]);
    }
    const [a] = openPair();
    a.begin(-60_000);
    expect(a.keyring.lives).toEqual([]);
  });

  test("keys are replaced and forgotten at their times, over restarts", () => {
    const [a, b] = openPair();
    const first = a.listed[0]!.publicKey;
    let sharedMs = 0;
    const seen = new Set<string>();
    while (sharedMs < REKEY_AFTER_MS + KEY_RETIRE_MS + 60_000) {
      sharedMs += 30_000;
      a.begin(sharedMs);
      for (let round = 0; round < 3; round++) {
        a.look(sharedMs, b);
        b.look(sharedMs, a);
      }
      for (const { publicKey } of a.listed) seen.add(publicKey);
    }
    expect(seen.size).toBe(2);
    expect(a.listed.map(({ publicKey }) => publicKey)).not.toContain(first);
    expect(a.keyring.lives.length).toBe(1);
  });
});
