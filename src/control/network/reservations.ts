/**
 * Reservations in the store: subnets kept for an owner, whether a lease of them is held or not.
 *
 * Pure: a view of the writer that the handler was given.
 *
 * @module
 */
import { type Prefix, parseAddress, parsePrefix } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import { formatNodeId, parseNodeId } from "../../base/ids.ts";
import type { KeyValue, KvReader, KvWriter } from "../kv/types.ts";
import type { ReservationOwner } from "./commands.ts";
import { ownerKey, RESERVATIONS_PREFIX, reservationKey, subnetOfKey } from "./keys.ts";
import { decodeJson, encodeJson } from "./record.ts";

export interface Reservation {
  readonly subnet: Prefix;
  readonly owner: ReservationOwner;
}

/** The reservation that the pair at a reservation's key holds; undefined when it holds none. */
export function decodeReservation(pair: KeyValue): Reservation | undefined {
  const subnet = subnetOfKey(pair.key, RESERVATIONS_PREFIX);
  const record = decodeJson(pair.value);
  if (subnet === undefined || record === undefined) return undefined;
  const { Node: nodeText, PublicIP: ipText } = record;
  const node = typeof nodeText === "string" ? parseNodeId(nodeText) : undefined;
  if (node !== undefined) return { subnet, owner: { kind: "node", node } };
  const publicIp = typeof ipText === "string" ? parseAddress(ipText) : undefined;
  if (publicIp === undefined) return undefined;
  return { subnet, owner: { kind: "public_ip", publicIp } };
}

/** Whether the two are the same owner. */
export function sameOwner(a: ReservationOwner, b: ReservationOwner): boolean {
  return ownerKey(a) === ownerKey(b);
}

/** Whom `subnet` is kept for. */
export function reservationOf(reader: KvReader, subnet: Prefix): ReservationOwner | undefined {
  const pair = reader.get(reservationKey(subnet));
  if (pair === undefined) return undefined;
  const reservation = decodeReservation(pair);
  assert(reservation !== undefined, "reservation in the store must be readable");
  return reservation.owner;
}

/** The subnet that is kept for `owner`. */
export function reservedSubnet(reader: KvReader, owner: ReservationOwner): Prefix | undefined {
  const pair = reader.get(ownerKey(owner));
  if (pair === undefined) return undefined;
  const text = decodeJson(pair.value)?.["Subnet"];
  const subnet = typeof text === "string" ? parsePrefix(text) : undefined;
  assert(subnet !== undefined, "index of the reservations must be readable");
  return subnet;
}

/** Writes a reservation; the subnet and the owner must have none. */
export function putReservation(writer: KvWriter, { subnet, owner }: Reservation): void {
  const record =
    owner.kind === "node" ? { Node: formatNodeId(owner.node) } : { PublicIP: owner.publicIp };
  writer.put(reservationKey(subnet), encodeJson(record));
  writer.put(ownerKey(owner), encodeJson({ Subnet: subnet }));
}

/** Removes a reservation that is there. */
export function deleteReservation(writer: KvWriter, { subnet, owner }: Reservation): void {
  const present = writer.delete(reservationKey(subnet));
  const indexed = writer.delete(ownerKey(owner));
  assert(present && indexed, "removed reservation must be present and in the index");
}
