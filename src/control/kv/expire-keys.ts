/**
 * The command that deletes keys whose time to live is over.
 *
 * Proposed by the leader, which alone decides by its clock, and bound to its term and to the epoch
 * of each key: what was renewed or written meanwhile, or decided by a leader that is none any
 * more, stays. Pure.
 *
 * @module
 */
import { decodeIndex, decodeTerm, type Index, type Term } from "../../base/ids.ts";
import { isValidKey } from "./key.ts";
import { EXPIRE_BATCH_MAX } from "./limits.ts";
import { isCounter, isRecord, parseList } from "./plain.ts";
import type { ApplyContext, Command, CommandRefusal, KvWriter } from "./types.ts";

/** One key with the grant or renewal after which its time ran out. */
export interface KeyExpiry {
  readonly key: string;
  readonly epoch: Index;
}

/** Deletes keys whose time ran out by the clock of the leader of `term`. */
export interface ExpireKeys extends Command<ExpireKeysOutcome> {
  readonly kind: "expire_keys";
  readonly term: Term;
  readonly keys: readonly KeyExpiry[];
}

export type ExpireKeysOutcome =
  /** Keys that are gone; the others were renewed or written, or the term was over. */
  { readonly kind: "expired"; readonly keys: readonly string[] } | CommandRefusal;

/** Deletes up to `EXPIRE_BATCH_MAX` keys whose epoch, and the term, are still those given. */
export function expireKeys(term: Term, keys: readonly KeyExpiry[]): ExpireKeys {
  return { kind: "expire_keys", term, keys };
}

/** The command that `value` is; undefined when it is none. */
export function parseExpireKeys(value: unknown): ExpireKeys | undefined {
  if (!isRecord(value) || !isCounter(value["term"])) return undefined;
  const keys = parseList(value["keys"], EXPIRE_BATCH_MAX, parseExpiry);
  return keys === undefined ? undefined : expireKeys(decodeTerm(value["term"]), keys);
}

function parseExpiry(value: unknown): KeyExpiry | undefined {
  if (!isRecord(value)) return undefined;
  const { key, epoch } = value;
  if (typeof key !== "string" || !isValidKey(key) || !isCounter(epoch)) return undefined;
  return { key, epoch: decodeIndex(epoch) };
}

/** Deletes what is still as the leader saw it. */
export function applyExpireKeys(
  writer: KvWriter,
  command: ExpireKeys,
  context: ApplyContext,
): ExpireKeysOutcome {
  const keys: string[] = [];
  if (context.term !== command.term) return { kind: "expired", keys };
  for (const { key, epoch } of command.keys) {
    if (writer.get(key)?.ttl?.epoch !== epoch) continue;
    writer.delete(key);
    keys.push(key);
  }
  return { kind: "expired", keys };
}
