/**
 * Where things are in the repository.
 *
 * @module
 */
import { join } from "node:path";

/** The top of the repository. */
export const ROOT = join(import.meta.dir, "../..");
/** What builds and test runs make; not committed. */
export const DIST = join(ROOT, "dist");
/** What scripts fetch for themselves; not committed. */
export const TOOLS = join(ROOT, ".tools");

/** `path` below the top of the repository. */
export function inRoot(...path: string[]): string {
  return join(ROOT, ...path);
}
