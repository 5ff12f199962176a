/**
 * Watches: the changes of a prefix, from a revision on, as they come.
 *
 * A watch is a cursor over the history and nothing else: no buffer of its own, so a slow watcher
 * costs nothing, and when the history has passed it by it is told so. The guarantees (etcd's
 * names) follow from that:
 *
 * - *ordered, unique, reliable*: the history is walked forward, each revision once, none left out;
 * - *atomic*: all events of a revision that match come in one batch;
 * - *resumable*: a new watch after the last revision received, on any node, goes on without a gap;
 * - *bookmarkable*: every event up to `cursor.after` has been delivered.
 *
 * Pure: whoever holds the watch calls `stepWatch` when something was applied.
 *
 * @module
 */
import { decodeRevision, type Revision } from "../../base/ids.ts";
import { eventKey, eventsSize } from "./history.ts";
import { WATCH_STEP_REVISIONS_MAX, WATCH_STEP_SIZE_BYTES } from "./limits.ts";
import type { KvHistory, RevisionEvents } from "./types.ts";

/** Where a watch stands. */
export interface WatchCursor {
  readonly prefix: string;
  /**
   * Revision up to which everything has been delivered. May lie ahead of the store (another node
   * was faster): the watch then waits.
   */
  readonly after: Revision;
}

export type WatchStep =
  | {
      readonly kind: "events";
      /** Ascending; none when nothing under the prefix has changed. */
      readonly batches: readonly RevisionEvents[];
      readonly cursor: WatchCursor;
      /** Whether there is more to be had at once. */
      readonly more: boolean;
    }
  /**
   * Changes after the cursor are forgotten, those after `oldestRevision` are not: list again, then
   * watch from the list's revision.
   */
  | { readonly kind: "compacted"; readonly oldestRevision: Revision };

/** What comes next for a watch, as much as one step may carry. */
export function stepWatch(history: KvHistory, cursor: WatchCursor): WatchStep {
  const { prefix } = cursor;
  const batches: RevisionEvents[] = [];
  let after = cursor.after;
  let revisionsLeft = WATCH_STEP_REVISIONS_MAX;
  let bytesLeft = WATCH_STEP_SIZE_BYTES;
  const known = history.from(decodeRevision(after + 1));
  if (known === undefined) return { kind: "compacted", oldestRevision: history.oldestRevision };
  for (const { revision, events } of known) {
    if (revisionsLeft === 0 || bytesLeft <= 0) {
      return { kind: "events", batches, cursor: { prefix, after }, more: true };
    }
    const matching = events.filter((event) => eventKey(event).startsWith(prefix));
    if (matching.length > 0) batches.push({ revision, events: matching });
    after = revision;
    revisionsLeft -= 1;
    bytesLeft -= eventsSize(matching);
  }
  return { kind: "events", batches, cursor: { prefix, after }, more: false };
}
