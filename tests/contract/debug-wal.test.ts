/**
 * `overlay debug wal` on real files.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCli } from "../../src/cli/run.ts";
import { createFakeTerminal } from "../../src/cli/terminal.fake.ts";
import { openSystemClock } from "../../src/host/clock/system-clock.ts";
import { openSystemRandom } from "../../src/host/random/system-random.ts";
import { openWal } from "../../src/host/wal/wal.ts";
import type { WalStore } from "../../src/host/wal/wal-store.ts";

const CLUSTER = "0123456789abcdef0123456789abcdef";
const dataDir = mkdtempSync(join(tmpdir(), "overlay-debug-"));
const walDir = join(dataDir, "wal", CLUSTER);
let store: WalStore;

beforeAll(async () => {
  store = await openWal({
    dir: walDir,
    snapshotDir: join(dataDir, "snapshots", CLUSTER),
    clusterId: CLUSTER,
    nodeId: 7,
    clock: openSystemClock(),
    random: openSystemRandom(),
    limits: { segmentSizeBytes: 64 * 1024 },
  });
  const payload = new Uint8Array(100);
  const entries = [1, 2, 3].map((index) => ({ term: 1, index, kind: 0, payload }));
  await store.append({ hardState: { term: 1, vote: 7, commit: 2 }, entries });
  await store.append({ entries: [{ term: 1, index: 4, kind: 0, payload }] });
});

afterAll(async () => {
  await store.close();
  rmSync(dataDir, { recursive: true });
});

async function run(...argv: string[]) {
  const terminal = createFakeTerminal();
  const code = await runCli(argv, terminal);
  return { code, out: terminal.printed(), err: terminal.told() };
}

describe("overlay debug wal", () => {
  test("prints the frames of a log that is in use, and leaves it as it is", async () => {
    const path = join(walDir, readdirSync(walDir).find((name) => name.endsWith(".wal"))!);
    const before = readFileSync(path);
    for (const directory of [dataDir, walDir]) {
      const { code, out, err } = await run("debug", "wal", directory);
      expect([code, err]).toEqual([0, ""]);
      const records = out
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(records[0]).toMatchObject({ kind: "segment", clusterId: CLUSTER, nodeId: 7 });
      expect(records.filter(({ kind }) => kind === "entry").map(({ index }) => index)).toEqual([
        1, 2, 3, 4,
      ]);
    }
    expect(readFileSync(path)).toEqual(before);
  });

  test("prints a damaged one up to the damage, says where it is, and fails", async () => {
    const copy = mkdtempSync(join(tmpdir(), "overlay-debug-"));
    const name = readdirSync(walDir).find((each) => each.endsWith(".wal"))!;
    const bytes = readFileSync(join(walDir, name));
    bytes[700]! ^= 0x10;
    writeFileSync(join(copy, name), bytes);
    const { code, out, err } = await run("debug", "wal", copy);
    expect(code).toBe(1);
    expect(out).toContain('"kind":"damage"');
    expect(err).toMatch(/^Cannot read the log in .* further: byte 688 of .*\.wal: checksum in /);
    expect(err.trim().split("\n").length).toBe(1);
    rmSync(copy, { recursive: true });
  });

  test("says what is wanted where there is no log", async () => {
    const { code, err } = await run("debug", "wal", join(dataDir, "snapshots"));
    expect(code).toBe(1);
    expect(err).toContain("there is none; name the agent's data directory");
    expect((await run("debug", "wal")).code).toBe(2);
  });

  test("is not in the help", async () => {
    expect((await run("--help")).out).not.toContain("debug");
  });
});
