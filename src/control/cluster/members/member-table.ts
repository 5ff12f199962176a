/**
 * The members table: who belongs to the cluster, as records in the store.
 *
 * The table is what should be; the Raft membership follows it (`roles.ts`). A node that leaves or
 * is removed moves to the removed table for ever: an id is never used twice, so that an old disk
 * or a copied one cannot come back under it.
 *
 * @module
 */
import { parseAddress, parsePrefix } from "../../../base/address.ts";
import { formatNodeId, type NodeId, parseNodeId } from "../../../base/ids.ts";
import { type Compare, type Operation, type SystemTxn, systemTxn } from "../../kv/txn.ts";
import type { KeyValue, KvReader } from "../../kv/types.ts";
import { isRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { CLUSTER_PORT, formatHostPort, parseHostPort } from "../transport/host-port.ts";
import type { MemberInfo, MemberRecord } from "../types.ts";
import {
  encodeRecord,
  lifeKey,
  MEMBERS_PREFIX,
  parseRecord,
  REMOVED_PREFIX,
  versionsKey,
  wishKey,
} from "./system-record.ts";
import { parseZone } from "./zones.ts";

const NAME_LENGTH_MAX = 253;
/** Printable and without blanks: what a host name may be, and no more can hurt a log or a table. */
const NAME_PATTERN = /^[\x21-\x7e]+$/;
const ADDRESS_LENGTH_MAX = 300;
const IP_LENGTH_MAX = 45;
const PREFIX_LENGTH_MAX = 49;
/** Links of one node; more are cut off, they only sharpen a warning. */
export const UNDERLAY_PREFIX_COUNT_MAX = 64;
const KEY_HASH_LENGTH_MAX = 64;

/** A record with what the API does not show. */
export interface StoredMember extends MemberRecord {
  /** SHA-256 of the node's public key: a repeated join of the same node is recognized by it. */
  readonly keyHash: string;
  /** Of the record in the store. */
  readonly modRevision: number;
}

/** All members, ascending by id. Records that this version cannot read are left out. */
export function listMembers(reader: KvReader): readonly StoredMember[] {
  const members: StoredMember[] = [];
  for (const pair of reader.list(MEMBERS_PREFIX)) {
    const member = decodeMember(pair);
    if (member !== undefined) members.push(member);
  }
  return members;
}

/** The record of `id`. */
export function findMember(reader: KvReader, id: NodeId): StoredMember | undefined {
  const pair = reader.get(memberKey(id));
  return pair === undefined ? undefined : decodeMember(pair);
}

/** Whether `id` was a member once and never may be again. */
export function isRemoved(reader: KvReader, id: NodeId): boolean {
  return reader.get(removedKey(id)) !== undefined;
}

/** "The member record of `id` is still as it was when it had `modRevision`" (0: absent). */
export function memberUnchanged(id: NodeId, modRevision: number): Compare {
  return { key: memberKey(id), target: "modRevision", op: "=", value: modRevision };
}

/** "`id` was never removed." */
export function neverRemoved(id: NodeId): Compare {
  return { key: removedKey(id), target: "version", op: "=", value: 0 };
}

/** Writes the record. */
export function putMember(member: Omit<StoredMember, "modRevision">): Operation {
  const { id, name, address, publicIp, underlayPrefixes, zone, joinedAtMs, keyHash } = member;
  const value = encodeRecord({
    name,
    address: formatHostPort(address),
    publicIp,
    underlayPrefixes: underlayPrefixes.slice(0, UNDERLAY_PREFIX_COUNT_MAX),
    zone,
    joinedAtMs,
    keyHash,
  });
  return { kind: "put", key: memberKey(id), value };
}

/** Takes `member` out for ever, if its record is still the same. */
export function removeMember(member: StoredMember, wallMs: number): SystemTxn {
  const removed = encodeRecord({ name: member.name, removedAtMs: wallMs });
  return systemTxn({
    compare: [memberUnchanged(member.id, member.modRevision)],
    success: [
      { kind: "delete", key: memberKey(member.id) },
      { kind: "delete", key: wishKey(member.id) },
      { kind: "delete", key: lifeKey(member.id) },
      { kind: "delete", key: versionsKey(member.id) },
      { kind: "put", key: removedKey(member.id), value: removed },
    ],
  });
}

/** Whether two nodes say the same about themselves. */
export function isSameInfo(a: MemberInfo, b: MemberInfo): boolean {
  return (
    a.name === b.name &&
    a.publicIp === b.publicIp &&
    a.zone === b.zone &&
    formatHostPort(a.address) === formatHostPort(b.address) &&
    a.underlayPrefixes.length === b.underlayPrefixes.length &&
    a.underlayPrefixes.every((prefix, position) => prefix === b.underlayPrefixes[position])
  );
}

/** What a node says about itself, as a record; in members and in join requests. */
export function infoToRecord(info: MemberInfo): Readonly<Record<string, unknown>> {
  return { ...info, address: formatHostPort(info.address) };
}

/** What `value` says about a node, or undefined. */
export function infoFromRecord(value: unknown): MemberInfo | undefined {
  if (!isRecord(value)) return undefined;
  const fields = new FieldReader(value);
  const name = fields.text("name", NAME_LENGTH_MAX);
  const isName = NAME_PATTERN.test(name);
  const address = parseHostPort(fields.text("address", ADDRESS_LENGTH_MAX), CLUSTER_PORT);
  const publicIp = fields.text("publicIp", IP_LENGTH_MAX);
  const isIp = publicIp === "" || parseAddress(publicIp) === publicIp;
  const underlayPrefixes = fields.list("underlayPrefixes", asPrefix);
  // A node of a version without zones says nothing of one.
  const zone = fields.has("zone") ? parseZone(fields.text("zone", ADDRESS_LENGTH_MAX)) : "";
  if (fields.failed || address === undefined || !isName || !isIp) return undefined;
  return zone === undefined ? undefined : { name, address, publicIp, underlayPrefixes, zone };
}

function asPrefix(value: unknown): string | undefined {
  if (typeof value !== "string" || value.length > PREFIX_LENGTH_MAX) return undefined;
  return parsePrefix(value) === value ? value : undefined;
}

function decodeMember(pair: KeyValue): StoredMember | undefined {
  const id = parseNodeId(pair.key.slice(MEMBERS_PREFIX.length));
  const value = parseRecord(pair.value);
  const info = infoFromRecord(value);
  const fields = new FieldReader(value);
  const joinedAtMs = fields.counter("joinedAtMs");
  const keyHash = fields.text("keyHash", KEY_HASH_LENGTH_MAX);
  if (id === undefined || info === undefined || fields.failed) return undefined;
  return { id, ...info, joinedAtMs, keyHash, modRevision: pair.modRevision };
}

function memberKey(id: NodeId): string {
  return `${MEMBERS_PREFIX}${formatNodeId(id)}`;
}

function removedKey(id: NodeId): string {
  return `${REMOVED_PREFIX}${formatNodeId(id)}`;
}
