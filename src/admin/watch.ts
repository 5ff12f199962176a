/**
 * `GET /watch`: the changes under a prefix as they come, as server-sent events.
 *
 *     event: put                                event: delete        event: bookmark
 *     id: 12                                    id: 13               id: 20
 *     data: {"key":"/a/x","value":"1",…}        data: {"key":…}      data: {"revision":20}
 *
 * `since=7` begins after revision 7, and so does the header `Last-Event-ID`, which browsers send
 * when they connect again; without both it begins now. An `id` is given by the last event of a
 * revision only: a client that loses its connection in the middle of a revision then goes on after
 * the one before, and gets all of it again. A `bookmark` says that everything up to its revision
 * was sent; one comes as soon as the watch has caught up, and now and then.
 *
 * Nothing is buffered here beyond one step of the watch: a slow client is read from the history
 * when it is ready for more. When that has passed it by, it gets the event `compacted` and the end.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { unreachable } from "../base/assert.ts";
import { decodeRevision, type Revision } from "../base/ids.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { KvEvent, RevisionEvents } from "../control/kv/types.ts";
import type { WatchCursor } from "../control/kv/watch.ts";
import { EVENT_STREAM_TYPE, encodeStreamEvent, STREAM_COMMENT } from "./event-stream.ts";
import type { DeleteEventView, KvApi, PutEventView, Watch, WatchItem } from "./kv-api.ts";
import { itemView, normalizeKey } from "./kv-item.ts";
import { compactedProblem, futureProblem } from "./kv-problem.ts";
import { type Problem, problemResponse } from "./problem.ts";
import { parseQuery, parseWith } from "./request.ts";
import type { AdminService } from "./service.ts";

const revision = v.pipe(
  v.string(),
  v.regex(/^[0-9]{1,16}$/, "Expected a revision"),
  v.transform(Number),
  v.safeInteger(),
  v.transform(decodeRevision),
);

/** Query of `GET /watch`. */
export const WatchQuery = v.strictObject({
  prefix: v.optional(v.pipe(v.string(), v.transform(normalizeKey)), ""),
  since: v.optional(revision),
  /** Whether events tell what was there before. */
  previous: v.optional(
    v.pipe(
      v.picklist(["true", "false"]),
      v.transform((text) => text === "true"),
    ),
    "false",
  ),
});
/** Header that a browser sends when it connects again. */
export const LastEventId = v.object({ "Last-Event-ID": v.optional(revision) });

/** Events last encoded, for other watches that get the same. */
const CACHE_EVENTS_MAX = 256;

/** The route of watches; they end when `closing` aborts. */
export function watchRoutes(service: AdminService, closing: AbortSignal | undefined): Hono {
  const encoder = new EventEncoder();
  const app = new Hono();
  app.get("/watch", async (c) => {
    const request = c.req.raw;
    const query = parseQuery(request, WatchQuery);
    if (!query.ok) return problemResponse(query.error);
    const { prefix, previous } = query.value;
    const since = parseSince(request, query.value.since);
    if (!since.ok) return problemResponse(since.error);
    const cursor = await startCursor(service.kv, prefix, since.value);
    if (!cursor.ok) return problemResponse(cursor.error);
    const headers = { "content-type": EVENT_STREAM_TYPE };
    // A HEAD request comes here too, and nobody would read, or end, what it began.
    if (request.method === "HEAD") return new Response(null, { headers });
    const watch = service.kv.watch(cursor.value);
    if (!watch.ok) return problemResponse(watch.error);
    const encode = (item: WatchItem) => encoder.encode(item, previous);
    return new Response(streamOf(watch.value, encode, closing), { headers });
  });
  return app;
}

/** The header wins: it is from later in the life of the same watch. */
function parseSince(
  request: Request,
  since: Revision | undefined,
): Result<Revision | undefined, Problem> {
  const header = request.headers.get("last-event-id") || undefined;
  const parsed = parseWith(LastEventId, { "Last-Event-ID": header }, "header");
  if (!parsed.ok) return parsed;
  return ok(parsed.value["Last-Event-ID"] ?? since);
}

/** Where the watch begins, after a look at whether it can. */
async function startCursor(
  kv: KvApi,
  prefix: string,
  since: Revision | undefined,
): Promise<Result<WatchCursor, Problem>> {
  const local = await kv.read("serializable");
  if (!local.ok) return local;
  const { history, reader } = local.value;
  if (since === undefined) return ok({ prefix, after: reader.revision });
  if (since < history.oldestRevision) {
    return err(compactedProblem(since, history.oldestRevision));
  }
  if (since <= reader.revision) return ok({ prefix, after: since });
  // Perhaps only this node is behind.
  const current = await kv.read("linearizable");
  if (!current.ok) return current;
  const known = current.value.reader.revision;
  return since > known ? err(futureProblem(since, known)) : ok({ prefix, after: since });
}

function streamOf(
  watch: Watch,
  encode: (item: WatchItem) => string,
  closing: AbortSignal | undefined,
): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder();
  const close = () => watch.close();
  closing?.addEventListener("abort", close, { once: true });
  const end = () => {
    closing?.removeEventListener("abort", close);
    watch.close();
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const item = await watch.next();
        const text = encode(item);
        if (text !== "") controller.enqueue(utf8.encode(text));
        if (item.kind !== "ended" && item.kind !== "compacted") return;
        end();
        controller.close();
      },
      cancel: end,
    },
    { highWaterMark: 0 }, // Asked for only when the connection takes more.
  );
}

/** Events as text. A hundred watches of one prefix cost one encoding. */
class EventEncoder {
  readonly #cache = new Map<KvEvent, string>();

  encode(item: WatchItem, previous: boolean): string {
    switch (item.kind) {
      case "events":
        return item.batches.map((batch) => this.#batch(batch, previous)).join("");
      case "bookmark": {
        const { revision } = item;
        return encodeStreamEvent("bookmark", { revision }, revision);
      }
      case "idle":
        return STREAM_COMMENT;
      case "compacted": {
        const { kind, oldestRevision } = item;
        const detail =
          "Cannot go on with the watch: what came next is compacted, the oldest revision here is " +
          `${oldestRevision}; read the present, and watch from the revision of that`;
        const view = { type: `urn:overlay:${kind}`, detail, oldestRevision };
        return encodeStreamEvent(kind, view, undefined);
      }
      case "ended":
        return "";
      default:
        return unreachable(item);
    }
  }

  #batch({ revision, events }: RevisionEvents, previous: boolean): string {
    let text = "";
    for (const [i, event] of events.entries()) {
      const data = previous ? JSON.stringify(eventView(event, true)) : this.#data(event);
      const id = i === events.length - 1 ? `id: ${revision}\n` : "";
      text += `event: ${event.kind}\n${id}data: ${data}\n\n`;
    }
    return text;
  }

  #data(event: KvEvent): string {
    const known = this.#cache.get(event);
    if (known !== undefined) return known;
    const data = JSON.stringify(eventView(event, false));
    this.#cache.set(event, data);
    if (this.#cache.size > CACHE_EVENTS_MAX) {
      for (const oldest of this.#cache.keys()) {
        this.#cache.delete(oldest);
        break;
      }
    }
    return data;
  }
}

function eventView(event: KvEvent, withPrevious: boolean): PutEventView | DeleteEventView {
  if (event.kind === "put") {
    const item = itemView(event.current);
    const { previous } = event;
    return withPrevious ? { ...item, previous: previous ? itemView(previous) : null } : item;
  }
  const { key, revision } = event;
  return withPrevious ? { key, revision, previous: itemView(event.previous) } : { key, revision };
}
