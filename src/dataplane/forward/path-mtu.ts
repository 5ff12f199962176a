/**
 * The largest inner packet on the way to a peer.
 *
 * @module
 */
import { type FibView, ROW_SEALS } from "../fib/table.ts";
import { SEAL_OVERHEAD } from "../seal/limits.ts";
import type { LoopCounters } from "./counters.ts";

/** In bytes, for the peer of `row`: of the overlay, or of its path where that is narrower. */
export function pathMtu(fib: FibView, row: number, counters: LoopCounters): number {
  const payloadMax = counters.payloadMax(fib.slot(row));
  if (payloadMax === 0) return fib.overlayMtu;
  const overhead = (fib.flags(row) & ROW_SEALS) === 0 ? 0 : SEAL_OVERHEAD;
  return Math.min(fib.overlayMtu, payloadMax - overhead);
}
