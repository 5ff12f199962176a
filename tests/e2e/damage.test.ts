/**
 * Bytes that changed on a node's disk: the executable finds them and says what to do, or what it
 * drops was never promised. It never serves what was not written, the others go on, and what the
 * message says to do works.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formCluster, join as joinCluster, waitSettled } from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";
import { SimRandom } from "../sim/cluster/sim-random.ts";
import { expectSentence } from "./messages.ts";

const THREE = { hosts: 3, docker: false, timeoutMs: 240_000 } as const;
const WRITE_COUNT = 60;
const KEY_COUNT = 7;
const VALUE_SIZE_MAX_BYTES = 3_000;
const FLIPS_PER_FILE = 6;
/** What a batch that was under way when the node was killed may take at most. */
const TAIL_BYTES = 8_192;
/** The seal that a log ends with when its node was told to end: it holds nothing. */
const SEAL_BYTES = 64;
const SEGMENT_HEADER_BYTES = 512;

interface Write {
  readonly revision: number;
  readonly key: string;
  readonly value: string;
}

/** Everything that was acknowledged, in order. */
class Written {
  readonly #writes: Write[] = [];
  readonly #random: SimRandom;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
  }

  async write(host: Host, count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      const key = `/d/${n % KEY_COUNT}`;
      const size = this.#random.below(VALUE_SIZE_MAX_BYTES);
      const value = `${this.#writes.length} `.padEnd(size, "value ");
      const answer = await waitFor(
        async () => {
          const each = await host.api(`/kv${key}`, { method: "PUT", body: value });
          return each.status === 200 && each;
        },
        { timeoutMs: 30_000, describe: `${host.name} to take ${key}` },
      );
      const { revision } = answer.json<{ readonly revision: number }>();
      this.#writes.push({ revision, key, value });
    }
  }

  /** Expects `host` to have what was written, as of the revision that it says it has. */
  async expectServed(host: Host, consistency: "linearizable" | "serializable"): Promise<void> {
    const answer = await host.api(`/kv?prefix=/d/&consistency=${consistency}`);
    expect([answer.status, answer.text]).toEqual([200, answer.text]);
    const view = answer.json<{
      readonly revision: number;
      readonly items: readonly { key: string; value: string; modRevision: number }[];
    }>();
    const last = this.#writes.at(-1)?.revision ?? 0;
    if (consistency === "linearizable") expect(view.revision).toBeGreaterThanOrEqual(last);
    const wanted = new Map<string, Write>();
    for (const write of this.#writes) {
      if (write.revision <= view.revision) wanted.set(write.key, write);
    }
    const items = view.items.map(({ key, value, modRevision: revision }) => {
      return { revision, key, value };
    });
    const byKey = (a: Write, b: Write) => (a.key < b.key ? -1 : 1);
    expect(items).toEqual([...wanted.values()].sort(byKey));
  }
}

/** The files of one kind that a node keeps for its cluster, oldest first. */
function filesOf(host: Host, kind: "wal" | "snapshots"): string[] {
  const folder = join(host.dataDir, kind);
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(wal|snap)$/.test(name))
    .sort()
    .map((name) => join(folder, name));
}

/** How many bytes of a file hold something: a log's segment is filled with zeros in advance. */
function usedSize(path: string): number {
  return readFileSync(path).findLastIndex((byte) => byte !== 0) + 1;
}

/** Changes one to three bytes from `offset` on, each in at least one bit. */
function flip(path: string, offset: number, random: SimRandom): void {
  const bytes = readFileSync(path);
  for (let left = random.integer(1, 3); left > 0; left--) {
    const at = offset + left - 1;
    bytes[at] = (bytes[at] ?? 0) ^ random.integer(1, 255);
  }
  writeFileSync(path, bytes);
}

/** The reason in an agent's last words; undefined when it goes on. */
async function refusalOf(host: Host): Promise<string | undefined> {
  const agent = host.startAgent();
  const state = await waitFor(
    async () => {
      if (!agent.running) return "ended";
      return (await host.api("/healthz")).status === 200 && "healthy";
    },
    {
      timeoutMs: 30_000,
      describe: `${host.name} to answer or to end`,
      details: () => agent.tail(3),
    },
  );
  if (state === "healthy") return undefined;
  expect(await agent.exited).toBe(1);
  const quoted = /\breason=("(?:[^"\\]|\\.)*")/.exec(agent.tail(1))?.[1];
  expect(quoted).toBeDefined();
  return JSON.parse(quoted ?? '""') as string;
}

const WAY_BACK = [/remove it from the cluster/, /remove its data directory/, /join again/];

/** Formed, written to, and the last node ended: killed, or told to. */
async function prepare(lab: Lab, written: Written, isKilled: boolean): Promise<Host> {
  await formCluster(lab);
  await written.write(lab.host(0), WRITE_COUNT);
  const victim = lab.host(2);
  // It has everything, and knows that it is committed.
  await written.expectServed(victim, "linearizable");
  if (isKilled) await victim.agent.kill();
  else await victim.agent.terminate();
  return victim;
}

/** Damages the file that `choose` names, once for each offset, and starts the agent on it. */
async function flipAndStart(
  victim: Host,
  damage: { readonly path: string; readonly offsets: readonly number[]; readonly seed: number },
  judge: (refusal: string | undefined, offset: number) => Promise<void>,
): Promise<void> {
  const { path, offsets, seed } = damage;
  const copy = `${victim.dataDir}.copy`;
  cpSync(victim.dataDir, copy, { recursive: true, preserveTimestamps: true });
  for (const [i, offset] of offsets.entries()) {
    rmSync(victim.dataDir, { recursive: true });
    cpSync(copy, victim.dataDir, { recursive: true, preserveTimestamps: true });
    flip(path, offset, new SimRandom(seed, i));
    await judge(await refusalOf(victim), offset);
    if (victim.agent.running) await victim.agent.kill();
  }
  rmSync(victim.dataDir, { recursive: true });
  cpSync(copy, victim.dataDir, { recursive: true, preserveTimestamps: true });
}

describe("bytes changed in a log", () => {
  for (const isKilled of [false, true]) {
    const name = isKilled ? "killed: only its last batch may be dropped" : "ended: found anywhere";
    labTest(name, THREE, async (lab) => {
      const seed = isKilled ? 11 : 12;
      const written = new Written(seed);
      const victim = await prepare(lab, written, isKilled);
      const path = filesOf(victim, "wal").at(-1) ?? "";
      const used = usedSize(path);
      expect(used).toBeGreaterThan(4 * TAIL_BYTES);
      const random = new SimRandom(seed);
      const offsets = [
        random.below(64),
        ...Array.from({ length: FLIPS_PER_FILE }, () => {
          return random.integer(SEGMENT_HEADER_BYTES, used - TAIL_BYTES);
        }),
        ...Array.from({ length: 4 }, () => random.integer(used - TAIL_BYTES, used - 8)),
        used - SEAL_BYTES - 8,
      ];
      // Alone it can only tell what is in its own files.
      await lab.isolate(victim);
      let refusals = 0;
      await flipAndStart(victim, { path, offsets, seed }, async (refusal, offset) => {
        await written.write(lab.host(offset % 2), 1);
        if (refusal === undefined) {
          // Only what may never have been acknowledged may be dropped without a word.
          expect({ offset, used }).toEqual({ offset: expect.any(Number), used });
          expect(offset).toBeGreaterThanOrEqual(used - (isKilled ? TAIL_BYTES : SEAL_BYTES));
          await written.expectServed(victim, "serializable");
          return;
        }
        refusals += 1;
        expectSentence(refusal, [victim.dataDir, ...WAY_BACK]);
      });
      expect(refusals).toBeGreaterThan(FLIPS_PER_FILE);
      await lab.heal();
      await victim.startHealthyAgent();
      for (const host of lab.hosts) await written.expectServed(host, "linearizable");
    });
  }
});

describe("bytes changed in a snapshot", () => {
  labTest("refused, or done without: nothing wrong is served", THREE, async (lab) => {
    const seed = 13;
    const written = new Written(seed);
    const victim = await prepare(lab, written, true);
    const path = filesOf(victim, "snapshots").at(-1) ?? "";
    const random = new SimRandom(seed);
    const size = readFileSync(path).length;
    const offsets = Array.from({ length: FLIPS_PER_FILE }, () => random.below(size - 4));
    await lab.isolate(victim);
    await flipAndStart(victim, { path, offsets, seed }, async (refusal, offset) => {
      await written.write(lab.host(offset % 2), 1);
      if (refusal === undefined) await written.expectServed(victim, "serializable");
      else expectSentence(refusal, [victim.dataDir, ...WAY_BACK]);
    });
    await lab.heal();
    await victim.startHealthyAgent();
    for (const host of lab.hosts) await written.expectServed(host, "linearizable");
  });
});

describe("the way back", () => {
  labTest("remove it, remove its data, join again", THREE, async (lab) => {
    const seed = 14;
    const written = new Written(seed);
    const victim = await prepare(lab, written, true);
    const path = filesOf(victim, "wal").at(-1) ?? "";
    flip(path, Math.floor(usedSize(path) / 2), new SimRandom(seed));
    expectSentence((await refusalOf(victim)) ?? "", WAY_BACK);
    await written.write(lab.host(1), 5);

    await lab.host(0).mustCli(["member", "remove", victim.name]);
    rmSync(victim.dataDir, { recursive: true });
    await victim.startHealthyAgent();
    await joinCluster(victim, lab.host(0));
    await waitSettled(lab.hosts);
    await written.expectServed(victim, "linearizable");

    // It counts again: with it, the cluster spares another one.
    await waitFor(
      async () => {
        const { cluster } = (await victim.api("/status")).json<{ cluster: { voters: number } }>();
        return cluster.voters === 3;
      },
      { timeoutMs: 60_000, describe: "three voters" },
    );
    await lab.host(1).agent.kill();
    await written.write(victim, 5);
    await lab.host(1).startHealthyAgent();
    for (const host of lab.hosts) await written.expectServed(host, "linearizable");
  });
});
