/**
 * Processor time and memory, as the kernel counts them.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism, cpus, release } from "node:os";

/** The unit of /proc/stat on every Linux that Bun runs on. */
const USER_HZ = 100;
const NANOS_PER_SECOND = 1e9;

/**
 * Seconds that all processors together were busy since boot, whoever with: programs, the kernel,
 * interrupts. What a contender in the kernel takes shows only here.
 */
export function machineBusySeconds(): number {
  const words = readFileSync("/proc/stat", "utf8").split("\n", 1)[0]?.trim().split(/\s+/) ?? [];
  const [user, nice, system, , , interrupts, softInterrupts] = words.slice(1).map(Number);
  return [user, nice, system, interrupts, softInterrupts].reduce(
    (sum: number, ticks) => sum + (ticks ?? 0) / USER_HZ,
    0,
  );
}

/** Seconds that all threads of process `pid` have run; to the nanosecond, unlike /proc/PID/stat. */
export function processSeconds(pid: number): number {
  const folder = `/proc/${pid}/task`;
  return readdirSync(folder).reduce((sum, thread) => {
    const nanos = Number(readFileSync(`${folder}/${thread}/schedstat`, "utf8").split(" ")[0]);
    return sum + nanos / NANOS_PER_SECOND;
  }, 0);
}

/** "2 × AMD EPYC, Linux 6.18.0". */
export function describeMachine(): string {
  return `${availableParallelism()} × ${cpus()[0]?.model ?? "?"}, Linux ${release()}`;
}
