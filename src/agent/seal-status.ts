/**
 * What `status` says about sealed packets: only what is so for every peer, and what is not yet.
 *
 * @module
 */
import type { NodeId } from "../base/ids.ts";
import type { Assignment } from "./data-plane.ts";

/** "aes-256-gcm" when no packet goes or comes plain; else "none". */
export function encryptionOf(assigned: Assignment | undefined): string {
  if (assigned?.seal === undefined || !assigned.seal.isWanted) return "none";
  const isSealed = assigned.rows.every((row) => row.seals === true && row.refusesPlain === true);
  return isSealed ? "aes-256-gcm" : "none";
}

/** Peers that are on their way from plain to sealed packets or back, and those that cannot be. */
export function sealWarnings(
  assigned: Assignment | undefined,
  nameOf: (node: NodeId) => string,
): readonly string[] {
  const { seal, rows = [] } = assigned ?? {};
  if (seal === undefined) return [];
  const warnings: string[] = [];
  const count = rows.length;
  const sealed = rows.filter((row) => row.seals === true).length;
  const closed = rows.filter((row) => row.refusesPlain === true).length;
  if (seal.isWanted && closed < count) {
    warnings.push(
      `Switching to sealed packets: ${sealed} of ${count} peers are sealed to, ${closed} are no longer taken plain packets from`,
    );
  }
  if (!seal.isWanted && sealed > 0) {
    warnings.push(`Switching to plain packets: ${sealed} of ${count} peers are still sealed to`);
  }
  const mute = rows.filter((row) => row.seals && seal.peers.get(row.peer)?.keys.length === 0);
  if (mute.length > 0) {
    const names = mute.slice(0, 3).map((row) => nameOf(row.peer));
    const rest = mute.length > names.length ? ` and ${mute.length - names.length} more` : "";
    warnings.push(
      `Nothing is sent to ${names.join(", ")}${rest}: their leases list no key for sealed packets; see whether their agents run and are up to date`,
    );
  }
  return warnings;
}
