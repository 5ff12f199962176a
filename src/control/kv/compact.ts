/**
 * The command that ends the keeping of old revisions on all nodes at once.
 *
 * After a compaction at revision R the store can be read as it was at R and later, and watched
 * from R on; below it readers are told `compacted`. Each node's history also has limits of its
 * own, and may end later than that. Pure.
 *
 * @module
 */
import type { Revision } from "../../base/ids.ts";
import { isRecord, parseRevision } from "./plain.ts";
import type { Command, CommandRefusal, KvWriter } from "./types.ts";

/** Forgets what was before `revision`. */
export interface Compact extends Command<CompactOutcome> {
  readonly kind: "compact";
  readonly revision: Revision;
}

export type CompactOutcome =
  /** `revision`: of the last compaction, which may be a later one than was asked for. */
  | { readonly kind: "compacted"; readonly revision: Revision }
  /** What was asked for has not happened yet; `revision` is the store's. */
  | { readonly kind: "future_revision"; readonly revision: Revision }
  | CommandRefusal;

/** Forgets what was before `revision`. */
export function compact(revision: Revision): Compact {
  return { kind: "compact", revision };
}

/** The command that `value` is; undefined when it is none. */
export function parseCompact(value: unknown): Compact | undefined {
  const revision = isRecord(value) ? parseRevision(value["revision"]) : undefined;
  return revision === undefined ? undefined : compact(revision);
}

/** Asking again, or for less than before, changes nothing. */
export function applyCompact(writer: KvWriter, command: Compact): CompactOutcome {
  if (command.revision > writer.revision) {
    return { kind: "future_revision", revision: writer.revision };
  }
  writer.compact(command.revision);
  return { kind: "compacted", revision: writer.compactRevision };
}
