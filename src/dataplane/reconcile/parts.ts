/**
 * What the parts of the difference have in common.
 *
 * @module
 */
import type { ActualLink, LinkRef, Operation } from "../../host/kernel-ports.ts";

/** Something wanted that no operation can bring about now, in the words of an error message. */
export interface Obstacle {
  /** An imperative: "set up link". */
  readonly operation: string;
  readonly object: string;
  readonly reason: string;
}

/** What a part of the state needs: first what is to be made, later what is to go. */
export interface Halves {
  readonly wanted: readonly Operation[];
  readonly stale: readonly Operation[];
}

/** Links as they are, by name. */
export type LinksByName = ReadonlyMap<string, ActualLink>;

/** Only what an operation needs of a link. */
export function refer({ index, name }: ActualLink): LinkRef {
  return { index, name };
}
