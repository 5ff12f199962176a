/**
 * The clusters that this one goes on from, as records in the store: `/overlay/former/<cluster>`.
 *
 * @module
 */
import { type ClusterId, parseClusterId } from "../../../base/ids.ts";
import type { Operation } from "../../kv/txn.ts";
import type { KvReader } from "../../kv/types.ts";
import { isRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { encodeRecord, parseRecord } from "../members/system-record.ts";

export const FORMER_PREFIX = "/overlay/former/";

/** How a cluster came out of another one. */
export type RefoundKind = "recovered" | "restored";

/** One that was before. */
export interface Former {
  readonly clusterId: ClusterId;
  readonly generation: number;
  readonly how: RefoundKind;
  /** Wall time, by the node that did it. */
  readonly atMs: number;
}

/** Writes the record. */
export function putFormer(former: Former): Operation {
  const { clusterId, ...rest } = former;
  return { kind: "put", key: `${FORMER_PREFIX}${clusterId}`, value: encodeRecord(rest) };
}

/** All of them with their keys, the oldest first. */
export function formerOf(reader: KvReader): readonly (Former & { readonly key: string })[] {
  const found: (Former & { readonly key: string })[] = [];
  for (const { key, value } of reader.list(FORMER_PREFIX)) {
    const record = parseRecord(value);
    const clusterId = parseClusterId(key.slice(FORMER_PREFIX.length));
    if (clusterId === undefined || !isRecord(record)) continue;
    const fields = new FieldReader(record);
    const generation = fields.counter("generation");
    const how = fields.choice("how", ["recovered", "restored"]);
    const atMs = fields.counter("atMs");
    if (!fields.failed) found.push({ key, clusterId, generation, how, atMs });
  }
  return found.sort((a, b) => a.atMs - b.atMs);
}
