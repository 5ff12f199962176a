/**
 * Keys and values as they are written in URLs and in JSON.
 *
 * Every key begins with a slash. In a path the key is what stands behind `/kv`, so that
 * `/kv/a/b` is the key "/a/b"; where the slash is left out it is added, and `/kv//a/b` and
 * `/kv/%2Fa%2Fb`, which join a key to a path in other ways, are the same key too.
 *
 * A value is a JSON string when it is UTF-8 text, otherwise `{"base64": "…"}` (RFC 4648 §4).
 *
 * @module
 */
import type { KeyValue } from "../control/kv/types.ts";
import type { ItemView, ValueView } from "./kv-api.ts";

/** What the path of a key's URL begins with. */
export const KEY_PATH_PREFIX = "/kv/";
const BASE64_PATTERN = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** `key` with the slash that every key begins with. No text stays none. */
export function normalizeKey(key: string): string {
  return key === "" || key.startsWith("/") ? key : `/${key}`;
}

/** The key that the path of a URL names; undefined when its percent signs encode no UTF-8. */
export function keyOfPath(pathname: string): string | undefined {
  const written = pathname.slice(KEY_PATH_PREFIX.length);
  if (!written.includes("%")) return normalizeKey(written);
  try {
    return normalizeKey(decodeURIComponent(written));
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

/** The path that names `key`. Its slashes are encoded: a URL would take "/../" for a way up. */
export function pathOfKey(key: string): string {
  return KEY_PATH_PREFIX + encodeURIComponent(key);
}

// `ignoreBOM` keeps a byte order mark: without it the text would not be the value.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** `value` as JSON shows it. */
export function valueView(value: Uint8Array): ValueView {
  try {
    return utf8.decode(value);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { base64: Buffer.from(value).toString("base64") };
  }
}

/** The bytes that `view` stands for; undefined when it is neither UTF-8 text nor base64. */
export function parseValueView(view: ValueView): Uint8Array | undefined {
  if (typeof view === "string") {
    // A lone surrogate has no UTF-8 form: it would become another value without a word.
    return view.isWellFormed() ? new TextEncoder().encode(view) : undefined;
  }
  return BASE64_PATTERN.test(view.base64) ? Buffer.from(view.base64, "base64") : undefined;
}

/** `pair` as JSON shows it. */
export function itemView(pair: KeyValue): ItemView {
  const { key, value, createRevision, modRevision, version, ttl } = pair;
  const item = { key, value: valueView(value), createRevision, modRevision, version };
  return ttl === undefined ? item : { ...item, ttlSeconds: ttl.seconds };
}
