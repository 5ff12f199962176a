/**
 * A slow twin of the seal, written from docs/SECURITY.md: X25519 in whole numbers, HKDF out of
 * HMAC, and another implementation of AES-GCM. Tests only.
 *
 * @module
 */
import { createHash, createHmac } from "node:crypto";

export interface TwinParty {
  readonly node: number;
  readonly epoch: number;
  readonly secret: Uint8Array;
}

export interface TwinPacket {
  readonly clusterId: Uint8Array;
  readonly generation: number;
  readonly sender: TwinParty;
  readonly receiver: TwinParty;
  readonly counter: bigint;
  readonly inner: Uint8Array;
}

const PRIME = 2n ** 255n - 19n;

/** RFC 7748 §5, as it is written there. */
export function slowX25519(secret: Uint8Array, point: Uint8Array): Uint8Array {
  const k = Uint8Array.from(secret);
  k[0] = k[0]! & 248;
  k[31] = (k[31]! & 127) | 64;
  const scalar = littleEndian(k);
  const u = littleEndian(point) & (2n ** 255n - 1n);
  let [x2, z2, x3, z3, swap] = [1n, 0n, u, 1n, 0n];
  for (let t = 254n; t >= 0n; t--) {
    const bit = (scalar >> t) & 1n;
    if (swap !== bit) [x2, z2, x3, z3] = [x3, z3, x2, z2];
    swap = bit;
    const [a, b, c, d] = [x2 + z2, x2 - z2, x3 + z3, x3 - z3].map(reduce);
    const [aa, bb, da, cb] = [a! * a!, b! * b!, d! * a!, c! * b!].map(reduce);
    const e = reduce(aa! - bb!);
    x3 = reduce((da! + cb!) ** 2n);
    z3 = reduce(u * (da! - cb!) ** 2n);
    x2 = reduce(aa! * bb!);
    z2 = reduce(e * (aa! + 121665n * e));
  }
  if (swap === 1n) [x2, z2] = [x3, z3];
  const out = new Uint8Array(32);
  let value = reduce(x2 * power(z2, PRIME - 2n));
  for (let i = 0; i < 32; i++, value >>= 8n) out[i] = Number(value & 255n);
  return out;
}

/** The public key of a private one. */
export function slowPublicKey(secret: Uint8Array): Uint8Array {
  const base = new Uint8Array(32);
  base[0] = 9;
  return slowX25519(secret, base);
}

/** The whole datagram that a packet becomes. */
export async function slowSeal(packet: TwinPacket): Promise<Uint8Array> {
  const { sender, receiver, counter } = packet;
  const senderPublic = slowPublicKey(sender.secret);
  const receiverPublic = slowPublicKey(receiver.secret);
  const info = Buffer.concat([
    packet.clusterId,
    eightBytes(packet.generation),
    ...[eightBytes(sender.node), eightBytes(sender.epoch), senderPublic],
    ...[eightBytes(receiver.node), eightBytes(receiver.epoch), receiverPublic],
  ]);
  const okm = slowHkdf(slowX25519(sender.secret, receiverPublic), info);
  const number = eightBytes(counter);
  const header = Buffer.concat([
    Buffer.from([0x11]),
    sha256(receiverPublic).subarray(0, 3),
    sha256(senderPublic).subarray(0, 4),
    number,
  ]);
  const key = await crypto.subtle.importKey(
    "raw",
    Uint8Array.from(okm.subarray(0, 32)),
    "AES-GCM",
    false,
    ["encrypt"],
  );
  const iv = Buffer.concat([okm.subarray(32, 36), number]);
  const parameters = { name: "AES-GCM", iv, additionalData: header, tagLength: 128 };
  const sealed = await crypto.subtle.encrypt(parameters, key, Uint8Array.from(packet.inner));
  return Buffer.concat([header, new Uint8Array(sealed)]);
}

/** RFC 5869 §2 for 36 bytes. */
function slowHkdf(secret: Uint8Array, info: Uint8Array): Buffer {
  const prk = hmac(Buffer.from("overlay sealed packets v1 aes-256-gcm"), secret);
  const first = hmac(prk, Buffer.concat([info, Buffer.from([1])]));
  const second = hmac(prk, Buffer.concat([first, info, Buffer.from([2])]));
  return Buffer.concat([first, second]).subarray(0, 36);
}

function hmac(key: Uint8Array, data: Uint8Array): Buffer {
  return createHmac("sha256", key).update(data).digest();
}

function sha256(data: Uint8Array): Buffer {
  return createHash("sha256").update(data).digest();
}

function eightBytes(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => value * 256n + BigInt(byte), 0n);
}

function reduce(value: bigint): bigint {
  const rest = value % PRIME;
  return rest < 0n ? rest + PRIME : rest;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = base, e = exponent; e > 0n; e >>= 1n, square = reduce(square * square)) {
    if ((e & 1n) === 1n) result = reduce(result * square);
  }
  return result;
}
