/**
 * Scheduling of the calling thread: before all ordinary threads, or among them.
 *
 * Linux schedules threads, not processes (sched(7)), so one thread of a program can be served like
 * the kernel's own network work while the others wait their turn.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { libc, syscallNumbers } from "./libc.ts";
import { kernelBytes } from "./memory.ts";

const SCHED_OTHER = 0;
const SCHED_RR = 2;
/** Threads that this one starts are ordinary ones (sched.h). */
const SCHED_RESET_ON_FORK = 0x4000_0000;
const CALLING_THREAD = 0;
/** The lowest real-time priority is already above every ordinary thread. */
const PRIORITY_MIN = 1;

/**
 * Puts the calling thread before all ordinary ones (SCHED_RR), or back among them. False when the
 * host does not allow it (CAP_SYS_NICE) or has one core only, which such a thread could keep from
 * everything else; then nothing has changed.
 */
export function setThreadRealtime(isRealtime: boolean): boolean {
  if (isRealtime && availableParallelism() < 2) return false;
  const parameter = kernelBytes(4);
  parameter.view.setInt32(0, isRealtime ? PRIORITY_MIN : 0, true);
  const policy = isRealtime ? SCHED_RR | SCHED_RESET_ON_FORK : SCHED_OTHER;
  const { sched_setscheduler: number } = syscallNumbers();
  const { address } = parameter;
  return libc().syscall(number, CALLING_THREAD, policy, address, 0, 0, 0) === 0;
}
