/**
 * Making keys and certificates: the cluster's CA, requests of nodes, certificates for them.
 *
 * ECDSA on P-256. A node's certificate says CN = node id; of a request, or of the certificate that
 * is to be renewed, only the public key is believed. The X.509 library costs about 30 MB of memory
 * once loaded, so it is loaded when first needed: by a node that founds a cluster, joins one, lets
 * one in or renews another's certificate. All that an agent does every day is in `certificate.ts`.
 *
 * @module
 */
import { createPublicKey, type X509Certificate } from "node:crypto";
import type { Extension, Pkcs10CertificateRequest } from "@peculiar/x509";
import { type ClusterId, formatNodeId, type NodeId } from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

const DAY_MS = 86_400_000;
/** The CA outlives every certificate; changing it is an operation of its own. */
const CA_LIFE_MS = 3_650 * DAY_MS;
/** A node that is off for a month has nothing to fear: it renews at four fifths at the latest. */
export const NODE_LIFE_MS = 90 * DAY_MS;
/**
 * A certificate says that it began so much before it was made: for TLS clients of other kinds,
 * whose clocks may be behind. Nodes do not look at its beginning (`certificate.ts`).
 */
export const BACKDATE_MS = DAY_MS;
/** RFC 5280 allows 20 bytes; 16 random ones never meet. */
const SERIAL_SIZE_BYTES = 16;

/** PEM, both. */
export interface CertifiedKey {
  readonly certificate: string;
  readonly key: string;
}

/** PEM, both. */
export interface RequestedKey {
  readonly csr: string;
  readonly key: string;
}

/** What a node's certificate is made of, beside its key. */
export interface SignOptions {
  readonly nodeId: NodeId;
  readonly ca: CertifiedKey;
  readonly clock: Clock;
  readonly random: Random;
}

/** A request that cannot be signed. */
export type CsrFailure = { readonly kind: "bad_csr"; readonly detail: string };

/** A new CA for the cluster. */
export async function createCa(options: {
  readonly clusterId: ClusterId;
  readonly clock: Clock;
  readonly random: Random;
}): Promise<CertifiedKey> {
  const x509 = await loadLibrary();
  const keys = await createKeys();
  const nowMs = options.clock.wallMs();
  const serialNumber = createSerial(options.random);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber,
    // Two CAs of one cluster must differ in name, or a chain could be built over the wrong one.
    name: `CN=overlay cluster ${options.clusterId}, OU=${serialNumber}`,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + CA_LIFE_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    // One more CA may stand between it and a node: its successor, which it vouches for.
    extensions: await caExtensions(keys.publicKey, 1),
  });
  return { certificate: pemOf(certificate), key: await exportKey(keys.privateKey) };
}

/**
 * `authority` vouches for another CA of the cluster: a certificate (PEM) with the name and the key
 * of the self-signed one in `certificate`, signed by `authority`. Who trusts `authority` alone can
 * follow the chain over it.
 */
export async function vouchFor(options: {
  /** PEM. */
  readonly certificate: string;
  readonly authority: CertifiedKey;
  readonly random: Random;
}): Promise<string> {
  const x509 = await loadLibrary();
  const subject = new x509.X509Certificate(options.certificate);
  const issuer = new x509.X509Certificate(options.authority.certificate);
  const publicKey = await subject.publicKey.export(ALGORITHM, ["verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: createSerial(options.random),
    subject: subject.subject,
    issuer: issuer.subject,
    notBefore: subject.notBefore,
    notAfter: new Date(Math.min(subject.notAfter.getTime(), issuer.notAfter.getTime())),
    signingAlgorithm: ALGORITHM,
    publicKey,
    signingKey: await importKey(options.authority.key),
    extensions: [
      ...(await caExtensions(publicKey, 0)),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return pemOf(certificate);
}

async function caExtensions(publicKey: CryptoKey, pathLength: number): Promise<Extension[]> {
  const x509 = await loadLibrary();
  const usages = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign;
  return [
    new x509.BasicConstraintsExtension(true, pathLength, true),
    new x509.KeyUsagesExtension(usages, true),
    await x509.SubjectKeyIdentifierExtension.create(publicKey),
  ];
}

/** A key of a node (PEM; a new one when absent), with the request to certify it. */
export async function createRequest(nodeId: NodeId, key?: string): Promise<RequestedKey> {
  const x509 = await loadLibrary();
  const keys = key === undefined ? await createKeys() : await importKeys(key);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${formatNodeId(nodeId)}`,
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return { csr: pemOf(csr), key: key ?? (await exportKey(keys.privateKey)) };
}

/** The certificate (PEM) for the key of the request `csr` (PEM, hostile), for `nodeId`. */
export async function signRequest(
  options: SignOptions & { readonly csr: string },
): Promise<Result<string, CsrFailure>> {
  const publicKey = await verifiedKey(options.csr);
  if (publicKey !== undefined) return ok(await sign(publicKey, options));
  const detail = "Cannot sign the certificate request: it is malformed or not signed by its key";
  return err({ kind: "bad_csr", detail });
}

/** A new certificate (PEM) for the key of `certificate`, in the name of `nodeId`. */
export async function signAgain(
  options: SignOptions & { readonly certificate: X509Certificate },
): Promise<string> {
  const spki = options.certificate.publicKey.export({ type: "spki", format: "der" });
  const publicKey = await crypto.subtle.importKey("spki", spki, ALGORITHM, true, ["verify"]);
  return sign(publicKey, options);
}

async function sign(publicKey: CryptoKey, options: SignOptions): Promise<string> {
  const x509 = await loadLibrary();
  const ca = new x509.X509Certificate(options.ca.certificate);
  const nowMs = options.clock.wallMs();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: createSerial(options.random),
    subject: `CN=${formatNodeId(options.nodeId)}, OU=member`,
    issuer: ca.subject,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + NODE_LIFE_MS),
    signingAlgorithm: ALGORITHM,
    publicKey,
    signingKey: await importKey(options.ca.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(ca.publicKey),
    ],
  });
  return pemOf(certificate);
}

/** The public key of `csr` if its owner signed it with the private one, and it is of our kind. */
async function verifiedKey(csr: string): Promise<CryptoKey | undefined> {
  const x509 = await loadLibrary();
  try {
    const request: Pkcs10CertificateRequest = new x509.Pkcs10CertificateRequest(csr);
    const key = await request.publicKey.export(
      { name: ALGORITHM.name, namedCurve: ALGORITHM.namedCurve },
      ["verify"],
    );
    return (await request.verify()) ? key : undefined;
  } catch {
    return undefined; // The request is a stranger's: whatever is wrong with it, it is refused.
  }
}

/** With a line end, so that certificates can be put one after the other. */
function pemOf(object: { toString(format: "pem"): string }): string {
  return `${object.toString("pem").trimEnd()}\n`;
}

async function loadLibrary(): Promise<typeof import("@peculiar/x509")> {
  // It needs the metadata reflection in place before it is evaluated.
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

function createKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function exportKey(key: CryptoKey): Promise<string> {
  const der = new Uint8Array(await crypto.subtle.exportKey("pkcs8", key));
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`;
}

function importKey(pem: string): Promise<CryptoKey> {
  const der = Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ""), "base64");
  return crypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
}

async function importKeys(pem: string): Promise<CryptoKeyPair> {
  const spki = createPublicKey(pem).export({ type: "spki", format: "der" });
  const publicKey = await crypto.subtle.importKey("spki", spki, ALGORITHM, true, ["verify"]);
  return { privateKey: await importKey(pem), publicKey };
}

/** A positive integer in hexadecimal: the first bit is clear, the first byte is not zero. */
function createSerial(random: Random): string {
  const bytes = random.bytes(SERIAL_SIZE_BYTES);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}
