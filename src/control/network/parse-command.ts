/**
 * Commands of the network out of plain data of unknown origin: another node, or the log.
 *
 * @module
 */
import { type Prefix, parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeTerm } from "../../base/ids.ts";
import { isCounter, isRecord, parseList, parseNodeNumber, parseRevision } from "../kv/plain.ts";
import {
  type AcquireLease,
  acquireLease,
  type ExpireLeases,
  type Expiry,
  expireLeases,
  type ImportedReservation,
  type ImportNetwork,
  type NetworkCommand,
  type PutConfig,
  type ReleaseLease,
  type Renewal,
  type RenewLeases,
  type ReservationOwner,
  type ReserveSubnet,
  releaseLease,
  renewLeases,
  reserveSubnet,
  type UnreserveSubnet,
  unreserveSubnet,
} from "./commands.ts";
import { parseJsonObject } from "./json.ts";
import { parseAttributes } from "./lease.ts";
import { EXPIRE_BATCH_MAX, IMPORT_RESERVATIONS_MAX, RENEWALS_MAX } from "./limits.ts";

type Parsers = { readonly [K in NetworkCommand["kind"]]: (command: unknown) => ParsedOf<K> };
type ParsedOf<Kind> = Extract<NetworkCommand, { readonly kind: Kind }> | undefined;

/** One parser for each kind; each expects a command of its kind. */
export const commandParsers: Parsers = {
  put_config: parsePutConfig,
  acquire_lease: parseAcquire,
  renew_leases: parseRenew,
  release_lease: parseRelease,
  expire_leases: parseExpire,
  reserve_subnet: parseReserve,
  unreserve_subnet: parseUnreserve,
  import_network: parseImport,
};

/** The command that `value` is; undefined when it is none. */
export function parseNetworkCommand(value: unknown): NetworkCommand | undefined {
  if (!isRecord(value)) return undefined;
  const { kind } = value;
  return typeof kind === "string" && isKind(kind) ? commandParsers[kind](value) : undefined;
}

function isKind(kind: string): kind is NetworkCommand["kind"] {
  return Object.hasOwn(commandParsers, kind);
}

function parsePutConfig(value: unknown): PutConfig | undefined {
  if (!isRecord(value)) return undefined;
  const { expectedRevision, renumber } = value;
  const config = parseJsonObject(value["config"]);
  if (config === undefined || typeof renumber !== "boolean") return undefined;
  if (expectedRevision !== null && !isCounter(expectedRevision)) return undefined;
  return { kind: "put_config", config, expectedRevision, renumber };
}

function parseAcquire(value: unknown): AcquireLease | undefined {
  if (!isRecord(value)) return undefined;
  const node = parseNodeNumber(value["node"]);
  const attributes = parseAttributes(value["attributes"]);
  if (node === undefined || attributes === undefined) return undefined;
  if (value["wanted"] === null) return acquireLease({ node, attributes });
  const wanted = parseSubnet(value["wanted"]);
  return wanted === undefined ? undefined : acquireLease({ node, attributes, wanted });
}

function parseRenew(value: unknown): RenewLeases | undefined {
  if (!isRecord(value)) return undefined;
  const renewals = parseList(value["renewals"], RENEWALS_MAX, parseRenewal);
  return renewals === undefined ? undefined : renewLeases(renewals);
}

function parseRenewal(value: unknown): Renewal | undefined {
  if (!isRecord(value)) return undefined;
  const subnet = parseSubnet(value["subnet"]);
  const node = parseNodeNumber(value["node"]);
  const attributes = parseAttributes(value["attributes"]);
  if (subnet === undefined || node === undefined || attributes === undefined) return undefined;
  return { subnet, node, attributes };
}

function parseRelease(value: unknown): ReleaseLease | undefined {
  if (!isRecord(value)) return undefined;
  const subnet = parseSubnet(value["subnet"]);
  const node = parseNodeNumber(value["node"]);
  return subnet === undefined || node === undefined ? undefined : releaseLease({ subnet, node });
}

function parseExpire(value: unknown): ExpireLeases | undefined {
  if (!isRecord(value) || !isCounter(value["term"])) return undefined;
  const leases = parseList(value["leases"], EXPIRE_BATCH_MAX, parseExpiry);
  return leases === undefined ? undefined : expireLeases(decodeTerm(value["term"]), leases);
}

function parseExpiry(value: unknown): Expiry | undefined {
  if (!isRecord(value)) return undefined;
  const subnet = parseSubnet(value["subnet"]);
  const node = parseNodeNumber(value["node"]);
  const epoch = parseRevision(value["epoch"]);
  if (subnet === undefined || node === undefined || epoch === undefined) return undefined;
  return { subnet, node, epoch };
}

function parseReserve(value: unknown): ReserveSubnet | undefined {
  if (!isRecord(value)) return undefined;
  const subnet = parseSubnet(value["subnet"]);
  const owner = parseOwner(value["owner"]);
  return subnet === undefined || owner === undefined ? undefined : reserveSubnet({ subnet, owner });
}

function parseOwner(value: unknown): ReservationOwner | undefined {
  if (!isRecord(value)) return undefined;
  if (value["kind"] === "node") {
    const node = parseNodeNumber(value["node"]);
    return node === undefined ? undefined : { kind: "node", node };
  }
  const { publicIp: text } = value;
  const publicIp = typeof text === "string" ? parseAddress(text) : undefined;
  if (value["kind"] !== "public_ip" || publicIp === undefined) return undefined;
  return { kind: "public_ip", publicIp };
}

function parseUnreserve(value: unknown): UnreserveSubnet | undefined {
  if (!isRecord(value)) return undefined;
  const subnet = parseSubnet(value["subnet"]);
  return subnet === undefined ? undefined : unreserveSubnet(subnet);
}

function parseImport(value: unknown): ImportNetwork | undefined {
  if (!isRecord(value)) return undefined;
  const { expectedRevision } = value;
  const config = parseJsonObject(value["config"]);
  const list = parseList(value["reservations"], IMPORT_RESERVATIONS_MAX, parseImported);
  if (config === undefined || list === undefined) return undefined;
  if (expectedRevision !== null && !isCounter(expectedRevision)) return undefined;
  return { kind: "import_network", config, expectedRevision, reservations: list };
}

function parseImported(value: unknown): ImportedReservation | undefined {
  if (!isRecord(value)) return undefined;
  const subnet = parseSubnet(value["subnet"]);
  const { publicIp: text } = value;
  const publicIp = typeof text === "string" ? parseAddress(text) : undefined;
  return subnet === undefined || publicIp === undefined ? undefined : { subnet, publicIp };
}

/** A prefix in canonical text: another spelling would name another key. */
function parseSubnet(value: unknown): Prefix | undefined {
  const subnet = typeof value === "string" ? parsePrefix(value) : undefined;
  return subnet === value ? subnet : undefined;
}
