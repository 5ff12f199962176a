/**
 * AES-256-GCM by the host's OpenSSL, where there is one: half the time of node:crypto, and
 * nothing allocated per packet.
 *
 * Source: OpenSSL's EVP_EncryptInit(3), with the calls that 1.1 and 3.x share. A context holds the
 * expanded key; each packet gives it a new nonce only. The library is the host's, so it must first
 * prove itself on a packet with a known result; where it is missing or fails, the caller has
 * another engine.
 *
 * @module
 */
import { dlopen, FFIType } from "bun:ffi";
import type { PacketMemory } from "../packet-ports.ts";
import { addressOf, kernelBytes } from "./memory.ts";

const { i32, u64_fast } = FFIType;

const LIBRARY_NAMES = ["libcrypto.so.3", "libcrypto.so.1.1"] as const;

const SYMBOLS = {
  EVP_CIPHER_CTX_new: { args: [], returns: u64_fast },
  EVP_CIPHER_CTX_free: { args: [u64_fast], returns: FFIType.void },
  EVP_aes_256_gcm: { args: [], returns: u64_fast },
  EVP_CIPHER_CTX_ctrl: { args: [u64_fast, i32, i32, u64_fast], returns: i32 },
  EVP_EncryptInit_ex: { args: [u64_fast, u64_fast, u64_fast, u64_fast, u64_fast], returns: i32 },
  EVP_EncryptUpdate: { args: [u64_fast, u64_fast, u64_fast, u64_fast, i32], returns: i32 },
  EVP_EncryptFinal_ex: { args: [u64_fast, u64_fast, u64_fast], returns: i32 },
  EVP_DecryptInit_ex: { args: [u64_fast, u64_fast, u64_fast, u64_fast, u64_fast], returns: i32 },
  EVP_DecryptUpdate: { args: [u64_fast, u64_fast, u64_fast, u64_fast, i32], returns: i32 },
  EVP_DecryptFinal_ex: { args: [u64_fast, u64_fast, u64_fast], returns: i32 },
} as const;

/** include/openssl/evp.h */
const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;

/** As in dataplane/seal: header with the counter, body, tag. */
const HEADER_SIZE = 16;
const COUNTER_AT = 8;
const TAG_SIZE = 16;
const SALT_SIZE = 4;
const NONCE_SIZE = 12;

type Libcrypto = ReturnType<typeof load>;
let loaded: Libcrypto | undefined;

/** One key and its two contexts. The shape of dataplane/seal's AeadKey. */
export interface LibcryptoKey {
  seal(at: number, head: number, headLength: number, tail: number, tailLength: number): boolean;
  open(at: number, length: number): boolean;
  close(): void;
}

/** Makes keys over one piece of memory. The shape of dataplane/seal's AeadEngine. */
export interface LibcryptoAead {
  readonly name: string;
  createKey(secret: Uint8Array, salt: Uint8Array): LibcryptoKey;
}

/**
 * An engine over `memory`, which the caller keeps referenced; undefined where the host has no
 * libcrypto that works.
 */
export function openLibcryptoAead(memory: PacketMemory): LibcryptoAead | undefined {
  loaded ??= load();
  if (loaded === undefined) return undefined;
  const { name, library } = loaded;
  if (!provesItself(library)) return undefined;
  const { bytes, view } = memory;
  const place: Place = { bytes, view, address: addressOf(bytes) };
  return { name, createKey: (secret, salt) => new Key(library, place, { secret, salt }) };
}

/** The memory that packets lie in. */
interface Place {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

type Library = NonNullable<Libcrypto>["library"];

class Key implements LibcryptoKey {
  readonly #library: Library;
  readonly #base: number;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #nonce = kernelBytes(NONCE_SIZE);
  /** Where OpenSSL writes lengths that nobody reads. */
  readonly #length = kernelBytes(8);
  #sealing: number;
  #opening: number;

  constructor(
    library: Library,
    memory: Place,
    key: { readonly secret: Uint8Array; readonly salt: Uint8Array },
  ) {
    this.#library = library;
    this.#base = memory.address;
    this.#view = memory.view;
    this.#bytes = memory.bytes;
    this.#nonce.bytes.set(key.salt);
    const secret = kernelBytes(key.secret.length);
    secret.bytes.set(key.secret);
    const cipher = library.EVP_aes_256_gcm();
    this.#sealing = Number(library.EVP_CIPHER_CTX_new());
    this.#opening = Number(library.EVP_CIPHER_CTX_new());
    const isReady =
      this.#sealing !== 0 &&
      this.#opening !== 0 &&
      library.EVP_EncryptInit_ex(this.#sealing, cipher, 0, secret.address, 0) === 1 &&
      library.EVP_DecryptInit_ex(this.#opening, cipher, 0, secret.address, 0) === 1;
    secret.bytes.fill(0);
    if (!isReady) this.close();
  }

  seal(at: number, head: number, headLength: number, tail: number, tailLength: number): boolean {
    const context = this.#sealing;
    if (context === 0) return false;
    const library = this.#library;
    const base = this.#base;
    const length = this.#length.address;
    const header = base + at;
    const body = header + HEADER_SIZE;
    const size = headLength + tailLength;
    const end = body + size;
    this.#putNonce(at);
    // Two calls cost three times what gathering a packet does.
    if (tailLength > 0) this.#gather(at + HEADER_SIZE, head, headLength, tail, tailLength);
    const source = tailLength > 0 ? body : base + head;
    // Not one of these fails on valid arguments; the results are looked at all the same.
    return (
      library.EVP_EncryptInit_ex(context, 0, 0, 0, this.#nonce.address) === 1 &&
      library.EVP_EncryptUpdate(context, 0, length, header, HEADER_SIZE) === 1 &&
      library.EVP_EncryptUpdate(context, body, length, source, size) === 1 &&
      library.EVP_EncryptFinal_ex(context, end, length) === 1 &&
      library.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, end) === 1
    );
  }

  open(at: number, length: number): boolean {
    const context = this.#opening;
    const size = length - HEADER_SIZE - TAG_SIZE;
    if (context === 0 || size < 0) return false;
    const library = this.#library;
    const written = this.#length.address;
    const header = this.#base + at;
    const body = header + HEADER_SIZE;
    const tag = body + size;
    this.#putNonce(at);
    return (
      library.EVP_DecryptInit_ex(context, 0, 0, 0, this.#nonce.address) === 1 &&
      library.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) === 1 &&
      library.EVP_DecryptUpdate(context, 0, written, header, HEADER_SIZE) === 1 &&
      library.EVP_DecryptUpdate(context, body, written, body, size) === 1 &&
      library.EVP_DecryptFinal_ex(context, tag, written) === 1
    );
  }

  close(): void {
    // Freeing clears what a context holds of its key.
    if (this.#sealing !== 0) this.#library.EVP_CIPHER_CTX_free(this.#sealing);
    if (this.#opening !== 0) this.#library.EVP_CIPHER_CTX_free(this.#opening);
    this.#sealing = 0;
    this.#opening = 0;
    this.#nonce.bytes.fill(0);
  }

  #gather(to: number, head: number, headLength: number, tail: number, tailLength: number): void {
    this.#bytes.copyWithin(to, head, head + headLength);
    this.#bytes.copyWithin(to + headLength, tail, tail + tailLength);
  }

  #putNonce(at: number): void {
    const { view } = this.#nonce;
    view.setUint32(SALT_SIZE, this.#view.getUint32(at + COUNTER_AT));
    view.setUint32(SALT_SIZE + 4, this.#view.getUint32(at + COUNTER_AT + 4));
  }
}

/** A packet with a known key and what it must become (made with another library). */
const PROOF_BODY = Uint8Array.from({ length: 20 }, (_, i) => 100 + i);
const PROOF_SEALED = "5303a4cd2f77e838a34ab84d2bd16505fa7243b0f694b74479fbd5bb0d662884c8bc4090";

/** Whether `library` seals and opens as everybody else does, and refuses what was changed. */
function provesItself(library: Library): boolean {
  const memory = kernelBytes(HEADER_SIZE + PROOF_BODY.length + TAG_SIZE + PROOF_BODY.length);
  const { bytes } = memory;
  const end = HEADER_SIZE + PROOF_BODY.length + TAG_SIZE;
  bytes.set(Uint8Array.from({ length: HEADER_SIZE }, (_, i) => i));
  bytes.set(PROOF_BODY, end);
  const key = new Key(library, memory, {
    secret: Uint8Array.from({ length: 32 }, (_, i) => i),
    salt: Uint8Array.from([0xa0, 0xa1, 0xa2, 0xa3]),
  });
  try {
    if (!key.seal(0, end, 12, end + 12, PROOF_BODY.length - 12)) return false;
    const sealed = bytes.slice(0, end);
    if (Buffer.from(sealed.subarray(HEADER_SIZE)).toString("hex") !== PROOF_SEALED) return false;
    if (!key.open(0, end)) return false;
    if (Buffer.compare(bytes.subarray(HEADER_SIZE, end - TAG_SIZE), PROOF_BODY) !== 0) return false;
    bytes.set(sealed);
    bytes[end - 1] = bytes[end - 1]! ^ 1;
    return !key.open(0, end);
  } finally {
    key.close();
  }
}

function load() {
  for (const name of LIBRARY_NAMES) {
    try {
      return { name, library: dlopen(name, SYMBOLS).symbols };
    } catch {
      // Not there under this name, or without one of the functions: the next one, or none.
    }
  }
  return undefined;
}
