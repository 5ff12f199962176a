/**
 * The store from the other side of the admin API: the part of `AdminClient` that is about keys.
 *
 * @module
 */
import * as v from "valibot";
import { err, ok } from "../base/result.ts";
import {
  type AdminTarget,
  type Answer,
  type ClientFailure,
  JSON_TYPE,
  openStream,
  post,
  send,
  streamFailure,
} from "./ask.ts";
import { StreamDecoder, type StreamEvent } from "./event-stream.ts";
import type {
  Consistency,
  DeleteEventView,
  ItemView,
  ListView,
  PutEventView,
  TxnView,
  WriteView,
} from "./kv-api.ts";
import { normalizeKey, pathOfKey } from "./kv-item.ts";
import {
  BookmarkSchema,
  DeleteEventSchema,
  ListSchema,
  PutEventSchema,
  TxnSchema,
  WriteSchema,
} from "./kv-views.ts";
import { decodeProblem } from "./views.ts";

/** More than the largest value takes as JSON, with what was there before. */
const EVENT_SIZE_MAX_BYTES = 16 * 1024 * 1024;

export interface ReadOptions {
  readonly consistency?: Consistency | undefined;
  /** Read the past. */
  readonly revision?: number | undefined;
}

export interface ListOptions extends ReadOptions {
  readonly prefix: string;
  readonly limit?: number | undefined;
}

export interface WriteOptions {
  readonly key: string;
  /** Fail with `revision_mismatch` unless the key is at this revision; 0: is not there. */
  readonly expectedRevision?: number | undefined;
}

export interface PutOptions extends WriteOptions {
  readonly value: Uint8Array<ArrayBuffer>;
  readonly ttlSeconds?: number | undefined;
}

/** One key as it was read, and the revision of the store then. */
export interface EntryView {
  readonly revision: number;
  readonly item: ItemView;
}

export interface WatchOptions {
  readonly prefix: string;
  readonly since?: number | undefined;
}

/**
 * What a watch tells. `resumeAfter`: everything up to it was told, so another watch can go on from
 * there; undefined when nothing was told completely yet.
 */
export type WatchEvent = {
  readonly revision: number;
  readonly resumeAfter: number | undefined;
} & (
  | { readonly kind: "put"; readonly item: PutEventView }
  | { readonly kind: "delete"; readonly item: DeleteEventView }
  | { readonly kind: "bookmark" }
);

export interface KvClient {
  get(key: string, options: ReadOptions): Answer<EntryView>;
  list(options: ListOptions): Answer<ListView>;
  put(options: PutOptions): Answer<WriteView>;
  /** `not_found` when there was nothing to delete. */
  delete(options: WriteOptions): Answer<WriteView>;
  /** `body` goes to the agent as it is, so that its faults are told with their position. */
  txn(body: string): Answer<TxnView>;
  compact(revision: number): Answer<WriteView>;
  /**
   * Tells `onEvent` what happens until that resolves to false. Resolves to undefined then, or to
   * why the watch ended before.
   */
  watch(
    options: WatchOptions,
    onEvent: (event: WatchEvent) => Promise<boolean>,
  ): Promise<ClientFailure | undefined>;
}

/** A client that gives each request, and the beginning of each watch, `timeoutMs`. */
export function createKvClient(target: AdminTarget, timeoutMs: number): KvClient {
  const ask = <View>(
    schema: v.GenericSchema<unknown, View>,
    request: Parameters<typeof send>[3],
  ): Answer<View> => send(target, timeoutMs, schema, request);
  return {
    get: async (key, options) => {
      // The list tells all about a key, the route of the key only its value and revision.
      const prefix = normalizeKey(key);
      const query = queryOf({ prefix, limit: 1, ...options });
      const listed = await ask(ListSchema, { path: `/kv${query}` });
      if (!listed.ok) return listed;
      const { revision, items } = listed.value;
      const item = items[0];
      if (item?.key === prefix) return ok({ revision, item });
      const detail = `there is no such key at revision ${revision}`;
      return err({ kind: "not_found", detail });
    },
    list: ({ prefix, limit, revision, consistency }) =>
      ask(ListSchema, { path: `/kv${queryOf({ prefix, limit, revision, consistency })}` }),
    put: ({ key, value, ttlSeconds, expectedRevision }) =>
      ask(WriteSchema, {
        method: "PUT",
        path: pathOfKey(normalizeKey(key)) + queryOf({ ttl: ttlSeconds }),
        body: value,
        headers: conditionOf(expectedRevision),
      }),
    delete: ({ key, expectedRevision }) =>
      ask(WriteSchema, {
        method: "DELETE",
        path: pathOfKey(normalizeKey(key)),
        headers: conditionOf(expectedRevision),
      }),
    txn: (body) => ask(TxnSchema, { method: "POST", path: "/txn", body, headers: JSON_TYPE }),
    compact: (revision) => ask(WriteSchema, post("/compact", { revision })),
    watch: (options, onEvent) => watch(target, timeoutMs, options, onEvent),
  };
}

function conditionOf(expectedRevision: number | undefined): Record<string, string> {
  return expectedRevision === undefined ? {} : { "if-match": `"${expectedRevision}"` };
}

function queryOf(fields: Readonly<Record<string, string | number | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined && value !== "") query.set(name, String(value));
  }
  return query.size === 0 ? "" : `?${query}`;
}

async function watch(
  target: AdminTarget,
  timeoutMs: number,
  { prefix, since }: WatchOptions,
  onEvent: (event: WatchEvent) => Promise<boolean>,
): Promise<ClientFailure | undefined> {
  const path = `/watch${queryOf({ prefix, since })}`;
  const stream = await openStream(target, timeoutMs, { path });
  if (!stream.ok) return stream.error;
  const decoder = new StreamDecoder(EVENT_SIZE_MAX_BYTES);
  try {
    for await (const chunk of stream.value) {
      for (const each of decoder.push(chunk) ?? [TOO_LARGE]) {
        const event = decodeEvent(each);
        if ("detail" in event) return event;
        if (!(await onEvent(event))) return undefined;
      }
    }
  } catch (error) {
    return streamFailure(target, error);
  }
  return { kind: "no_agent", detail: "the agent ended the watch" };
}

const TOO_LARGE: StreamEvent = { name: "too large", data: "{}", lastId: "" };

/** What `event` tells, or the failure that it tells of or is itself. */
function decodeEvent({ name, data, lastId }: StreamEvent): WatchEvent | ClientFailure {
  const body = parseJsonOrUndefined(data);
  const resumeAfter = lastId === "" ? undefined : Number(lastId);
  switch (name) {
    case "put": {
      const item = v.safeParse(PutEventSchema, body);
      if (!item.success) break;
      return { kind: "put", revision: item.output.modRevision, item: item.output, resumeAfter };
    }
    case "delete": {
      const item = v.safeParse(DeleteEventSchema, body);
      if (!item.success) break;
      return { kind: "delete", revision: item.output.revision, item: item.output, resumeAfter };
    }
    case "bookmark": {
      const bookmark = v.safeParse(BookmarkSchema, body);
      if (!bookmark.success) break;
      return { kind: "bookmark", revision: bookmark.output.revision, resumeAfter };
    }
  }
  const detail = `its event "${name}" is not understood; use a client of the agent's version`;
  return decodeProblem(body) ?? { kind: "bad_answer", detail };
}

function parseJsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined; // No schema takes it.
  }
}
