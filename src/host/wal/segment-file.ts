/**
 * Makes segment files: filled with zeros ahead of need, then given a header and their name.
 *
 * Zeros are written, not reserved with fallocate: a block that was only reserved is marked as
 * written on its first use, which makes every append wait for the file system's journal too.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import type { Disk, DiskFile } from "../files/disk.ts";
import { IO_CHUNK_SIZE, SEGMENT_HEADER_SIZE } from "./limits.ts";
import {
  type DecodedSegmentHeader,
  decodeSegmentHeader,
  encodeSegmentHeader,
  formatSegmentName,
  type SegmentHeader,
  WAL_FORMAT_VERSION,
  type WalIdentity,
} from "./segment-header.ts";
import { damaged, foreign, unknownVersion } from "./wal-errors.ts";

const TEMPORARY_NAME = "next.wal.tmp";
const MIB = 1024 * 1024;
const ZEROS = new Uint8Array(IO_CHUNK_SIZE);

/** A file of zeros on stable storage that is no segment yet. At most one is in a directory. */
export interface SpareSegment {
  readonly path: string;
  readonly sizeBytes: number;
}

/** A segment open for appending. */
export interface OpenSegment {
  readonly file: DiskFile;
  readonly path: string;
  readonly segment: DecodedSegmentHeader;
}

/** Whether `name` is a spare that a crash left behind. */
export function isTemporarySegment(name: string): boolean {
  return name === TEMPORARY_NAME;
}

/** Makes a spare of `sizeBytes`. Throws `HostError`, naming the disk when it is full. */
export async function prepareSpare(
  disk: Disk,
  directory: string,
  sizeBytes: number,
): Promise<SpareSegment> {
  const path = `${directory}/${TEMPORARY_NAME}`;
  const file = await disk.open(path, "create");
  try {
    await fillWithZeros(file, 0, sizeBytes);
    await file.sync();
    await file.close();
  } catch (cause) {
    await file.close();
    throw await explainFullDisk(disk, { directory, path, sizeBytes }, cause);
  }
  return { path, sizeBytes };
}

/** Turns `spare` into the segment that `header` describes; durable, name and all, on return. */
export async function startSegment(
  disk: Disk,
  directory: string,
  { spare, header }: { readonly spare: SpareSegment; readonly header: SegmentHeader },
): Promise<OpenSegment> {
  const { sequence, before } = header;
  const name = formatSegmentName({ sequence, firstIndex: before.lastIndex + 1 });
  const path = `${directory}/${name}`;
  const { bytes, crc } = encodeSegmentHeader(header);
  const file = await disk.open(spare.path, "durable");
  await file.write(bytes, 0);
  await disk.rename(spare.path, path);
  await disk.syncDirectory(directory);
  return { file, path, segment: { header, crc } };
}

/** The header of `file`, which must be a whole segment of `owner`. Throws `HostError` if not. */
export async function readSegmentHeader(
  file: DiskFile,
  owner: WalIdentity | undefined,
): Promise<DecodedSegmentHeader> {
  const { path, sizeBytes } = file;
  const bytes = new Uint8Array(SEGMENT_HEADER_SIZE);
  const count = await file.read(bytes, 0);
  if (count < bytes.length) throw damaged(path, `the file ends after ${count} bytes`);
  const decoded = decodeSegmentHeader(bytes);
  if (!decoded.ok) {
    const { error } = decoded;
    if (error.kind === "version") throw unknownVersion(path, error.version, WAL_FORMAT_VERSION);
    const checksum = error.kind === "checksum";
    throw damaged(path, checksum ? "wrong checksum in its header" : "it is not a log segment");
  }
  const { header } = decoded.value;
  const isOurs = header.clusterId === owner?.clusterId && header.nodeId === owner.nodeId;
  if (owner !== undefined && !isOurs) throw foreign(path, header, owner);
  if (sizeBytes !== header.sizeBytes) {
    throw damaged(path, `the file has ${sizeBytes} bytes, it was made with ${header.sizeBytes}`);
  }
  return decoded.value;
}

/** Writes zeros from `start` up to `end`. */
export async function fillWithZeros(file: DiskFile, start: number, end: number): Promise<void> {
  for (let at = start; at < end; at += ZEROS.length) {
    await file.write(ZEROS.subarray(0, Math.min(ZEROS.length, end - at)), at);
  }
}

async function explainFullDisk(
  disk: Disk,
  wanted: { readonly directory: string; readonly path: string; readonly sizeBytes: number },
  cause: unknown,
): Promise<unknown> {
  if (!isDiskFull(cause)) return cause;
  // Half a spare helps nobody; what it took is given back.
  await disk.remove(wanted.path);
  const { mountPoint, freeBytes } = await disk.space(wanted.directory);
  const [free, need] = [freeBytes, wanted.sizeBytes].map((size) => (size / MIB).toFixed(1));
  return new HostError({
    operation: "make room for the log in",
    object: wanted.directory,
    errno: cause.errno ?? "ENOSPC",
    reason: `the disk mounted at ${mountPoint} is full: ${need} MiB needed, ${free} MiB free`,
    next: "free space there and start the agent again",
    cause,
  });
}

/** Whether `cause` says that a disk or a quota is used up. */
export function isDiskFull(cause: unknown): cause is HostError {
  return cause instanceof HostError && (cause.errno === "ENOSPC" || cause.errno === "EDQUOT");
}
