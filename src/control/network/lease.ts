/**
 * What a subnet lease is, inside the program and as the JSON record in the store.
 *
 * The record keeps flannel's names (`LeaseAttrs`: PublicIP, PublicIPv6, BackendType, BackendData)
 * and adds ours, so that whatever reads flannel's leases reads these.
 *
 * A lease belongs to a node id for as long as anybody remembers it, whatever the node's address:
 *
 *     (none) --acquire--> held --renew--> held
 *     held --expire, release--> expired --acquire by the same node--> held
 *     expired --acquire by another node, when nothing else is free--> held
 *
 * Pure. Records are read leniently (a newer version may add keys) and written canonically.
 *
 * @module
 */
import { addressFamily, type IpAddress, type Prefix, parseAddress } from "../../base/address.ts";
import { formatNodeId, type NodeId, parseNodeId, type Revision } from "../../base/ids.ts";
import { isCounter, isRecord, parseRevision, plainSize } from "../kv/plain.ts";
import type { KeyValue } from "../kv/types.ts";
import { UDP_PORT_DEFAULT } from "./backend-config.ts";
import { type JsonObject, type JsonValue, parseJsonValue } from "./json.ts";
import { SUBNETS_PREFIX, subnetOfKey } from "./keys.ts";
import { formatLeaseWays, type LeaseWays, parseLeaseWays, readLeaseWays } from "./lease-ways.ts";
import { BACKEND_DATA_SIZE_MAX_BYTES, BACKEND_TYPE_LENGTH_MAX } from "./limits.ts";
import { decodeJson, encodeJson } from "./record.ts";
import { formatSealKeys, parseSealKeys, readSealKeys, type SealKey } from "./seal-key.ts";

/** How peers reach the holder, by backend. `other`: a kind that this version does not know. */
export type LeaseBackend =
  | {
      readonly kind: "udp";
      readonly port: number;
      /** Whether the holder finishes partial TCP/UDP checksums (nibbles 12 and 14). */
      readonly partialChecksum: boolean;
      /** Keys of the holder for sealed packets, newest first; absent or empty: plain ones only. */
      readonly sealKeys?: readonly SealKey[];
      /** Other ways to the holder, for peers that choose; absent: none. */
      readonly ways?: LeaseWays;
    }
  | { readonly kind: "other"; readonly type: string; readonly data: JsonValue };

/** What the holder says about itself with each acquisition and renewal. */
export interface LeaseAttributes {
  /** Underlay address that peers send to. */
  readonly publicIp: IpAddress;
  readonly publicIpv6: IpAddress | null;
  readonly backend: LeaseBackend;
}

/** `expired`: nobody's, but remembered for the node that held it last. */
export type LeaseState = "held" | "expired";

export interface Lease {
  readonly subnet: Prefix;
  readonly node: NodeId;
  readonly state: LeaseState;
  readonly attributes: LeaseAttributes;
  /** Revision of the last acquisition or renewal: never twice the same, so a fence. */
  readonly epoch: Revision;
  /** Revision at which this node got this subnet. Peers believe the newer grant. */
  readonly grantRevision: Revision;
  readonly ttlSeconds: number;
  /** Revision of the record; of an expired lease: when it expired. */
  readonly modRevision: Revision;
}

/** The record of a lease in the store, without what its key and revision say. */
export function encodeLease(lease: Omit<Lease, "modRevision">): Uint8Array {
  return encodeJson(leaseRecord(lease));
}

/** The same as an object, for records that say more than a lease. */
export function leaseRecord(lease: Omit<Lease, "modRevision">): JsonObject {
  const { publicIp, publicIpv6, backend } = lease.attributes;
  const { type, data } = formatBackend(backend);
  return {
    PublicIP: publicIp,
    PublicIPv6: publicIpv6,
    BackendType: type,
    ...(data === null ? {} : { BackendData: data }),
    Node: formatNodeId(lease.node),
    State: lease.state,
    Epoch: lease.epoch,
    GrantRevision: lease.grantRevision,
    TTLSeconds: lease.ttlSeconds,
  };
}

/** The lease that the pair at a lease's key holds; undefined when it is not to be understood. */
export function decodeLease(pair: KeyValue): Lease | undefined {
  const subnet = subnetOfKey(pair.key, SUBNETS_PREFIX);
  const record = decodeJson(pair.value);
  if (subnet === undefined || record === undefined) return undefined;
  return parseLeaseRecord(record, subnet, pair.modRevision);
}

/** The lease of `subnet` that `record` writes; undefined when it is not to be understood. */
export function parseLeaseRecord(
  record: Readonly<Record<string, unknown>>,
  subnet: Prefix,
  modRevision: Revision,
): Lease | undefined {
  const { Node: nodeText, State: state, TTLSeconds: ttlSeconds } = record;
  const node = typeof nodeText === "string" ? parseNodeId(nodeText) : undefined;
  const epoch = parseRevision(record["Epoch"]);
  const grantRevision = parseRevision(record["GrantRevision"]);
  const publicIp = parseIp(record["PublicIP"]);
  const ipv6 = record["PublicIPv6"] ?? null;
  const publicIpv6 = ipv6 === null ? null : parseIp(ipv6);
  const backend = parseBackend(record["BackendType"] ?? "udp", record["BackendData"] ?? null);
  if (node === undefined || epoch === undefined || grantRevision === undefined) return undefined;
  if (publicIp === undefined || publicIpv6 === undefined || backend === undefined) return undefined;
  if ((state !== "held" && state !== "expired") || !isCounter(ttlSeconds)) return undefined;
  const attributes = { publicIp, publicIpv6, backend };
  return { subnet, node, state, attributes, epoch, grantRevision, ttlSeconds, modRevision };
}

/** Backend type and data of a lease as flannel's JSON has them; null: no data. */
export function formatBackend(backend: LeaseBackend): {
  readonly type: string;
  readonly data: JsonValue;
} {
  if (backend.kind === "other") return { type: backend.type, data: backend.data };
  const { port, partialChecksum, sealKeys = [] } = backend;
  const keys = sealKeys.length === 0 ? {} : { SealKeys: formatSealKeys(sealKeys) };
  const more = { ...keys, ...formatLeaseWays(backend.ways) };
  return { type: "udp", data: { Port: port, PartialChecksum: partialChecksum, ...more } };
}

/** Attributes out of a command of another node; undefined when they are none. */
export function parseAttributes(value: unknown): LeaseAttributes | undefined {
  if (!isRecord(value) || !isRecord(value["backend"])) return undefined;
  const publicIp = parseIp(value["publicIp"]);
  const publicIpv6 = value["publicIpv6"] === null ? null : parseIp(value["publicIpv6"]);
  const backend = parseLeaseBackend(value["backend"]);
  if (publicIp === undefined || publicIpv6 === undefined || backend === undefined) return undefined;
  if (publicIpv6 !== null && addressFamily(publicIpv6) !== 6) return undefined;
  return { publicIp, publicIpv6, backend };
}

function parseLeaseBackend(value: Readonly<Record<string, unknown>>): LeaseBackend | undefined {
  const { kind, port, partialChecksum, type, data } = value;
  if (kind === "udp") {
    const sealKeys = parseSealKeys(value["sealKeys"]);
    if (!isPort(port) || typeof partialChecksum !== "boolean") return undefined;
    const ways = parseLeaseWays(value["ways"]);
    if (sealKeys === undefined || ways === undefined) return undefined;
    return { kind, port, partialChecksum, ...udpExtras(sealKeys, ways) };
  }
  // Written as another kind, udp would come back as udp: one form for each.
  return kind === "other" && type !== "udp" ? parseBackend(type, data) : undefined;
}

/** A backend of flannel's form. flannel's udp leases have no data: the port is the usual one. */
function parseBackend(type: unknown, data: unknown): LeaseBackend | undefined {
  if (typeof type !== "string" || type === "") return undefined;
  if (type.length > BACKEND_TYPE_LENGTH_MAX || !type.isWellFormed()) return undefined;
  if (type === "udp") {
    const port = isRecord(data) ? data["Port"] : undefined;
    const partialChecksum = isRecord(data) && data["PartialChecksum"] === true;
    const sealKeys = isRecord(data) ? readSealKeys(data["SealKeys"]) : [];
    const ways = isRecord(data) ? readLeaseWays(data) : null;
    return {
      kind: "udp",
      port: isPort(port) ? port : UDP_PORT_DEFAULT,
      partialChecksum,
      ...udpExtras(sealKeys, ways),
    };
  }
  const json = parseJsonValue(data);
  if (json === undefined || plainSize(json) > BACKEND_DATA_SIZE_MAX_BYTES) return undefined;
  return { kind: "other", type, data: json };
}

/** What most leases of udp do not say. */
function udpExtras(sealKeys: readonly SealKey[], ways: LeaseWays | null) {
  return { ...(sealKeys.length === 0 ? {} : { sealKeys }), ...(ways === null ? {} : { ways }) };
}

function isPort(value: unknown): value is number {
  return isCounter(value) && value > 0 && value <= 65_535;
}

/** An address in canonical text: another spelling would compare as another address. */
function parseIp(value: unknown): IpAddress | undefined {
  const address = typeof value === "string" ? parseAddress(value) : undefined;
  return address === value ? address : undefined;
}
