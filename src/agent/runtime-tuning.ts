/**
 * Settings of the JavaScript engine and its allocator for a program that runs for months on two
 * cores, where they are read: in the environment of a process that starts.
 *
 * The engine's last compiler takes tens of milliseconds of a core for each function that it deems
 * hot, and begins after some thousand calls. A node that has just started, or whose work has just
 * changed, then spends more on compiling than on its work: of 436 us that a write cost three nodes
 * in the first minute under load, 170 were this compiler (scripts/bench store; Bun 1.4.5). It comes
 * sixteen times later here: a loop that is truly hot gets there all the same, and is then as fast
 * (tried with a synthetic one). And memory that was freed is given back to
 * the kernel after a second, not after 10 ms, so that the next batch need not ask for it again:
 * another 49 us.
 *
 * A later first compiler (2,000 uses, not 500) was tried: a new node's start took some 0.20 s
 * of processor time, not 0.27. In two short runs of each, `scripts/bench store --quick` had one
 * client at 0.95 and 0.86 of etcd, not 1.10 and 1.06: too near the noise to build on, too bad to
 * risk. Nor were pings in user mode faster in their first seconds. So it is not set.
 *
 * Starting anew costs 45 ms of processor time; the service's unit sets the same, which spares it.
 *
 * @module
 */
import { passListed } from "../host/keep/descriptor-store.ts";
import { restartProgram } from "../host/sys/process-image.ts";
import type { Environment } from "./config.ts";

/** Variables of the environment, with their values. */
export const RUNTIME_SETTINGS: Readonly<Record<string, string>> = {
  BUN_JSC_thresholdForFTLOptimizeAfterWarmUp: "1000000",
  BUN_JSC_thresholdForFTLOptimizeSoon: "100000",
  MIMALLOC_PURGE_DELAY: "1000",
};

/**
 * Starts the program anew with the settings in its environment, in the same process. Returns when
 * it has them, when whoever started it has said otherwise, and when it cannot be done. To be called
 * before anything else is loaded: it would be loaded twice, which was 35 ms of a start.
 */
export function tuneRuntime(env: Environment): void {
  const isTold = Object.keys(RUNTIME_SETTINGS).some((name) => env[name] !== undefined);
  if (isTold) return;
  passListed(env);
  restartProgram({ ...env, ...RUNTIME_SETTINGS });
}
