/**
 * Checks of every watch against the one history: in order, each event once, nothing left out, and
 * bookmarks that are true.
 *
 * @module
 */
import type { Finding, History, WatchedEvent, WatchSession } from "./history.ts";
import type { Change, Truth } from "./truth.ts";

/** All sessions of `history`. */
export function checkWatches(history: History, truth: Truth): Finding[] {
  return history.sessions.flatMap((session) => {
    const messages = [
      ...checkOrder(session),
      ...checkComplete(session, history, truth),
      ...checkBookmarks(session),
      ...checkCounters(session, history),
      ...checkPrevious(session, truth),
    ];
    const { watcher, node, prefix, after } = session;
    const name = `${watcher} on ${node}, "${prefix}" after ${after}`;
    return messages.map(({ check, message }) => ({ check, message: `${name}: ${message}` }));
  });
}

/** Nobody's watch leaves a hole that another one does not fill. */
export function checkHoles(truth: Truth): Finding[] {
  const holes = truth.holes();
  if (holes.length === 0) return [];
  const first = holes.slice(0, 10).join(", ");
  const message = `nobody was told of ${holes.length} revisions: ${first}`;
  return [{ check: "watches: nothing left out", message }];
}

function checkOrder({ events, after, prefix }: WatchSession): Finding[] {
  const findings: Finding[] = [];
  let last = after;
  let isOver = true;
  let keys = new Set<string>();
  for (const { revision, isLast, key } of events) {
    if (revision > last) keys = new Set();
    const goesOn = revision > last || (revision === last && !isOver);
    if (!goesOn || (revision > last && !isOver)) {
      const message = `${revision} came after ${last}${isOver ? "" : ", which was not over"}`;
      findings.push({ check: "watches: in order", message });
    }
    if (keys.has(key)) {
      findings.push({ check: "watches: each once", message: `${key} twice at ${revision}` });
    }
    if (!key.startsWith(prefix)) {
      findings.push({ check: "watches: only what was asked", message: `${key} at ${revision}` });
    }
    keys.add(key);
    last = revision;
    isOver = isLast;
  }
  return findings;
}

/** Everything between the beginning and the last thing heard is there. */
function checkComplete(session: WatchSession, history: History, truth: Truth): Finding[] {
  const { after, prefix, bookmarks, events } = session;
  const lastEvent = events.findLast(({ isLast }) => isLast)?.revision ?? after;
  const end = Math.max(lastEvent, bookmarks.at(-1)?.revision ?? 0);
  const told = new Map<number, WatchedEvent[]>();
  for (const event of events) {
    if (!event.key.startsWith(history.prefix)) continue;
    const batch = told.get(event.revision);
    if (batch === undefined) told.set(event.revision, [event]);
    else batch.push(event);
  }
  const findings: Finding[] = [];
  for (let revision = Math.max(after, history.startRevision) + 1; revision <= end; revision++) {
    const wanted = (truth.byRevision.get(revision) ?? []).filter(({ key }) =>
      key.startsWith(prefix),
    );
    const got = told.get(revision) ?? [];
    if (isSame(wanted, got)) continue;
    const message = `${revision} changed ${nameAll(wanted)}; told was ${nameAll(got)}`;
    findings.push({ check: "watches: nothing left out", message });
  }
  return findings;
}

/** A bookmark never stands before an event that it covers, nor goes back. */
function checkBookmarks({ events, bookmarks, after }: WatchSession): Finding[] {
  const findings: Finding[] = [];
  const check = "watches: true bookmarks";
  let last = after;
  for (const { revision, position } of bookmarks) {
    const next = events[position];
    if (next !== undefined && next.revision <= revision) {
      findings.push({ check, message: `${next.revision} came after a bookmark at ${revision}` });
    }
    const before = events[position - 1];
    if (revision < last || (before !== undefined && before.revision > revision)) {
      const known = Math.max(last, before?.revision ?? 0);
      findings.push({ check, message: `a bookmark at ${revision} came after ${known}` });
    }
    last = Math.max(last, revision);
  }
  return findings;
}

/** `version` counts the changes of a key since it was made, at `createRevision`. */
function checkCounters({ events, prefix }: WatchSession, history: History): Finding[] {
  const findings: Finding[] = [];
  const known = new Map<string, { readonly version: number; readonly createRevision: number }>();
  for (const { key, value, version, createRevision, revision } of events) {
    if (!key.startsWith(history.prefix) || !key.startsWith(prefix)) continue;
    if (value === undefined || version === undefined || createRevision === undefined) {
      known.delete(key);
      continue;
    }
    const before = known.get(key);
    known.set(key, { version, createRevision });
    const isNew = version === 1 && createRevision === revision;
    const goesOn =
      before !== undefined &&
      version === before.version + 1 &&
      createRevision === before.createRevision;
    // Of the first event of a session nobody knows what was before it.
    const isFirst = before === undefined && version > 1 && createRevision < revision;
    if (isNew ? before === undefined : goesOn || isFirst) continue;
    const now = `version ${version}, created at ${createRevision}`;
    const message = `${key} at ${revision} has ${now}, after ${JSON.stringify(before)}`;
    findings.push({ check: "watches: counters", message });
  }
  return findings;
}

/** What a watch tells of the time before a change is what stood there. */
function checkPrevious({ events }: WatchSession, truth: Truth): Finding[] {
  return events.flatMap(({ key, revision, previous }) => {
    const known = truth.changeAt(key, revision - 1);
    // What was before the history began nobody knows.
    if (previous === undefined || (known === undefined && previous !== null)) return [];
    const wanted = known?.value === undefined ? "nothing" : `${known.value} at ${known.revision}`;
    const got = previous === null ? "nothing" : `${previous.value} at ${previous.revision}`;
    if (wanted === got) return [];
    const message = `before ${revision} ${key} was ${wanted}; told was ${got}`;
    return [{ check: "watches: what was before", message }];
  });
}

function isSame(wanted: readonly Change[], got: readonly WatchedEvent[]): boolean {
  if (wanted.length !== got.length) return false;
  const sorted = [...got].sort((a, b) => (a.key < b.key ? -1 : 1));
  return wanted.every(({ key, value }, i) => {
    return sorted[i]?.key === key && sorted[i]?.value === value;
  });
}

function nameAll(
  changes: readonly { readonly key: string; readonly value: string | undefined }[],
): string {
  if (changes.length === 0) return "nothing";
  return changes.map(({ key, value }) => `${key}=${value ?? "deleted"}`).join(" ");
}
