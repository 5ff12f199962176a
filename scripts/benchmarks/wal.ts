/**
 * What a durable append costs, beside what the disk alone can do.
 *
 *     scripts/bench wal [directory]
 *
 * Figures of a fresh log in `directory` (default: the system's temporary directory), with 1 to 256
 * callers that each append one entry of 256 bytes, wait for it, and append the next. Absolute
 * numbers belong to this machine's disk; the ratio to the raw sync is what can be compared.
 *
 * @module
 */
import fs from "node:fs";
import { tmpdir } from "node:os";
import { openDisk } from "../../src/host/files/disk.ts";
import { openWal } from "../../src/host/wal/wal.ts";

const PAYLOAD_SIZE = 256;
const RAW_WRITES = 1000;
const CALLER_COUNTS = [1, 16, 64, 256];
const RUN_MS = 3000;
const RAW_FILE_SIZE = 16 * 1024 * 1024;

interface Figures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Longest time that the event loop did not turn. */
  readonly stallMs: number;
}

const root = fs.mkdtempSync(`${process.argv[2] ?? tmpdir()}/overlay-bench-wal-`);
try {
  await compare("O_DSYNC pwrite, one I/O thread trip", () => measureDurableWrite());
  await compare("pwrite, then fdatasync, two trips", () => measureTwoTrips());
  for (const callers of CALLER_COUNTS) {
    await compare(`log: ${callers} callers`, () => measureLog(callers));
  }
  await compare("log: 64 callers beside a 256 MiB snapshot", () => measureLog(64, 256));
} finally {
  fs.rmSync(root, { recursive: true });
}

/** Measures next to the raw disk of the same moment: on a shared machine it is never the same. */
async function compare(what: string, measure: () => Promise<Figures>): Promise<void> {
  const before = measureRaw();
  const figures = await measure();
  const after = measureRaw();
  print(what, figures, before.p50Ms < after.p50Ms ? before : after);
}

function measureRaw(): Figures {
  const fd = makeRawFile("blocking", 0);
  const bytes = new Uint8Array(PAYLOAD_SIZE);
  const times: number[] = [];
  for (let i = 0; i < RAW_WRITES; i++) {
    const start = performance.now();
    fs.writeSync(fd, bytes, 0, bytes.length, i * PAYLOAD_SIZE);
    fs.fdatasyncSync(fd);
    times.push(performance.now() - start);
  }
  fs.closeSync(fd);
  return summarize(times, sum(times), 0);
}

async function measureDurableWrite(): Promise<Figures> {
  fs.closeSync(makeRawFile("durable", 0));
  const file = await openDisk().open(`${root}/durable`, "durable");
  const bytes = new Uint8Array(PAYLOAD_SIZE);
  const times: number[] = [];
  for (let i = 0; i < RAW_WRITES; i++) {
    const start = performance.now();
    await file.write(bytes, i * PAYLOAD_SIZE);
    times.push(performance.now() - start);
  }
  await file.close();
  return summarize(times, sum(times), 0);
}

async function measureTwoTrips(): Promise<Figures> {
  fs.closeSync(makeRawFile("trips", 0));
  const handle = await fs.promises.open(`${root}/trips`, "r+");
  const bytes = new Uint8Array(PAYLOAD_SIZE);
  const times: number[] = [];
  for (let i = 0; i < RAW_WRITES; i++) {
    const start = performance.now();
    await handle.write(bytes, 0, bytes.length, i * PAYLOAD_SIZE);
    await handle.datasync();
    times.push(performance.now() - start);
  }
  await handle.close();
  return summarize(times, sum(times), 0);
}

/** A file full of written blocks, as a prepared segment is. */
function makeRawFile(name: string, flags: number): number {
  const mode = fs.constants.O_RDWR | fs.constants.O_CREAT | flags;
  const fd = fs.openSync(`${root}/${name}`, mode);
  fs.writeSync(fd, new Uint8Array(RAW_FILE_SIZE));
  fs.fsyncSync(fd);
  return fd;
}

async function measureLog(callers: number, snapshotMib = 0): Promise<Figures> {
  const directory = `${root}/${callers}-${snapshotMib}`;
  const store = await openWal({
    dir: `${directory}/wal`,
    snapshotDir: `${directory}/snapshots`,
    clusterId: "0".repeat(32),
    nodeId: 1,
    clock: { after: () => () => undefined },
    random: { bytes: (count) => crypto.getRandomValues(new Uint8Array(count)) },
  });
  await store.append({ hardState: { term: 1, vote: 1, commit: 0 }, entries: [] });
  const payload = new Uint8Array(PAYLOAD_SIZE).fill(7);
  const times: number[] = [];
  let index = 0;
  let stallMs = 0;
  let lastTurn = performance.now();
  const turns = setInterval(() => {
    const now = performance.now();
    stallMs = Math.max(stallMs, now - lastTurn - 1);
    lastTurn = now;
  }, 1);
  const start = performance.now();
  const end = start + RUN_MS;
  const call = async () => {
    for (let now = performance.now(); now < end; ) {
      await store.append({ entries: [{ index: ++index, term: 1, kind: 0, payload }] });
      const after = performance.now();
      times.push(after - now);
      now = after;
    }
  };
  const calls = Array.from({ length: callers }, call);
  if (snapshotMib > 0) {
    const chunk = new Uint8Array(1024 * 1024).fill(5);
    const chunks = Array.from({ length: snapshotMib }, () => chunk);
    await store.saveSnapshot({ index: 1, term: 1, header: new Uint8Array(0) }, chunks);
    for await (const _ of store.readSnapshot());
  }
  await Promise.all(calls);
  const elapsed = performance.now() - start;
  clearInterval(turns);
  await store.close();
  fs.rmSync(directory, { recursive: true });
  return summarize(times, elapsed, stallMs);
}

function summarize(times: number[], elapsedMs: number, stallMs: number): Figures {
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(times.length * share)] ?? 0;
  const perSecond = (times.length * 1000) / elapsedMs;
  return { perSecond, p50Ms: at(0.5), p99Ms: at(0.99), stallMs };
}

function sum(times: readonly number[]): number {
  return times.reduce((total, time) => total + time, 0);
}

function print(what: string, figures: Figures, raw: Figures): void {
  const { perSecond, p50Ms, p99Ms, stallMs } = figures;
  const columns = [
    what.padEnd(42),
    `${perSecond.toFixed(0).padStart(7)}/s`,
    `p50 ${p50Ms.toFixed(3).padStart(7)} ms`,
    `p99 ${p99Ms.toFixed(3).padStart(7)} ms`,
    `stall ${stallMs.toFixed(1).padStart(5)} ms`,
    `raw fdatasync p50 ${raw.p50Ms.toFixed(3)} ms`,
    `ratios: rate ${(perSecond / raw.perSecond).toFixed(1)}`,
    `p50 ${(p50Ms / raw.p50Ms).toFixed(2)}`,
  ];
  process.stdout.write(`${columns.join("  ")}\n`);
}
