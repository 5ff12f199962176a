/**
 * Whether a lease says what its holder would say now.
 *
 * @module
 */
import type { LeaseAttributes, LeaseBackend } from "../control/network/lease.ts";
import { sameSealKeys } from "../control/network/seal-key.ts";

/** Whether two say the same of their node. */
export function sameAttributes(a: LeaseAttributes, b: LeaseAttributes): boolean {
  return (
    a.publicIp === b.publicIp && a.publicIpv6 === b.publicIpv6 && sameBackend(a.backend, b.backend)
  );
}

function sameBackend(a: LeaseBackend, b: LeaseBackend): boolean {
  if (a.kind === "other" || b.kind === "other") return Bun.deepEquals(a, b);
  return (
    a.port === b.port &&
    a.partialChecksum === b.partialChecksum &&
    sameSealKeys(a.sealKeys ?? [], b.sealKeys ?? []) &&
    Bun.deepEquals(a.ways, b.ways)
  );
}
