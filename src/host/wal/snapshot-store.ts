/**
 * The directory of snapshots: which one counts, which one stands in, which can go.
 *
 * Order of a save, so that a crash at any point leaves either the old or the new snapshot:
 *
 *     1. `next.snap.tmp` is written and synced
 *     2. it is renamed to `<index>-<term>.snap`, the directory is synced
 *     3. the log says so: a snapshot mark (`wal-store.ts`)
 *     4. files older than the one before it are removed
 *
 * A file newer than the newest mark was never acknowledged and is removed at the next start.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";
import type { Disk, DiskFile } from "../files/disk.ts";
import type { StoredSnapshotMeta } from "../ports.ts";
import type { SnapshotMark } from "./frame.ts";
import { SNAPSHOT_KEPT_SIZE_MAX, SNAPSHOT_OPEN_READ_SIZE, SNAPSHOTS_KEPT_COUNT } from "./limits.ts";
import type { LogState } from "./log-state.ts";
import type { WalIdentity } from "./segment-header.ts";
import {
  readSnapshotChunks,
  readSnapshotMeta,
  type SnapshotChunks,
  type SnapshotSeal,
  writeSnapshotFile,
} from "./snapshot-file.ts";
import { damaged } from "./wal-errors.ts";

/** Where snapshots are and whose they are. */
export interface SnapshotPlace {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: WalIdentity;
}

/** The newest snapshot could not be used; an older one and the log stand in for it. */
export interface SnapshotFallback {
  /** Index of the snapshot that is used. */
  readonly usedIndex: number;
  /** What is wrong with the newest. */
  readonly problem: HostError;
}

interface SnapshotId {
  readonly index: number;
  readonly term: number;
}

interface UsableSnapshot extends SnapshotId {
  /** What the log says of the file; undefined for one that stands in. */
  readonly seal: SnapshotSeal | undefined;
}

const TEMPORARY_NAME = "next.snap.tmp";
const DAMAGED_SUFFIX = ".damaged";
const NAME_DIGITS = 16;
const NAME_PATTERN = /^(\d{16})-(\d{16})\.snap$/;

/** The file name of a snapshot, without its directory. */
export function formatSnapshotName({ index, term }: SnapshotId): string {
  const [first, second] = [index, term].map((part) => String(part).padStart(NAME_DIGITS, "0"));
  return `${first}-${second}.snap`;
}

/** What the file name `text` says; undefined when it is not a snapshot's. */
export function parseSnapshotName(text: string): SnapshotId | undefined {
  const match = NAME_PATTERN.exec(text);
  if (match === null) return undefined;
  const id = { index: Number(match[1]), term: Number(match[2]) };
  return Number.isSafeInteger(id.index) && Number.isSafeInteger(id.term) ? id : undefined;
}

/** The snapshots of one node. `open` it before anything else; calls must not overlap. */
export class SnapshotStore {
  readonly #place: SnapshotPlace;
  #newest: UsableSnapshot | undefined;
  /** Chunks of the newest as `open` read and checked them, for the first who asks. */
  #checked: readonly Uint8Array[] | undefined;

  constructor(place: SnapshotPlace) {
    this.#place = place;
  }

  /** Index of the newest usable snapshot; 0 when there is none. */
  get newestIndex(): number {
    return this.#newest?.index ?? 0;
  }

  /** Whether any snapshot file is there. */
  async isEmpty(): Promise<boolean> {
    return (await this.#list()).length === 0;
  }

  /**
   * Finds the snapshot that `log` builds on, checks all of it, and removes what a crash left.
   * Throws `HostError` when it is damaged and nothing can stand in for it.
   */
  async open(log: LogState): Promise<{
    readonly meta: StoredSnapshotMeta | undefined;
    readonly fallback: SnapshotFallback | undefined;
  }> {
    const { disk, directory } = this.#place;
    const { mark } = log;
    for (const name of await disk.list(directory)) {
      const id = parseSnapshotName(name);
      const isUnacknowledged = id !== undefined && id.index > (mark?.index ?? 0);
      if (isUnacknowledged || name === TEMPORARY_NAME) await disk.remove(`${directory}/${name}`);
    }
    if (mark === undefined) {
      this.#checkReach(log, { index: 0, term: 0 });
      return { meta: undefined, fallback: undefined };
    }
    const { index, term } = mark;
    try {
      if (!(await this.#has(mark))) throw damaged(this.#pathOf(mark), "the file is missing");
      const meta = await this.#use({ index, term, seal: mark });
      this.#checkReach(log, meta);
      return { meta, fallback: undefined };
    } catch (problem) {
      if (!(problem instanceof HostError)) throw problem;
      const meta = await this.#fallBack(log, mark);
      if (meta === undefined) throw problem;
      return { meta, fallback: { usedIndex: meta.index, problem } };
    }
  }

  /** Steps 1 and 2 of a save. Throws `HostError`, or `SnapshotSourceError` (nothing is left). */
  async write(meta: StoredSnapshotMeta, chunks: SnapshotChunks): Promise<SnapshotMark> {
    const { disk, directory, identity } = this.#place;
    const temporary = `${directory}/${TEMPORARY_NAME}`;
    const file = await disk.open(temporary, "create");
    let seal: SnapshotSeal;
    try {
      seal = await writeSnapshotFile(file, identity, { meta, chunks });
    } catch (cause) {
      await file.close();
      await disk.remove(temporary);
      throw cause;
    }
    await file.close();
    await disk.rename(temporary, this.#pathOf(meta));
    await disk.syncDirectory(directory);
    const { index, term } = meta;
    return { index, term, fileSize: seal.fileSize, digest: seal.digest };
  }

  /** Step 4 of a save: `mark` is in the log, its file is now the newest. */
  async adopt(mark: SnapshotMark): Promise<void> {
    const { disk, directory } = this.#place;
    this.#newest = { index: mark.index, term: mark.term, seal: mark };
    this.#checked = undefined;
    const kept = (await this.#list()).filter((id) => id.index <= mark.index);
    const keptNames = new Set(kept.slice(0, SNAPSHOTS_KEPT_COUNT).map(formatSnapshotName));
    for (const name of await disk.list(directory)) {
      const isOld = parseSnapshotName(name) !== undefined && !keptNames.has(name);
      if (isOld || name.endsWith(DAMAGED_SUFFIX)) await disk.remove(`${directory}/${name}`);
    }
    await disk.syncDirectory(directory);
  }

  /** The chunks of the newest snapshot, checked. Asserts that there is one. */
  read(): AsyncGenerator<Uint8Array, void, void> {
    assert(this.#newest !== undefined, "there must be a snapshot to read");
    const checked = this.#checked;
    this.#checked = undefined;
    return checked === undefined ? this.#readFile(this.#newest) : giveOut(checked);
  }

  async *#readFile(snapshot: UsableSnapshot): AsyncGenerator<Uint8Array, void, void> {
    const file = await this.#place.disk.open(this.#pathOf(snapshot), "read");
    try {
      yield* readSnapshotChunks(file, this.#place.identity, snapshot);
    } finally {
      await file.close();
    }
  }

  /** Reads all of `snapshot` and makes it the newest. */
  async #use(snapshot: UsableSnapshot): Promise<StoredSnapshotMeta> {
    const path = this.#pathOf(snapshot);
    const file = await this.#place.disk.open(path, "read");
    try {
      const { meta, chunks } = await this.#check(file, snapshot);
      this.#newest = snapshot;
      this.#checked = chunks;
      return meta;
    } finally {
      await file.close();
    }
  }

  async #check(
    file: DiskFile,
    snapshot: UsableSnapshot,
  ): Promise<{
    readonly meta: StoredSnapshotMeta;
    readonly chunks: readonly Uint8Array[] | undefined;
  }> {
    const { identity } = this.#place;
    const meta = await readSnapshotMeta(file, identity);
    if (meta.index !== snapshot.index || meta.term !== snapshot.term) {
      throw damaged(file.path, "its header does not fit its name");
    }
    const isSmall = file.sizeBytes <= SNAPSHOT_KEPT_SIZE_MAX;
    const chunks: Uint8Array[] = [];
    const reading = { seal: snapshot.seal, readAheadSize: SNAPSHOT_OPEN_READ_SIZE };
    for await (const chunk of readSnapshotChunks(file, identity, reading)) {
      if (isSmall) chunks.push(chunk);
    }
    return { meta, chunks: isSmall ? chunks : undefined };
  }

  /** The newest older snapshot that is whole and that the log goes on from. */
  async #fallBack(log: LogState, mark: SnapshotMark): Promise<StoredSnapshotMeta | undefined> {
    const { disk, directory } = this.#place;
    for (const { index, term } of await this.#list()) {
      if (index >= mark.index) continue;
      try {
        this.#checkReach(log, { index, term });
        const meta = await this.#use({ index, term, seal: undefined });
        const path = this.#pathOf(mark);
        if (await this.#has(mark)) await disk.rename(path, `${path}${DAMAGED_SUFFIX}`);
        await disk.syncDirectory(directory);
        return meta;
      } catch (cause) {
        if (!(cause instanceof HostError)) throw cause;
        // Not this one; what is wrong with the newest is what the operator must hear of.
      }
    }
    return undefined;
  }

  /** Throws unless `log` holds every entry after `snapshot`, and agrees with it. */
  #checkReach(log: LogState, snapshot: SnapshotId): void {
    const { index, term } = snapshot;
    if (log.firstIndex > index + 1) {
      const reason = `entries ${index + 1} to ${log.firstIndex - 1} are missing before it`;
      throw damaged(`log entry ${log.firstIndex}`, reason);
    }
    const known = log.termAt(index);
    if (log.lastIndex < index || (known !== undefined && known !== term)) {
      throw damaged(this.#pathOf(snapshot), "it does not fit the log");
    }
  }

  async #has(wanted: SnapshotId): Promise<boolean> {
    const there = await this.#list();
    return there.some(({ index, term }) => index === wanted.index && term === wanted.term);
  }

  /** The snapshot files that are there, newest first. */
  async #list(): Promise<SnapshotId[]> {
    const names = await this.#place.disk.list(this.#place.directory);
    const ids = names.flatMap((name) => parseSnapshotName(name) ?? []);
    return ids.sort((a, b) => b.index - a.index || b.term - a.term);
  }

  #pathOf(id: SnapshotId): string {
    return `${this.#place.directory}/${formatSnapshotName(id)}`;
  }
}

async function* giveOut(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void, void> {
  yield* chunks;
}
