/**
 * What the disk itself takes to make 4 KiB durable: the floor under every figure of a store.
 *
 * @module
 */
import fs from "node:fs";
import { join } from "node:path";
import { quantile } from "./figures.ts";

const WRITE_SIZE = 4096;
const WRITE_COUNT = 500;

export interface DiskFigures {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Times write and fdatasync of 4 KiB into a file of its own in `folder`. */
export function measureSync(folder: string): DiskFigures {
  const fd = fs.openSync(join(folder, "sync-probe"), "w");
  try {
    const bytes = Buffer.alloc(WRITE_SIZE, 1);
    for (let i = 0; i < WRITE_COUNT; i++) fs.writeSync(fd, bytes, 0, WRITE_SIZE, i * WRITE_SIZE);
    fs.fsyncSync(fd);
    const times = Array.from({ length: WRITE_COUNT }, (_, i) => {
      const startMs = performance.now();
      fs.writeSync(fd, bytes, 0, WRITE_SIZE, i * WRITE_SIZE);
      fs.fdatasyncSync(fd);
      return performance.now() - startMs;
    });
    return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) };
  } finally {
    fs.closeSync(fd);
  }
}
