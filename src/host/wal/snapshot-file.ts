/**
 * One snapshot as a file: written as a stream, checked as a stream.
 *
 *     header record    "OVLYSNAP", version, cluster id, node id, index, term, caller's header
 *     chunk records    the body, in the caller's chunks
 *     trailer record   chunk count, body size, SHA-256 of everything before this record
 *
 *     record:  0 crc32c | 4 length of the payload | 8 type | 12 number, from 0 | 16 payload
 *
 * Integers as in `frame.ts`; a record's checksum covers everything after itself and continues that
 * of the record before. The log's snapshot mark repeats size and SHA-256, so that a file which is
 * whole in itself, but not the one that was saved, is found too.
 *
 * Reading and writing go chunk by chunk; between two chunks the event loop turns, unless the
 * reader asks for several at a time.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { crc32c } from "../../base/crc32c.ts";
import type { HostError } from "../../base/host-error.ts";
import type { DiskFile } from "../files/disk.ts";
import type { StoredSnapshotMeta } from "../ports.ts";
import { decodeSafe, putSafe, SHA256_SIZE } from "./frame.ts";
import {
  SNAPSHOT_CHUNK_SIZE_MAX,
  SNAPSHOT_META_SIZE_MAX,
  SNAPSHOT_SYNC_INTERVAL_BYTES,
} from "./limits.ts";
import type { WalIdentity } from "./segment-header.ts";
import { damaged, foreign, unknownVersion } from "./wal-errors.ts";

/** What a snapshot file is known by: repeated in the log. */
export interface SnapshotSeal {
  readonly fileSize: number;
  readonly digest: Uint8Array;
}

/** How the chunks of a snapshot are read. */
export interface SnapshotReading {
  readonly seal: SnapshotSeal | undefined;
  readonly readAheadSize?: number;
}

/** Chunks in the caller's own pieces, each at most `SNAPSHOT_CHUNK_SIZE_MAX`. */
export type SnapshotChunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Of the snapshot format. A change that older versions cannot read must raise it. */
export const SNAPSHOT_FORMAT_VERSION = 1;

const MAGIC = Buffer.from("OVLYSNAP", "latin1");
const RECORD_HEADER_SIZE = 16;
const FIXED_HEADER_SIZE = 56;
const TRAILER_SIZE = 16 + SHA256_SIZE;
const RECORD_SIZE_MAX =
  RECORD_HEADER_SIZE +
  FIXED_HEADER_SIZE +
  Math.max(SNAPSHOT_CHUNK_SIZE_MAX, SNAPSHOT_META_SIZE_MAX);

const TYPE_HEADER = 1;
const TYPE_CHUNK = 2;
const TYPE_TRAILER = 3;

/** What the source of the chunks threw, told apart from what the disk did. */
export class SnapshotSourceError extends Error {
  override readonly name = "SnapshotSourceError";

  constructor(cause: unknown) {
    super("Cannot go on with a snapshot: its source failed", { cause });
  }
}

/**
 * Writes a snapshot to a new file at `path`; its content is on stable storage on return. Throws
 * `HostError`, or `SnapshotSourceError` when `chunks` fails; the file is then of no use.
 */
export async function writeSnapshotFile(
  file: DiskFile,
  owner: WalIdentity,
  { meta, chunks }: { readonly meta: StoredSnapshotMeta; readonly chunks: SnapshotChunks },
): Promise<SnapshotSeal> {
  assert(meta.header.length <= SNAPSHOT_META_SIZE_MAX, "a snapshot header is at most 1 MiB");
  const writer = new RecordWriter(file);
  await writer.put(TYPE_HEADER, encodeHeader(owner, meta));
  let bodySize = 0;
  let chunkCount = 0;
  for await (const chunk of guardSource(chunks)) {
    assert(chunk.length <= SNAPSHOT_CHUNK_SIZE_MAX, "a snapshot chunk is at most 1 MiB");
    await writer.put(TYPE_CHUNK, chunk);
    bodySize += chunk.length;
    chunkCount++;
  }
  const digest = writer.digest();
  const trailer = new Uint8Array(TRAILER_SIZE);
  const view = new DataView(trailer.buffer);
  putSafe(view, 0, chunkCount);
  putSafe(view, 8, bodySize);
  trailer.set(digest, 16);
  await writer.put(TYPE_TRAILER, trailer);
  await file.sync();
  return { fileSize: writer.sizeBytes, digest };
}

/**
 * The header of the snapshot in `file`, checked. Throws `HostError` when it is damaged, another
 * node's, or of another version.
 */
export async function readSnapshotMeta(
  file: DiskFile,
  owner: WalIdentity,
): Promise<StoredSnapshotMeta> {
  const record = await new RecordReader(file, 0).next();
  return decodeHeader(file.path, owner, record);
}

/**
 * The chunks of the snapshot in `file`, each checked before it is given out, and the whole after
 * the last one: what was read is valid only once this has ended without an error. `seal` is what
 * the log says of the file, where it does. Each chunk is the caller's to keep. At least
 * `readAheadSize` bytes are read in one call, and their chunks come in one turn of the loop.
 */
export async function* readSnapshotChunks(
  file: DiskFile,
  owner: WalIdentity,
  { seal, readAheadSize = 0 }: SnapshotReading,
): AsyncGenerator<Uint8Array, void, void> {
  const reader = new RecordReader(file, readAheadSize);
  decodeHeader(file.path, owner, await reader.next());
  let bodySize = 0;
  for (let chunkCount = 0; ; chunkCount++) {
    const record = await reader.next();
    if (record.type === TYPE_TRAILER) {
      const digest = reader.digestBeforeTrailer();
      checkTrailer(file, record, { bodySize, chunkCount, digest });
      if (reader.offset !== file.sizeBytes) throw damaged(file.path, "bytes follow its end");
      if (seal !== undefined) checkSeal(file, { fileSize: reader.offset, digest }, seal);
      return;
    }
    if (record.type !== TYPE_CHUNK) throw reader.error("a record that does not belong there");
    bodySize += record.payload.length;
    yield record.payload;
  }
}

interface SnapshotRecord {
  readonly type: number;
  readonly payload: Uint8Array;
}

class RecordWriter {
  readonly #file: DiskFile;
  readonly #hash = new Bun.CryptoHasher("sha256");
  /** Reused from record to record: fresh memory for each MiB would be most of the work. */
  #buffer = new Uint8Array(0);
  #offset = 0;
  #synced = 0;
  #crc = 0;
  #number = 0;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  get sizeBytes(): number {
    return this.#offset;
  }

  async put(type: number, payload: Uint8Array): Promise<void> {
    const record = this.#makeRecord(RECORD_HEADER_SIZE + payload.length);
    const view = new DataView(record.buffer);
    view.setUint32(4, payload.length, true);
    view.setUint32(8, type, true);
    view.setUint32(12, this.#number++, true);
    record.set(payload, RECORD_HEADER_SIZE);
    this.#crc = crc32c(record, 4, record.length - 4, this.#crc);
    view.setUint32(0, this.#crc, true);
    if (type !== TYPE_TRAILER) this.#hash.update(record);
    await this.#file.write(record, this.#offset);
    this.#offset += record.length;
    if (this.#offset - this.#synced < SNAPSHOT_SYNC_INTERVAL_BYTES) return;
    await this.#file.sync();
    this.#synced = this.#offset;
  }

  digest(): Uint8Array {
    return new Uint8Array(this.#hash.digest());
  }

  #makeRecord(size: number): Uint8Array {
    if (size > this.#buffer.length) this.#buffer = new Uint8Array(size);
    return this.#buffer.subarray(0, size);
  }
}

class RecordReader {
  readonly #file: DiskFile;
  readonly #readAheadSize: number;
  readonly #hash = new Bun.CryptoHasher("sha256");
  /** Bytes of the file from `#windowStart`. Never used again: records are views of it. */
  #window = new Uint8Array(0);
  #windowStart = 0;
  #offset = 0;
  #crc = 0;
  #number = 0;

  constructor(file: DiskFile, readAheadSize: number) {
    this.#file = file;
    this.#readAheadSize = readAheadSize;
  }

  get offset(): number {
    return this.#offset;
  }

  /** SHA-256 of every record before the trailer, which was read last. */
  digestBeforeTrailer(): Uint8Array {
    return new Uint8Array(this.#hash.digest());
  }

  error(reason: string): HostError {
    return damaged(`byte ${this.#offset} of ${this.#file.path}`, reason);
  }

  async next(): Promise<SnapshotRecord> {
    const head = await this.#bytes(RECORD_HEADER_SIZE);
    const length = new DataView(head.buffer, head.byteOffset).getUint32(4, true);
    const size = RECORD_HEADER_SIZE + length;
    const isTooLong = size > RECORD_SIZE_MAX || this.#offset + size > this.#file.sizeBytes;
    if (isTooLong) throw this.error("wrong length");
    const record = await this.#bytes(size);
    const view = new DataView(record.buffer, record.byteOffset);
    const crc = crc32c(record, 4, size - 4, this.#crc);
    if (view.getUint32(0, true) !== crc) throw this.error("wrong checksum");
    if (view.getUint32(12, true) !== this.#number) throw this.error("records out of order");
    const type = view.getUint32(8, true);
    if (type !== TYPE_TRAILER) this.#hash.update(record);
    this.#crc = crc;
    this.#number++;
    this.#offset += size;
    return { type, payload: record.subarray(RECORD_HEADER_SIZE) };
  }

  /** The next `size` bytes, out of what was read ahead if they are in it. */
  async #bytes(size: number): Promise<Uint8Array> {
    let at = this.#offset - this.#windowStart;
    if (at + size > this.#window.length) {
      const left = Math.max(0, this.#file.sizeBytes - this.#offset);
      const window = new Uint8Array(Math.min(left, Math.max(size, this.#readAheadSize)));
      const count = await this.#file.read(window, this.#offset);
      this.#window = window.subarray(0, count);
      this.#windowStart = this.#offset;
      at = 0;
    }
    if (at + size > this.#window.length) throw this.error("the file ends too early");
    return this.#window.subarray(at, at + size);
  }
}

function encodeHeader(owner: WalIdentity, meta: StoredSnapshotMeta): Uint8Array {
  const bytes = new Uint8Array(FIXED_HEADER_SIZE + meta.header.length);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC, 0);
  view.setUint32(8, SNAPSHOT_FORMAT_VERSION, true);
  bytes.set(Buffer.from(owner.clusterId, "hex"), 16);
  putSafe(view, 32, owner.nodeId);
  putSafe(view, 40, meta.index);
  putSafe(view, 48, meta.term);
  bytes.set(meta.header, FIXED_HEADER_SIZE);
  return bytes;
}

function decodeHeader(
  path: string,
  owner: WalIdentity,
  { type, payload }: SnapshotRecord,
): StoredSnapshotMeta {
  const isHeader = type === TYPE_HEADER && payload.length >= FIXED_HEADER_SIZE;
  if (!isHeader || !MAGIC.equals(payload.subarray(0, 8))) throw damaged(path, "not a snapshot");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const version = view.getUint32(8, true);
  if (version !== SNAPSHOT_FORMAT_VERSION) {
    throw unknownVersion(path, version, SNAPSHOT_FORMAT_VERSION);
  }
  const clusterId = Buffer.from(payload.subarray(16, 32)).toString("hex");
  const [nodeId, index, term] = [32, 40, 48].map((offset) => decodeSafe(view, offset));
  if (nodeId === undefined || index === undefined || term === undefined) {
    throw damaged(path, "a number in its header is too large");
  }
  const isOurs = clusterId === owner.clusterId && nodeId === owner.nodeId;
  if (!isOurs) throw foreign(path, { clusterId, nodeId }, owner);
  return { index, term, header: payload.slice(FIXED_HEADER_SIZE) };
}

function checkTrailer(
  { path }: DiskFile,
  { payload }: SnapshotRecord,
  read: {
    readonly bodySize: number;
    readonly chunkCount: number;
    readonly digest: Uint8Array;
  },
): void {
  if (payload.length !== TRAILER_SIZE) throw damaged(path, "its trailer has a wrong size");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const isWhole =
    decodeSafe(view, 0) === read.chunkCount &&
    decodeSafe(view, 8) === read.bodySize &&
    isSame(payload.subarray(16), read.digest);
  if (!isWhole) throw damaged(path, "its trailer does not fit its body");
}

function checkSeal({ path }: DiskFile, found: SnapshotSeal, wanted: SnapshotSeal): void {
  const isWanted = found.fileSize === wanted.fileSize && isSame(found.digest, wanted.digest);
  if (!isWanted) throw damaged(path, "it is not the snapshot that was saved under this name");
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Marks what `chunks` throws as the source's own. */
async function* guardSource(chunks: SnapshotChunks): AsyncGenerator<Uint8Array, void, void> {
  try {
    for await (const chunk of chunks) yield chunk;
  } catch (cause) {
    throw new SnapshotSourceError(cause);
  }
}
