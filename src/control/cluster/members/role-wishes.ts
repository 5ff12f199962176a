/**
 * What people want of the roles, as records in the store: how many voters there should be, and
 * which node should vote or rather not. The leader's plan (`roles.ts`) follows as far as it can.
 *
 * Beside the members table and not in it: a node writes its own record there, people write these.
 *
 * @module
 */
import { type NodeId, parseNodeId } from "../../../base/ids.ts";
import { type SystemTxn, systemTxn } from "../../kv/txn.ts";
import type { KvReader } from "../../kv/types.ts";
import { FieldReader } from "../codec/fields.ts";
import { memberUnchanged, type StoredMember } from "./member-table.ts";
import { type RoleWish, VOTER_TARGET_DEFAULT, VOTER_TARGETS } from "./roles.ts";
import { encodeRecord, parseRecord, VOTERS_KEY, WISHES_PREFIX, wishKey } from "./system-record.ts";

const WISHES = ["voter", "standby"] as const;

/** How many voters there should be, at most. */
export function voterTargetOf(reader: KvReader): number {
  const pair = reader.get(VOTERS_KEY);
  if (pair === undefined) return VOTER_TARGET_DEFAULT;
  const target = new FieldReader(parseRecord(pair.value)).counter("target");
  return isVoterTarget(target) ? target : VOTER_TARGET_DEFAULT;
}

/** Whether `target` is a number of voters that may be set. */
export function isVoterTarget(target: number): boolean {
  return VOTER_TARGETS.some((each) => each === target);
}

/** Sets how many voters there should be. */
export function putVoterTarget(target: number): SystemTxn {
  return systemTxn({
    success: [{ kind: "put", key: VOTERS_KEY, value: encodeRecord({ target }) }],
  });
}

/** Whom somebody wished to vote, or not to. */
export function listWishes(reader: KvReader): ReadonlyMap<NodeId, RoleWish> {
  const wishes = new Map<NodeId, RoleWish>();
  for (const { key, value } of reader.list(WISHES_PREFIX)) {
    const id = parseNodeId(key.slice(WISHES_PREFIX.length));
    const fields = new FieldReader(parseRecord(value));
    const wish = fields.choice("wish", WISHES);
    if (id !== undefined && !fields.failed) wishes.set(id, wish);
  }
  return wishes;
}

/** Wishes `member` to be `wish`, if it is still a member. */
export function putWish(member: StoredMember, wish: RoleWish): SystemTxn {
  const value = encodeRecord({ wish });
  return systemTxn({
    compare: [memberUnchanged(member.id, member.modRevision)],
    success: [{ kind: "put", key: wishKey(member.id), value }],
  });
}
