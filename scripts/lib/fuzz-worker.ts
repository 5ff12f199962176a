/**
 * One thread of scripts/fuzz: runs the rounds that it is told to, and says what each came to. A
 * round that never ends is the parent's to see.
 *
 * @module
 */
import { runKernelRound } from "../../tests/lab/kernel-fuzz.ts";
import type { KernelPrograms } from "../../tests/lab/kernel-programs.ts";
import { openPrograms } from "../../tests/lab/kernel-trial.ts";
import { ROUND_CASES, runPacketRound } from "../../tests/sim/fuzz/packet-fuzz.ts";
import { FuzzFailure } from "../../tests/sim/fuzz/report.ts";

/** One round, and for whom. */
export interface RoundOrder {
  readonly seed: number;
  readonly isKernel: boolean;
}

export interface RoundOutcome extends RoundOrder {
  readonly cases: number;
  readonly tally: Record<string, number>;
  readonly failure?: { readonly message: string; readonly input: readonly string[] };
}

declare const self: Worker;

let programs: KernelPrograms | undefined;

function run({ seed, isKernel }: RoundOrder) {
  if (!isKernel) return runPacketRound(seed);
  programs ??= openPrograms();
  return runKernelRound(programs, seed, ROUND_CASES);
}

self.onmessage = ({ data }: MessageEvent<RoundOrder>) => {
  try {
    const { cases, tally } = run(data);
    self.postMessage({ ...data, cases, tally: Object.fromEntries(tally) } satisfies RoundOutcome);
  } catch (error) {
    if (!(error instanceof FuzzFailure)) throw error;
    const failure = { message: error.message, input: error.input };
    self.postMessage({ ...data, cases: 0, tally: {}, failure } satisfies RoundOutcome);
  }
};
