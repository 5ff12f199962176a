/**
 * The cluster's join tokens, as records in the store: hashed, with a life and a count of uses.
 *
 * Whether a token may be used is decided on the leader, and its use is counted in the same
 * transaction that lets the node in, so two nodes never share the last use.
 *
 * @module
 */
import { err, ok, type Result } from "../../../base/result.ts";
import { type Compare, type Operation, type SystemTxn, systemTxn } from "../../kv/txn.ts";
import type { KeyValue, KvReader } from "../../kv/types.ts";
import { FieldReader } from "../codec/fields.ts";
import { encodeRecord, parseRecord, TOKENS_PREFIX } from "../members/system-record.ts";
import type { CreateTokenOptions, TokenInfo } from "../types.ts";
import { hashSecret, isSecretOf, tokenId } from "./token.ts";

const HASH_LENGTH = 64;
const ID_PATTERN = /^[a-z2-7]{10}$/;

/** Why a token does not open the door; `detail` is for the joining user. */
export interface TokenRefusal {
  readonly kind: "unknown" | "expired" | "used_up" | "revoked";
  readonly detail: string;
}

/** A token as stored. */
export interface StoredToken extends TokenInfo {
  readonly hash: string;
  /** Of the record in the store. */
  readonly modRevision: number;
}

/** All tokens, ascending by id. */
export function listTokens(reader: KvReader): readonly StoredToken[] {
  const tokens: StoredToken[] = [];
  for (const pair of reader.list(TOKENS_PREFIX)) {
    const token = decodeToken(pair);
    if (token !== undefined) tokens.push(token);
  }
  return tokens;
}

/** The token with `id`. */
export function findToken(reader: KvReader, id: string): StoredToken | undefined {
  const pair = ID_PATTERN.test(id) ? reader.get(TOKENS_PREFIX + id) : undefined;
  return pair === undefined ? undefined : decodeToken(pair);
}

/** What the API may show of `token`. */
export function publicToken(token: StoredToken): TokenInfo {
  const { id, createdAtMs, expiresAtMs, usesMax, usesCount, revoked } = token;
  return { id, createdAtMs, expiresAtMs, usesMax, usesCount, revoked };
}

/** A new token for `secret`. */
export function newToken(
  secret: Uint8Array,
  options: CreateTokenOptions & { readonly wallMs: number },
): StoredToken {
  return {
    id: tokenId(secret),
    hash: hashSecret(secret),
    createdAtMs: options.wallMs,
    expiresAtMs: options.wallMs + options.lifeMs,
    usesMax: options.usesMax,
    usesCount: 0,
    revoked: false,
    modRevision: 0,
  };
}

/** Writes `token` if its record is still the one it was read from. */
export function replaceToken(token: StoredToken): SystemTxn {
  return systemTxn({ compare: [tokenUnchanged(token)], success: [putToken(token)] });
}

/** The token that `secret` opens the door with now, or why it does not. */
export function checkSecret(
  reader: KvReader,
  secret: Uint8Array,
  wallMs: number,
): Result<StoredToken, TokenRefusal> {
  const token = findToken(reader, tokenId(secret));
  if (token === undefined || !isSecretOf(secret, token.hash)) {
    return refuse("unknown", "this cluster does not know it");
  }
  if (token.revoked) return refuse("revoked", "it was revoked");
  if (wallMs >= token.expiresAtMs) {
    const at = new Date(token.expiresAtMs).toISOString();
    return refuse("expired", `it expired at ${at}`);
  }
  if (token.usesMax !== undefined && token.usesCount >= token.usesMax) {
    const times = token.usesCount === 1 ? "once" : `${token.usesCount} times`;
    return refuse("used_up", `it was used ${times}, as often as allowed`);
  }
  return ok(token);
}

/** "The record of `token` is still as it was read." */
export function tokenUnchanged(token: StoredToken): Compare {
  const key = TOKENS_PREFIX + token.id;
  return { key, target: "modRevision", op: "=", value: token.modRevision };
}

/** Counts one more use of `token`. */
export function countUse(token: StoredToken): Operation {
  return putToken({ ...token, usesCount: token.usesCount + 1 });
}

function putToken(token: StoredToken): Operation {
  const { hash, createdAtMs, expiresAtMs, usesMax = null, usesCount, revoked } = token;
  const value = encodeRecord({ hash, createdAtMs, expiresAtMs, usesMax, usesCount, revoked });
  return { kind: "put", key: TOKENS_PREFIX + token.id, value };
}

function decodeToken(pair: KeyValue): StoredToken | undefined {
  const fields = new FieldReader(parseRecord(pair.value));
  const token = {
    id: pair.key.slice(TOKENS_PREFIX.length),
    hash: fields.text("hash", HASH_LENGTH),
    createdAtMs: fields.counter("createdAtMs"),
    expiresAtMs: fields.counter("expiresAtMs"),
    usesMax: fields.has("usesMax") ? fields.counter("usesMax") : undefined,
    usesCount: fields.counter("usesCount"),
    revoked: fields.flag("revoked"),
    modRevision: pair.modRevision,
  };
  return fields.failed ? undefined : token;
}

function refuse(kind: TokenRefusal["kind"], state: string): Result<never, TokenRefusal> {
  const next = 'get a new one with "overlay token" on any node of the cluster';
  return err({ kind, detail: `Cannot use the token: ${state}; ${next}` });
}
