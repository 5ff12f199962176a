/**
 * Reading and checking certificates with what the runtime has: no library is loaded for this, so
 * an agent that neither founds a cluster nor lets a node in stays small.
 *
 * Whether a certificate is good is decided here and not by the TLS library, so that one rule, one
 * clock and one set of CAs hold for all uses. The handshake has proved that the other side has the
 * key of the first certificate; `judgeChain` says whose it is. When a certificate begins is not
 * looked at: only the cluster's CA makes them, never for later, and a node whose clock is behind
 * (no battery, no time server yet) must not be locked out by the others' newer ones.
 *
 * @module
 */
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { type NodeId, parseNodeId } from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import { encodeBase32 } from "./base32.ts";

/** A node's, all CAs of a cluster, and each vouching for each other one. */
const CHAIN_LENGTH_MAX = 16;

/** A certificate whose text or bytes may be anything; undefined when it is none. */
export function parseCertificate(source: string | Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(source);
  } catch {
    return undefined; // Hostile or damaged input: the caller says what that means.
  }
}

/** SHA-256 of the public key (SPKI) of `certificate`, base 32: what a token pins. */
export function pinOf(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: "spki", format: "der" });
  return encodeBase32(createHash("sha256").update(spki).digest());
}

/** SHA-256 of the public key in the PEM certificate `pem`, hexadecimal; "" when it is none. */
export function keyHashOf(pem: string): string {
  const key = parseCertificate(pem)?.publicKey;
  if (key === undefined) return "";
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** The node that `certificate` names, if it names one. */
export function nodeOf(certificate: X509Certificate): NodeId | undefined {
  // One attribute a line; a value cannot hold a line end without being escaped.
  const line = certificate.subject.split("\n").find((part) => part.startsWith("CN="));
  return line === undefined ? undefined : parseNodeId(line.slice("CN=".length));
}

/**
 * Why a peer's certificate is not taken. `absent`: it showed none. `foreign`: none of our CAs
 * stands behind it, or it names no node. `expired`: it, or the CA behind it, is over.
 */
export type CertificateProblem =
  | { readonly kind: "absent" }
  | { readonly kind: "foreign" }
  | { readonly kind: "expired"; readonly node: NodeId };

/**
 * The node that `chain` (its certificate, then whatever it sent along) proves to be, for somebody
 * who trusts `authorities`: signed by one of them, or by a CA in the chain that one vouches for.
 */
export function judgeChain(
  chain: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
  wallMs: number,
): Result<NodeId, CertificateProblem> {
  const [own, ...others] = chain;
  if (own === undefined) return err({ kind: "absent" });
  const vouched = others.filter((each) => authorities.some((ca) => isIssuedBy(ca, each)));
  const issuer = [...authorities, ...vouched].find((ca) => isIssuedBy(ca, own));
  const node = nodeOf(own);
  if (issuer === undefined || node === undefined) return err({ kind: "foreign" });
  const isOver = [own, issuer].some((each) => wallMs > Date.parse(each.validTo));
  return isOver ? err({ kind: "expired", node }) : ok(node);
}

/**
 * Those of the self-signed CAs in `bundle` that `pinned` stands behind, itself first: what somebody
 * who knows only its key may trust.
 */
export function authoritiesBehind(
  pinned: X509Certificate,
  bundle: readonly X509Certificate[],
): readonly X509Certificate[] {
  const vouchedPins = bundle.filter((each) => each.ca && isIssuedBy(pinned, each)).map(pinOf);
  const pin = pinOf(pinned);
  const others = bundle.filter((each) => pinOf(each) !== pin && isSelfSigned(each));
  return [pinned, ...others.filter((each) => vouchedPins.includes(pinOf(each)))];
}

/** Whether `certificate` is that of a CA, signed by its own key. */
export function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.ca && isSignedBy(certificate, certificate);
}

/** Whether the CA `ca` made `certificate`. */
export function isIssuedBy(ca: X509Certificate, certificate: X509Certificate): boolean {
  return ca.ca && certificate.checkIssued(ca) && isSignedBy(ca, certificate);
}

/** The certificates that the other side of `socket` showed, its own first. Hostile. */
export function chainOf(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next = socket.getPeerCertificate(true);
  while (next?.raw !== undefined && chain.length < CHAIN_LENGTH_MAX) {
    const certificate = parseCertificate(next.raw);
    if (certificate === undefined) return [];
    chain.push(certificate);
    // A self-signed one is its own issuer here.
    if (next.issuerCertificate === next) break;
    next = next.issuerCertificate;
  }
  return chain;
}

/** The certificates in the PEM text `bundle`; undefined when one of them is none. */
export function parseBundle(bundle: string): readonly X509Certificate[] | undefined {
  const parsed = splitPem(bundle).map(parseCertificate);
  return parsed.every((each) => each !== undefined) ? parsed : undefined;
}

/** The PEM objects in `text`, each with its line end. */
export function splitPem(text: string): readonly string[] {
  const blocks = text.match(/-----BEGIN [A-Z ]+-----[^-]*-----END [A-Z ]+-----/g) ?? [];
  return blocks.map((block) => `${block}\n`);
}

/** Whether `certificate` is, byte for byte, what the key of `ca` signed. */
export function isSignedBy(ca: X509Certificate, certificate: X509Certificate): boolean {
  try {
    return certificate.verify(ca.publicKey);
  } catch {
    return false; // A key that is none.
  }
}

/** Whether the PEM private key `key` belongs to `certificate`. */
export function isKeyOf(key: string, certificate: X509Certificate): boolean {
  try {
    const own = createPublicKey(createPrivateKey(key)).export({ type: "spki", format: "der" });
    return own.equals(certificate.publicKey.export({ type: "spki", format: "der" }));
  } catch {
    return false; // No private key at all.
  }
}
