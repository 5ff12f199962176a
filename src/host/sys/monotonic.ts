/**
 * CLOCK_MONOTONIC as the kernel's programs read it: one clock for all processes of the machine, and
 * not that of this process alone, which starts with it.
 *
 * @module
 */
import { checkCall } from "./errno.ts";
import { libc } from "./libc.ts";
import { kernelBytes } from "./memory.ts";

const CLOCK_MONOTONIC = 1;
/** struct timespec: seconds 8, nanoseconds 8. */
const TIMESPEC_SIZE = 16;
const NS_PER_SECOND = 1_000_000_000n;

/** Nanoseconds since the machine started, without the time that it slept. */
export function monotonicNs(): bigint {
  const time = kernelBytes(TIMESPEC_SIZE);
  checkCall(libc().clock_gettime(CLOCK_MONOTONIC, time.address), "read", "the monotonic clock");
  return time.view.getBigUint64(0, true) * NS_PER_SECOND + time.view.getBigUint64(8, true);
}
