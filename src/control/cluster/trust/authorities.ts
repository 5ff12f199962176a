/**
 * The cluster's CAs and who has a certificate of which, as records in the store.
 *
 *     /overlay/trust/authorities        the CA that signs, those that are still trusted beside it,
 *                                       and until when; absent until the CA is changed first
 *     /overlay/trust/certificates/<id>  which CA the certificate is of that a node shows now
 *
 * Certificates are no secret. Keys are never here: they go from member to member (`ca-key.ts`).
 *
 * @module
 */
import { formatNodeId, type NodeId, parseNodeId } from "../../../base/ids.ts";
import { type SystemTxn, systemTxn } from "../../kv/txn.ts";
import type { KvEvent, KvReader } from "../../kv/types.ts";
import { FieldReader } from "../codec/fields.ts";
import { encodeRecord, parseRecord } from "../members/system-record.ts";
import { isSelfSigned, parseCertificate } from "./certificate.ts";

const AUTHORITIES_KEY = "/overlay/trust/authorities";
const CERTIFICATES_PREFIX = "/overlay/trust/certificates/";
const PEM_LENGTH_MAX = 4_096;
const PIN_LENGTH = 52;
/** CAs that may be trusted beside the new one; more means that one after the other was lost. */
export const RETIRING_COUNT_MAX = 3;

/** All certificates PEM. */
export interface Authorities {
  /** Signs. */
  readonly active: string;
  /** Trusted as well, newest first. */
  readonly retiring: readonly string[];
  /** CAs by each other, so that who trusts only one of them can follow a chain to the others. */
  readonly vouchers: readonly string[];
  readonly sinceMs: number;
  /** When the retiring ones are dropped, whoever still needs them; wall time. */
  readonly untilMs: number;
}

/** Which certificate a node shows. */
export interface ShownCertificate {
  /** Pin of the CA that made it. */
  readonly issuer: string;
  readonly expiresAtMs: number;
}

/** The CAs in the store; undefined while the one that the cluster began with is the only one. */
export function readAuthorities(reader: KvReader): Authorities | undefined {
  const pair = reader.get(AUTHORITIES_KEY);
  if (pair === undefined) return undefined;
  const fields = new FieldReader(parseRecord(pair.value));
  const authorities = {
    active: fields.text("active", PEM_LENGTH_MAX),
    retiring: fields.list("retiring", asPem),
    vouchers: fields.list("vouchers", asPem),
    sinceMs: fields.counter("sinceMs"),
    untilMs: fields.counter("untilMs"),
  };
  const active = parseCertificate(authorities.active);
  const isGood = !fields.failed && active !== undefined && isSelfSigned(active);
  return isGood ? authorities : undefined;
}

/** Writes `authorities` if the record is still as it was at `revision` (0: absent). */
export function putAuthorities(authorities: Authorities, revision: number): SystemTxn {
  const value = encodeRecord({ ...authorities });
  return systemTxn({
    compare: [{ key: AUTHORITIES_KEY, target: "modRevision", op: "=", value: revision }],
    success: [{ kind: "put", key: AUTHORITIES_KEY, value }],
  });
}

/** Revision of the record of the CAs; 0 when there is none. */
export function authoritiesRevision(reader: KvReader): number {
  return reader.get(AUTHORITIES_KEY)?.modRevision ?? 0;
}

/** What a node needs of `authorities`, as one PEM text. */
export function bundleOf({ active, retiring, vouchers }: Authorities): string {
  return [active, ...retiring, ...vouchers].join("");
}

/** What the nodes show, as far as they have said. */
export function listCertificates(reader: KvReader): ReadonlyMap<NodeId, ShownCertificate> {
  const shown = new Map<NodeId, ShownCertificate>();
  for (const { key, value } of reader.list(CERTIFICATES_PREFIX)) {
    const id = parseNodeId(key.slice(CERTIFICATES_PREFIX.length));
    const certificate = decodeCertificate(value);
    if (id !== undefined && certificate !== undefined) shown.set(id, certificate);
  }
  return shown;
}

/** What `id` shows. */
export function findCertificate(reader: KvReader, id: NodeId): ShownCertificate | undefined {
  const pair = reader.get(certificateKey(id));
  return pair === undefined ? undefined : decodeCertificate(pair.value);
}

/** Says what `id` shows, if it is still a member. */
export function putCertificate(id: NodeId, shown: ShownCertificate, memberKey: string): SystemTxn {
  const value = encodeRecord({ ...shown });
  return systemTxn({
    compare: [{ key: memberKey, target: "version", op: ">", value: 0 }],
    success: [{ kind: "put", key: certificateKey(id), value }],
  });
}

/** Forgets what nodes showed that are no members any more. */
export function deleteCertificates(ids: readonly NodeId[]): SystemTxn {
  return systemTxn({
    success: ids.map((id) => ({ kind: "delete", key: certificateKey(id) }) as const),
  });
}

/** Whether one of `events` is about CAs or certificates. */
export function isAboutTrust(event: KvEvent): boolean {
  const key = event.kind === "put" ? event.current.key : event.key;
  return key === AUTHORITIES_KEY || key.startsWith(CERTIFICATES_PREFIX);
}

function decodeCertificate(value: Uint8Array): ShownCertificate | undefined {
  const fields = new FieldReader(parseRecord(value));
  const shown = {
    issuer: fields.text("issuer", PIN_LENGTH),
    expiresAtMs: fields.counter("expiresAtMs"),
  };
  return fields.failed ? undefined : shown;
}

function certificateKey(id: NodeId): string {
  return `${CERTIFICATES_PREFIX}${formatNodeId(id)}`;
}

function asPem(value: unknown): string | undefined {
  if (typeof value !== "string" || value.length > PEM_LENGTH_MAX) return undefined;
  return parseCertificate(value) === undefined ? undefined : value;
}
