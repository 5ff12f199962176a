/**
 * The join token: what it looks like, and what is wrong with one that was mistyped.
 *
 *     OVL1.<pin: 52>.<secret: 26>.<checksum: 6>
 *
 * All parts are base 32. The pin is the SHA-256 of the public key (SPKI) of the cluster's CA: the
 * joining node checks the peer with it before the secret leaves. The secret has 128 random bits.
 * The checksum is the head of the SHA-256 of all that stands before it; it only finds typing
 * errors. The cluster keeps a hash of the secret, never the secret.
 *
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Random } from "../../../host/ports.ts";
import { decodeBase32, encodeBase32 } from "./base32.ts";

const VERSION = "OVL1";
const PIN_SIZE_BYTES = 32;
const SECRET_SIZE_BYTES = 16;
const PIN_LENGTH = 52;
const SECRET_LENGTH = 26;
const CHECKSUM_LENGTH = 6;
const ID_LENGTH = 10;

/** A parsed token. */
export interface Token {
  /** SHA-256 of the SPKI of the cluster's CA, base 32. */
  readonly pin: string;
  /** 16 bytes. */
  readonly secret: Uint8Array;
}

/** Why a text is no token. */
export interface TokenError {
  readonly kind: "invalid_token";
  readonly detail: string;
}

/** A new token for the CA with `pin`. */
export function createToken(pin: string, random: Random): Token {
  return { pin, secret: random.bytes(SECRET_SIZE_BYTES) };
}

/** The text of `token`. */
export function formatToken(token: Token): string {
  const body = `${VERSION}.${token.pin}.${encodeBase32(token.secret)}`;
  return `${body}.${checksum(body)}`;
}

/** The token that `text` writes, or what is wrong with it. Case and outer blanks are ignored. */
export function parseToken(text: string): Result<Token, TokenError> {
  const trimmed = text.trim();
  if (trimmed === "") return invalid("it is empty");
  const parts = trimmed.split(".");
  const version = parts[0]!.toUpperCase();
  if (version !== VERSION) {
    return /^OVL[0-9]+$/.test(version) && parts.length > 1
      ? invalid(`its format ${version} is newer than this program`, "update this node")
      : invalid(`it does not begin with "${VERSION}."`);
  }
  if (parts.length < 4) return invalid("its end is missing");
  if (parts.length > 4) return invalid("something follows its end");
  const [, pin = "", secret = "", check = ""] = parts.map((part) => part.toLowerCase());
  const fields = [
    { name: "second", value: pin, length: PIN_LENGTH },
    { name: "third", value: secret, length: SECRET_LENGTH },
    { name: "last", value: check, length: CHECKSUM_LENGTH },
  ];
  for (const { name, value, length } of fields) {
    const wrong = /[^a-z2-7]/.exec(value);
    if (wrong !== null) return invalid(`its ${name} part has the character "${wrong[0]}"`);
    if (value.length === length) continue;
    const state = `its ${name} part has ${value.length} characters instead of ${length}`;
    return invalid(state);
  }
  const bytes = decodeBase32(secret);
  const pinBytes = decodeBase32(pin);
  const isWhole = checksum(`${VERSION}.${pin}.${secret}`) === check;
  if (!isWhole || bytes?.length !== SECRET_SIZE_BYTES || pinBytes?.length !== PIN_SIZE_BYTES) {
    return invalid("a character is wrong (its checksum does not match)");
  }
  return ok({ pin, secret: bytes });
}

/** Names the token of `secret` without giving it away. */
export function tokenId(secret: Uint8Array): string {
  return encodeBase32(sha256(secret)).slice(0, ID_LENGTH);
}

/** What the cluster keeps of `secret`: 64 hexadecimal digits. 128 random bits need no salt. */
export function hashSecret(secret: Uint8Array): string {
  return sha256(secret).toString("hex");
}

/** Whether `hash` was made of `secret`, in a time that tells nothing. */
export function isSecretOf(secret: Uint8Array, hash: string): boolean {
  const stored = Buffer.from(hash, "hex");
  const given = sha256(secret);
  return stored.length === given.length && timingSafeEqual(stored, given);
}

function checksum(body: string): string {
  return encodeBase32(sha256(new TextEncoder().encode(body))).slice(0, CHECKSUM_LENGTH);
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function invalid(
  state: string,
  next = 'copy the whole token that "overlay token" printed',
): Result<never, TokenError> {
  return err({ kind: "invalid_token", detail: `Cannot use the token: ${state}; ${next}` });
}
