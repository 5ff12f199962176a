/**
 * Snapshots on their way in, as files beside the finished ones.
 *
 *     file     record of the key | record of a chunk | ...
 *     record   0 crc32c | 4 length of the payload | 8 offset in the body, 64 bits | 16 payload
 *
 * Integers as in `frame.ts`; a record's checksum covers everything after itself and continues that
 * of the record before. Not synced: after a crash as much counts as can be read back. One file
 * grows at a time; another may still be read while it is installed.
 *
 * @module
 */
import { crc32c } from "../../base/crc32c.ts";
import type { Disk, DiskFile } from "../files/disk.ts";
import type { SnapshotStage, SnapshotStaging } from "../ports.ts";
import { decodeSafe, putSafe } from "./frame.ts";
import { SNAPSHOT_CHUNK_SIZE_MAX } from "./limits.ts";
import { damaged } from "./wal-errors.ts";

const RECORD_HEADER_SIZE = 16;
const NAME_PATTERN = /^incoming-\d{1,6}\.part$/;

/** Stages in `directory`, where the finished snapshots are. Nothing is touched before `open`. */
export function openSnapshotStaging(disk: Disk, directory: string): SnapshotStaging {
  let count = 0;
  /** Files of this process; what else is there is from an earlier one. */
  const own = new Set<string>();
  return {
    async open(key) {
      let found: FileStage | undefined;
      for (const name of await disk.list(directory)) {
        const path = `${directory}/${name}`;
        if (!NAME_PATTERN.test(name) || own.has(path)) continue;
        found ??= await FileStage.reopen(disk, path, key);
        if (found?.path !== path) await disk.remove(path);
      }
      const names = new Set(await disk.list(directory));
      while (names.has(`incoming-${count}.part`)) count += 1;
      const stage =
        found ?? (await FileStage.create(disk, `${directory}/incoming-${count}.part`, key));
      own.add(stage.path);
      return stage;
    },
    async clear() {
      for (const name of await disk.list(directory)) {
        const path = `${directory}/${name}`;
        if (NAME_PATTERN.test(name) && !own.has(path)) await disk.remove(path);
      }
    },
  };
}

class FileStage implements SnapshotStage {
  readonly #disk: Disk;
  readonly #file: DiskFile;
  #sizeBytes = 0;
  /** Where the next record goes, and what its checksum continues. */
  #end = 0;
  #crc = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #isDiscarded = false;

  private constructor(disk: Disk, file: DiskFile) {
    this.#disk = disk;
    this.#file = file;
  }

  static async create(disk: Disk, path: string, key: string): Promise<FileStage> {
    const stage = new FileStage(disk, await disk.open(path, "create"));
    await stage.#write(0, new TextEncoder().encode(key));
    return stage;
  }

  /** What the file at `path` holds of the snapshot `key`; undefined when it is another's. */
  static async reopen(disk: Disk, path: string, key: string): Promise<FileStage | undefined> {
    const file = await disk.open(path, "durable");
    const stage = new FileStage(disk, file);
    const first = await stage.#next(0, 0);
    if (first === undefined || new TextDecoder().decode(first.payload) !== key) {
      await file.close();
      return undefined;
    }
    let record: StagedRecord | undefined = first;
    while (record !== undefined) {
      if (record !== first) stage.#sizeBytes += record.payload.length;
      stage.#end = record.end;
      stage.#crc = record.crc;
      record = await stage.#next(stage.#end, stage.#crc);
      if (record !== undefined && record.offset !== stage.#sizeBytes) record = undefined;
    }
    return stage;
  }

  get path(): string {
    return this.#file.path;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  append(offset: number, chunk: Uint8Array): Promise<number> {
    const appended = this.#tail.then(async () => {
      if (this.#isDiscarded || offset !== this.#sizeBytes) return this.#sizeBytes;
      await this.#write(offset, chunk);
      this.#sizeBytes += chunk.length;
      return this.#sizeBytes;
    });
    this.#tail = appended.catch(() => undefined);
    return appended;
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    const sizeBytes = this.#sizeBytes;
    let record = await this.#next(0, 0);
    for (let read = 0; read < sizeBytes; read += record.payload.length) {
      const { end, crc } = record ?? { end: 0, crc: 0 };
      record = record === undefined ? undefined : await this.#next(end, crc);
      if (record?.offset !== read) throw damaged(`byte ${end} of ${this.path}`, "wrong checksum");
      yield record.payload;
    }
  }

  async discard(): Promise<void> {
    if (this.#isDiscarded) return;
    this.#isDiscarded = true;
    await this.#tail;
    await this.#file.close();
    await this.#disk.remove(this.path);
  }

  async #write(offset: number, payload: Uint8Array): Promise<void> {
    const record = new Uint8Array(RECORD_HEADER_SIZE + payload.length);
    const view = new DataView(record.buffer);
    view.setUint32(4, payload.length, true);
    putSafe(view, 8, offset);
    record.set(payload, RECORD_HEADER_SIZE);
    const crc = crc32c(record, 4, record.length - 4, this.#crc);
    view.setUint32(0, crc, true);
    await this.#file.write(record, this.#end);
    this.#end += record.length;
    this.#crc = crc;
  }

  /** The record at `at`; undefined when there is none that continues `previousCrc`. */
  async #next(at: number, previousCrc: number): Promise<StagedRecord | undefined> {
    const head = new Uint8Array(RECORD_HEADER_SIZE);
    if ((await this.#file.read(head, at)) < head.length) return undefined;
    const length = new DataView(head.buffer).getUint32(4, true);
    if (length === 0 || length > SNAPSHOT_CHUNK_SIZE_MAX) return undefined;
    const record = new Uint8Array(RECORD_HEADER_SIZE + length);
    if ((await this.#file.read(record, at)) < record.length) return undefined;
    const view = new DataView(record.buffer);
    const crc = crc32c(record, 4, record.length - 4, previousCrc);
    const offset = decodeSafe(view, 8);
    if (view.getUint32(0, true) !== crc || offset === undefined) return undefined;
    const payload = record.subarray(RECORD_HEADER_SIZE);
    return { offset, payload, crc, end: at + record.length };
  }
}

interface StagedRecord {
  readonly offset: number;
  readonly payload: Uint8Array;
  readonly crc: number;
  /** Where the next record begins. */
  readonly end: number;
}
