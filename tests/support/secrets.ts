/**
 * What must never get out of a node, in all the forms in which it could: for searching what did.
 *
 * @module
 */
import { createPrivateKey } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { splitPem } from "../../src/control/cluster/trust/certificate.ts";
import { parseToken } from "../../src/control/cluster/trust/token.ts";

/** All files below `folder`, by path; no sockets. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
}

/** The files of private keys in a data directory: the only ones that may hold any. */
export function keyFilesOf(dataDir: string): string[] {
  return filesBelow(dataDir).filter((path) => path.endsWith(".key"));
}

/** A file, a character for each byte; empty when its agent has just removed it. */
export function contentOf(path: string): string {
  return existsSync(path) ? readFileSync(path, "latin1") : "";
}

/** `bytes` as they are (a character each), hexadecimal, base 64 and its form for addresses. */
function formsOf(bytes: Buffer): string[] {
  const base64 = bytes.toString("base64").replace(/=+$/, "");
  return [bytes.toString("latin1"), bytes.toString("hex"), base64, bytes.toString("base64url")];
}

/** The private keys in PEM text: the secret number in every form, and each line. */
export function keySecrets(text: string): string[] {
  return splitPem(text).flatMap((pem) => {
    const { d = "" } = createPrivateKey(pem).export({ format: "jwk" });
    return [...formsOf(Buffer.from(d, "base64url")), ...pem.trimEnd().split("\n").slice(1, -1)];
  });
}

/** The secret of a token in every form. */
export function tokenSecrets(text: string): string[] {
  const token = parseToken(text);
  if (!token.ok) throw new Error(token.error.detail);
  return [...formsOf(Buffer.from(token.value.secret)), text.split(".")[2] ?? ""];
}

/** Which of `secrets` are in `text` (a character for each byte), as "form 3 of 7". */
export function findSecrets(text: string, secrets: readonly string[]): string[] {
  const lowercase = text.toLowerCase();
  return secrets.flatMap((secret, index) => {
    const isThere = text.includes(secret) || lowercase.includes(secret);
    return isThere ? [`form ${index + 1} of ${secrets.length}`] : [];
  });
}
