/**
 * What a lease of the udp backend says of other ways to its holder, for peers that choose ("auto").
 *
 * In the lease's record the words are those of flannel's vxlan leases, beside those of udp: who
 * does not know them reads a plain udp lease, and sends so. Pure.
 *
 * @module
 */
import { type MacAddress, parseMac } from "../../base/address.ts";
import { isCounter, isRecord } from "../kv/plain.ts";
import type { JsonObject } from "./json.ts";

/** The end of VXLAN tunnels to the holder. */
export interface LeaseVtep {
  readonly vni: number;
  readonly mac: MacAddress;
  /** UDP. */
  readonly port: number;
}

/** The ways beside udp; neither of them: as if nothing was said. */
export interface LeaseWays {
  /** Whether peers on the holder's segment may try plain routes. */
  readonly direct: boolean;
  /** Null: no tunnels. */
  readonly vxlan: LeaseVtep | null;
}

const VNI_MAX = 2 ** 24 - 1;
const PORT_MAX = 65_535;

/** Ways out of a command; undefined when they are none, null when they are left out. */
export function parseLeaseWays(value: unknown): LeaseWays | null | undefined {
  if (value === undefined) return null;
  if (!isRecord(value) || typeof value["direct"] !== "boolean") return undefined;
  const { direct, vxlan } = value;
  if (vxlan === null) return direct ? { direct, vxlan } : undefined;
  if (!isRecord(vxlan)) return undefined;
  const vtep = toVtep(vxlan["vni"], vxlan["mac"], vxlan["port"]);
  return vtep === undefined ? undefined : { direct, vxlan: vtep };
}

/** Ways out of a lease's record. What is not to be understood is no way. */
export function readLeaseWays(data: Readonly<Record<string, unknown>>): LeaseWays | null {
  const direct = data["Direct"] === true;
  const vxlan = toVtep(data["VNI"], data["VtepMAC"], data["VxlanPort"]) ?? null;
  return direct || vxlan !== null ? { direct, vxlan } : null;
}

/** Ways as a lease's record has them. */
export function formatLeaseWays(ways: LeaseWays | undefined): JsonObject {
  if (ways === undefined) return {};
  const { direct, vxlan } = ways;
  if (vxlan === null) return { Direct: direct };
  return { Direct: direct, VNI: vxlan.vni, VtepMAC: vxlan.mac, VxlanPort: vxlan.port };
}

function toVtep(vni: unknown, text: unknown, port: unknown): LeaseVtep | undefined {
  const mac = typeof text === "string" ? parseMac(text) : undefined;
  // Another spelling would compare as another address.
  if (mac === undefined || mac !== text) return undefined;
  if (!isFromOne(vni, VNI_MAX) || !isFromOne(port, PORT_MAX)) return undefined;
  return { vni, mac, port };
}

function isFromOne(value: unknown, max: number): value is number {
  return isCounter(value) && value > 0 && value <= max;
}
