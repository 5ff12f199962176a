/**
 * Reading and checking certificates with what the runtime has: no library is loaded for this, so
 * an agent that neither founds a cluster nor lets a node in stays small.
 *
 * @module
 */
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { type NodeId, parseNodeId } from "../../../base/ids.ts";
import { encodeBase32 } from "./base32.ts";

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

/** Why `certificate` is not good now as one that `ca` gave to a node; undefined when it is. */
export function problemOf(
  certificate: X509Certificate,
  ca: X509Certificate,
  wallMs: number,
): string | undefined {
  if (!ca.ca) return "its issuer is no CA";
  if (!certificate.checkIssued(ca) || !isSignedBy(ca, certificate)) {
    return "it was not issued by this cluster's CA";
  }
  for (const each of [certificate, ca]) {
    if (wallMs < Date.parse(each.validFrom)) return "it is not valid yet; check the clocks";
    if (wallMs > Date.parse(each.validTo)) return "it has expired";
  }
  return undefined;
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
