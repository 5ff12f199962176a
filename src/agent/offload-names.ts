/**
 * The names of the offloads as people write them in `--offloads-off`.
 *
 * @module
 */
import { OFFLOAD_NAMES } from "../dataplane/forward/offload-state.ts";

export type OffloadName = (typeof OFFLOAD_NAMES)[number];

/** What "gso,gro", "all" or "none" means; undefined when one of the names is no offload. */
export function parseOffloadNames(names: string): readonly OffloadName[] | undefined {
  if (names === "none") return [];
  if (names === "all") return OFFLOAD_NAMES;
  const known = names.split(",").map((name) => OFFLOAD_NAMES.find((each) => each === name.trim()));
  return known.every((name) => name !== undefined) ? known : undefined;
}
