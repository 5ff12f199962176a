/**
 * Lives of a node: how a cluster tells the node from an old copy of its disk, or from a second
 * process that has one.
 *
 * A node id and its certificate lie on a disk, and disks are copied: backups are put back, machines
 * cloned. What comes back so has forgotten what it promised since, votes and entries among it, and
 * two of it are one voter twice. So each start is a new life: one more than the last one that the
 * cluster has recorded, with a random mark. The node tells its life and the one before to whom it
 * connects; who knows a later life than that, or another one of the same number, refuses it.
 *
 *     recorded 6-x    claims 7-y after 6-x     good: the next start of the same disk
 *                     claims 6-x after 5-w     good: the recorded life itself
 *                     claims 7-y after 6-z     refused: the disk branched off before
 *                     claims 5-v after 4-u     refused: an old copy
 *                     claims 9-a after 8-b     good: it is this node's own record that is old
 *
 * A life that was not recorded is used again at the next start, so that a node which cannot reach
 * its cluster may start as often as it likes. What this cannot show is a disk that went back
 * within one life: that shows when the leader counts on more than its log holds (`driver.ts`).
 *
 * Pure, but for the records in the store.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { Random } from "../../../host/ports.ts";
import type { Compare, Operation } from "../../kv/txn.ts";
import type { KvReader } from "../../kv/types.ts";
import { FieldReader } from "../codec/fields.ts";
import { encodeRecord, lifeKey, parseRecord } from "./system-record.ts";

const NONCE_SIZE_BYTES = 8;
const LIFE_PATTERN = /^([1-9][0-9]{0,14})-([0-9a-f]{16})$/;
const LIFE_LENGTH_MAX = 32;

/** One start of one disk. */
export interface Life {
  readonly number: number;
  /** Random: two starts of two copies have the same number. */
  readonly nonce: string;
}

/** What a node says of itself. */
export interface LifeClaim {
  readonly life: Life;
  /** The last one that the cluster recorded; undefined in the first. */
  readonly previous: Life | undefined;
}

/** What the node keeps on its disk. */
export interface KeptLife extends LifeClaim {
  /** Whether the cluster has recorded `life`: the next start is another one then. */
  readonly isRecorded: boolean;
}

/** The life of a start whose disk held `kept`. */
export function nextLife(kept: KeptLife | undefined, random: Random): KeptLife {
  if (kept?.isRecorded === false) return kept;
  const nonce = Buffer.from(random.bytes(NONCE_SIZE_BYTES)).toString("hex");
  const life = { number: (kept?.life.number ?? 0) + 1, nonce };
  return { life, previous: kept?.life, isRecorded: false };
}

/** Whether a node that claims so is the one that the cluster knows as `recorded`. */
export function isSameNode(claim: LifeClaim, recorded: Life | undefined): boolean {
  if (recorded === undefined) return true;
  const { life, previous } = claim;
  if (life.number === recorded.number) return life.nonce === recorded.nonce;
  if (life.number !== recorded.number + 1) return life.number > recorded.number;
  return previous?.nonce === recorded.nonce;
}

/** "7-1f2e3d4c5b6a7988". */
export function formatLife({ number, nonce }: Life): string {
  return `${number}-${nonce}`;
}

/** The life that `text` names, or undefined. */
export function parseLife(text: string): Life | undefined {
  const match = LIFE_PATTERN.exec(text);
  return match === null ? undefined : { number: Number(match[1]), nonce: match[2]! };
}

/** `kept` as the text of a file. */
export function formatKeptLife({ life, previous, isRecorded }: KeptLife): string {
  const value = {
    life: formatLife(life),
    previous: previous === undefined ? "" : formatLife(previous),
    isRecorded,
  };
  return `${JSON.stringify(value)}\n`;
}

/** What the file says, or undefined when it says nothing that makes sense. */
export function parseKeptLife(text: string): KeptLife | undefined {
  const fields = new FieldReader(parseRecord(new TextEncoder().encode(text)));
  const claim = claimFrom(fields.raw("life"), fields.raw("previous"));
  const isRecorded = fields.flag("isRecorded");
  return claim === undefined || fields.failed ? undefined : { ...claim, isRecorded };
}

/** A claim as it comes from outside: two texts, the second "" in a first life. */
export function claimFrom(life: unknown, previous: unknown): LifeClaim | undefined {
  if (typeof life !== "string" || typeof previous !== "string") return undefined;
  if (life.length > LIFE_LENGTH_MAX || previous.length > LIFE_LENGTH_MAX) return undefined;
  const own = parseLife(life);
  const last = previous === "" ? undefined : parseLife(previous);
  if (own === undefined || (previous !== "" && last === undefined)) return undefined;
  return { life: own, previous: last };
}

/** The life in which the cluster knows `id`. */
export function recordedLife(reader: Pick<KvReader, "get">, id: NodeId): Life | undefined {
  const pair = reader.get(lifeKey(id));
  if (pair === undefined) return undefined;
  const fields = new FieldReader(parseRecord(pair.value));
  const life = parseLife(fields.text("life", LIFE_LENGTH_MAX));
  return fields.failed ? undefined : life;
}

/** Records `life` as that of `id`. */
export function putLife(id: NodeId, life: Life): Operation {
  return { kind: "put", key: lifeKey(id), value: encodeRecord({ life: formatLife(life) }) };
}

/** "The record of the life of `id` is as it is here now." */
export function lifeUnchanged(reader: Pick<KvReader, "get">, id: NodeId): Compare {
  const value = reader.get(lifeKey(id))?.modRevision ?? 0;
  return { key: lifeKey(id), target: "modRevision", op: "=", value };
}
