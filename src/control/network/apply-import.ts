/**
 * Applying the import of a network: config and reservations together, or nothing.
 *
 * @module
 */
import type { KvWriter } from "../kv/types.ts";
import { applyPutConfig } from "./apply-config.ts";
import { applyReserve } from "./apply-reservations.ts";
import {
  type ImportedReservation,
  type ImportNetwork,
  type ImportOutcome,
  putConfig,
  type RefusedReservation,
  type ReserveOutcome,
  reserveSubnet,
} from "./commands.ts";
import { LeaseBook } from "./lease-book.ts";

/** Importing once more what was imported before changes nothing. */
export function applyImport(writer: KvWriter, command: ImportNetwork): ImportOutcome {
  const { config, expectedRevision, reservations } = command;
  const request = { config, expectedRevision: expectedRevision ?? undefined };
  const stored = applyPutConfig(writer, putConfig(request));
  if (stored.kind !== "stored") return stored;
  const refused: RefusedReservation[] = [];
  for (const imported of reservations) {
    const { publicIp, subnet } = imported;
    const owner = { kind: "public_ip", publicIp } as const;
    const why = applyReserve(writer, reserveSubnet({ subnet, owner }));
    if (why.kind === "reserved" || isBoundAlready(writer, imported, why)) continue;
    refused.push({ subnet, why });
  }
  if (refused.length > 0) {
    writer.revert();
    return { kind: "refused", refused };
  }
  return { ...stored, kind: "imported" };
}

/** Whether the subnet is kept for the node that came from the address meanwhile. */
function isBoundAlready(
  writer: KvWriter,
  { publicIp, subnet }: ImportedReservation,
  why: ReserveOutcome,
): boolean {
  if (why.kind !== "reserved_for_other" || why.owner.kind !== "node") return false;
  const lease = new LeaseBook(writer).get(subnet);
  return lease?.node === why.owner.node && lease.attributes.publicIp === publicIp;
}
