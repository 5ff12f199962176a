/**
 * How big an entry counts towards the limits on messages, inflight windows and batches.
 *
 * Not the exact encoded size: the codec is the driver's. An estimate that is never 0 and grows
 * with the payload is all that the limits need. Pure.
 *
 * @module
 */
import type { ConfChange, Entry, ProposedEntry } from "./types.ts";

/** Kind, term and index as the codec writes them, rounded up. */
const ENTRY_OVERHEAD_BYTES = 24;
/** One operation with a 53-bit node id. */
const CONF_CHANGE_SINGLE_BYTES = 12;

/** Bytes of `entry` in a message or in a batch: at least the overhead of one. */
export function entrySizeBytes(entry: Entry): number {
  return ENTRY_OVERHEAD_BYTES + payloadSizeBytes(entry);
}

/** Sum of `entrySizeBytes`. */
export function entriesSizeBytes(entries: readonly Entry[]): number {
  let sum = 0;
  for (const entry of entries) sum += entrySizeBytes(entry);
  return sum;
}

/** Bytes of what was proposed; 0 for the empty entry of a new leader and for leaving a joint. */
export function payloadSizeBytes(entry: Entry | ProposedEntry): number {
  return entry.kind === "normal" ? entry.data.length : confChangeSizeBytes(entry.change);
}

/** Sum of `payloadSizeBytes`. */
export function payloadsSizeBytes(entries: readonly (Entry | ProposedEntry)[]): number {
  let sum = 0;
  for (const entry of entries) sum += payloadSizeBytes(entry);
  return sum;
}

/** A limit on a run of entries, part of which other entries may have used up already. */
export interface SizeBudget {
  readonly sizeMaxBytes: number;
  readonly usedBytes: number;
}

/**
 * How many of `entries[start..end)` fit into the budget. The first one of a run always does:
 * an entry larger than the limit must still travel.
 */
export function countWithin(
  entries: readonly Entry[],
  start: number,
  end: number,
  budget: SizeBudget,
): number {
  if (budget.sizeMaxBytes === Number.POSITIVE_INFINITY) return end - start;
  let size = budget.usedBytes;
  for (let i = start; i < end; i++) {
    const isFirst = size === 0;
    size += entrySizeBytes(entries[i]!);
    if (size > budget.sizeMaxBytes && !isFirst) return i - start;
  }
  return end - start;
}

function confChangeSizeBytes(change: ConfChange): number {
  return change.changes.length * CONF_CHANGE_SINGLE_BYTES + change.context.length;
}
