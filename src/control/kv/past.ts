/**
 * Reading the store as it was: what later events replaced, put back over what there is now.
 *
 * Costs a walk over the events since then; fit for a request of a user, not for applying.
 *
 * @module
 */
import { decodeRevision, type Revision } from "../../base/ids.ts";
import { eventKey } from "./history.ts";
import type { KeyValue, KvReader, StateMachine } from "./types.ts";

/**
 * The store at `revision`, to be read before anything else is applied. Undefined when the history
 * does not reach that far, or `revision` is still to come.
 */
export function readPast(
  machine: Pick<StateMachine, "reader" | "history">,
  revision: Revision,
): KvReader | undefined {
  const { reader, history } = machine;
  if (revision > reader.revision) return undefined;
  const later = history.from(decodeRevision(revision + 1));
  if (later === undefined) return undefined;
  /** Keys that changed since, with what they were. */
  const changed = new Map<string, KeyValue | undefined>();
  for (const { events } of later) {
    for (const event of events) {
      const key = eventKey(event);
      if (!changed.has(key)) changed.set(key, event.previous);
    }
  }
  return {
    revision,
    get: (key) => (changed.has(key) ? changed.get(key) : reader.get(key)),
    list: (prefix, after) => listPast(reader, changed, { prefix, after }),
  };
}

/** Merges the pairs that did not change with those that did, in the order of keys. */
function* listPast(
  reader: KvReader,
  changed: ReadonlyMap<string, KeyValue | undefined>,
  range: { readonly prefix: string; readonly after: string | undefined },
): Iterable<KeyValue> {
  const { prefix, after } = range;
  const old = [...changed.values()]
    .filter((pair) => pair !== undefined)
    .filter(({ key }) => key.startsWith(prefix) && (after === undefined || key > after))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  let next = 0;
  for (const pair of reader.list(prefix, after)) {
    if (changed.has(pair.key)) continue;
    for (; next < old.length && old[next]!.key < pair.key; next++) yield old[next]!;
    yield pair;
  }
  yield* old.slice(next);
}
