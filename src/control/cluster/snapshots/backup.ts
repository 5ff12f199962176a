/**
 * A backup: the state of a cluster in one file, for another time or another machine.
 *
 *     "OVLYSAVE" | cluster version u8 | head length u32 | head CBOR | a snapshot's body | SHA-256
 *
 * The digest is over everything before it, so that a bit that flipped and a file that was cut are
 * found; the body's own digest says that what was read makes the state that was saved. Integers
 * are big-endian. The version is the cluster's: a program that reads less reads the head, and no
 * more. No key of the cluster or of a node is in it, and tokens are as the store has them, hashed.
 *
 * Read as a stream, each chunk once; nothing in it is believed.
 *
 * @module
 */
import { createHash } from "node:crypto";
import {
  type ClusterId,
  type Index,
  type NodeId,
  parseClusterId,
  type Revision,
  type Term,
} from "../../../base/ids.ts";
import type { Clock } from "../../../host/ports.ts";
import { CLUSTER_VERSION_FIRST, CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";
import type { SnapshotPart } from "../../kv/types.ts";
import { decodeOwnRecord, encodeValue } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { SnapshotBodyDecoder } from "../codec/snapshot-codec.ts";
import { paceSnapshotBody } from "./snapshot-pace.ts";

const MAGIC = new TextEncoder().encode("OVLYSAVE");
const FIXED_SIZE_BYTES = MAGIC.length + 1 + 4;
const HEAD_SIZE_MAX_BYTES = 4_096;
const DIGEST_SIZE_BYTES = 32;
const CLUSTER_ID_LENGTH = 32;
const NAME_LENGTH_MAX = 253;
const PROGRAM_LENGTH_MAX = 64;

/** What a backup says of itself. */
export interface BackupHead {
  /** Of the cluster; what a reader must know. */
  readonly version: number;
  readonly clusterId: ClusterId;
  readonly generation: number;
  /** Last entry that is in it. */
  readonly index: Index;
  readonly term: Term;
  readonly revision: Revision;
  /** Who made it, with which program, and when by that node's clock. */
  readonly nodeId: NodeId;
  readonly nodeName: string;
  readonly program: string;
  readonly madeAtMs: number;
}

/** The file of `parts`, in chunks that hold up nobody. */
export async function* writeBackup(
  head: BackupHead,
  parts: Iterable<SnapshotPart>,
  clock: Pick<Clock, "nowMs" | "after">,
): AsyncGenerator<Uint8Array, void, void> {
  const hash = createHash("sha256");
  const first = encodeHead(head);
  hash.update(first);
  yield first;
  for await (const chunk of paceSnapshotBody(parts, clock)) {
    hash.update(chunk);
    yield chunk;
  }
  yield hash.digest();
}

/** Takes a backup in, chunk by chunk. Its parts are of use only once `finish` finds no fault. */
export class BackupReader {
  readonly #hash = createHash("sha256");
  readonly #body = new SnapshotBodyDecoder();
  /** What came and is not known yet to be no digest. */
  #rest: Uint8Array = new Uint8Array(0);
  #head: BackupHead | undefined;
  #sizeBytes = 0;

  /** Known when the first kilobytes were taken. */
  get head(): BackupHead | undefined {
    return this.#head;
  }

  /** Bytes taken so far. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Takes the next chunk. Undefined, or why there is no use in going on. */
  push(chunk: Uint8Array): string | undefined {
    this.#sizeBytes += chunk.length;
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (this.#head === undefined) {
      const problem = this.#takeHead();
      if (problem !== undefined || this.#head === undefined) return problem;
    }
    const bodySize = this.#rest.length - DIGEST_SIZE_BYTES;
    if (bodySize <= 0) return undefined;
    const body = this.#rest.subarray(0, bodySize);
    this.#rest = this.#rest.slice(bodySize);
    this.#hash.update(body);
    return this.#body.push(body) ? undefined : "its content makes no sense";
  }

  /** The parts that came since the last call. */
  drain(): readonly SnapshotPart[] {
    return this.#body.drain();
  }

  /** Undefined when it was whole, or what is wrong with it. */
  finish(): string | undefined {
    if (this.#sizeBytes === 0) return "it is empty";
    if (this.#head === undefined || this.#rest.length < DIGEST_SIZE_BYTES) return CUT;
    const isAsSaved = this.#hash.digest().equals(this.#rest);
    if (isAsSaved) return this.#body.finish() === undefined ? CUT : undefined;
    // The end of the body is where it should be: nothing is missing, something is other.
    return this.#body.finish() === undefined ? CUT : "its checksum is wrong: it was changed";
  }

  #takeHead(): string | undefined {
    const bytes = this.#rest;
    const known = bytes.subarray(0, MAGIC.length);
    if (known.some((byte, i) => byte !== MAGIC[i])) return "it is no backup of overlay";
    if (bytes.length < FIXED_SIZE_BYTES) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const version = view.getUint8(MAGIC.length);
    const size = view.getUint32(MAGIC.length + 1);
    if (size > HEAD_SIZE_MAX_BYTES) return "its head makes no sense";
    const end = FIXED_SIZE_BYTES + size;
    if (bytes.length < end) return undefined;
    const head = decodeHead(version, bytes.subarray(FIXED_SIZE_BYTES, end));
    if (head === undefined) return "its head makes no sense";
    this.#hash.update(bytes.subarray(0, end));
    this.#rest = bytes.subarray(end);
    this.#head = head;
    return undefined;
  }
}

/** Why this program cannot read what is behind `head`; undefined when it can. */
export function backupObstacle({ version, program }: BackupHead): string | undefined {
  if (version <= CLUSTER_VERSION_NEWEST) return undefined;
  return (
    `it is of cluster version ${version}, and this program reads versions up to ` +
    `${CLUSTER_VERSION_NEWEST}; install overlay ${program} or later`
  );
}

const CUT = "it is cut off: bytes are missing at its end";

function encodeHead(head: BackupHead): Uint8Array {
  const body = encodeValue({
    c: head.clusterId,
    g: head.generation,
    i: head.index,
    t: head.term,
    r: head.revision,
    n: head.nodeId,
    a: head.nodeName,
    p: head.program,
    w: head.madeAtMs,
  });
  const bytes = new Uint8Array(FIXED_SIZE_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC, 0);
  view.setUint8(MAGIC.length, head.version);
  view.setUint32(MAGIC.length + 1, body.length);
  bytes.set(body, FIXED_SIZE_BYTES);
  return bytes;
}

function decodeHead(version: number, bytes: Uint8Array): BackupHead | undefined {
  const fields = new FieldReader(decodeOwnRecord(bytes));
  const clusterId = parseClusterId(fields.text("c", CLUSTER_ID_LENGTH));
  const generation = fields.counter("g");
  const index = fields.index("i");
  const term = fields.term("t");
  const revision = fields.revision("r");
  const nodeId = fields.nodeId("n");
  const nodeName = fields.text("a", NAME_LENGTH_MAX);
  const program = fields.text("p", PROGRAM_LENGTH_MAX);
  const madeAtMs = fields.counter("w");
  if (fields.failed || clusterId === undefined || version < CLUSTER_VERSION_FIRST) return undefined;
  const place = { clusterId, generation, index, term, revision };
  return { version, ...place, nodeId, nodeName, program, madeAtMs };
}
