/**
 * The most memory that a process ever had.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** Resident bytes of process `pid` at their highest, as the kernel counts. */
export function peakResidentBytes(pid: number): number {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  if (kib === undefined) throw new Error(`Cannot read the peak memory of process ${pid}`);
  return Number(kib) * 1024;
}
