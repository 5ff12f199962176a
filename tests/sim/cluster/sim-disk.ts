/**
 * The disk of one simulated machine: what the page cache shows, what would survive a loss of power,
 * and all the ways in which it can fail.
 *
 *     write --> visible (page cache)      a crash of the process keeps it
 *     sync, or a durable write --> stable a loss of power keeps it, and of the rest any set of
 *                                         512-byte sectors and of directory changes
 *
 * Takes simulated time for each operation. The log's real code runs on it.
 *
 * @module
 */
import { HostError } from "../../../src/base/host-error.ts";
import type { Disk, DiskFile, OpenMode } from "../../../src/host/files/disk.ts";
import type { Coverage } from "./coverage.ts";
import { Device, type DeviceParts, type DiskOperation, type DiskWeather } from "./device.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";

export const SECTOR_SIZE = 512;
type Operation = DiskOperation | "make directory" | "sync directory" | "close" | "space";
/** Those that wait for stable storage. */
const STABLE: readonly Operation[] = ["sync", "sync directory"];

/** A file's bytes: an array that may be longer, and how much of it counts. */
class Content {
  bytes = new Uint8Array(0);
  size = 0;

  static of(bytes: Uint8Array): Content {
    const content = new Content();
    content.bytes = bytes.slice();
    content.size = bytes.length;
    return content;
  }

  copy(): Content {
    return Content.of(this.bytes.subarray(0, this.size));
  }

  put(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    if (end > this.bytes.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.bytes.length));
      grown.set(this.bytes.subarray(0, this.size));
      this.bytes = grown;
    }
    this.bytes.set(bytes, position);
    this.size = Math.max(this.size, end);
  }
}

interface UnsyncedWrite {
  readonly position: number;
  readonly bytes: Uint8Array;
}

interface Inode {
  visible: Content;
  stable: Content;
  unsynced: UnsyncedWrite[];
  /** Where the last writes that were reported durable went, newest first. */
  lastDurable: readonly number[];
}

/** One change of a directory: a name goes, another may come. */
interface NameChange {
  readonly removed: string;
  readonly added: { readonly path: string; readonly inode: Inode } | undefined;
}

/** A write that the device has not answered. */
interface InFlight {
  readonly process: SimProcess;
  readonly inode: Inode;
  readonly bytes: Uint8Array;
  readonly position: number;
}

/** One machine's files. They outlive the runs of the node. */
export class SimDisk {
  readonly #device: Device;
  readonly #random: SimRandom;
  readonly #coverage: Coverage;
  #visible = new Map<string, Inode>();
  #stable = new Map<string, Inode>();
  #changes: NameChange[] = [];
  #inFlight = new Set<InFlight>();

  constructor(parts: DeviceParts) {
    this.#device = new Device(parts);
    this.#random = parts.random;
    this.#coverage = parts.coverage;
  }

  get weather(): DiskWeather {
    return this.#device.weather;
  }

  /** The file system as `process` sees it. */
  portFor(process: SimProcess): Disk {
    const run = <Value>(operation: Operation, path: string, effect: () => Value) =>
      this.#run(process, operation, path, effect);
    return {
      open: (path, mode) => run("open", path, () => this.#open(process, path, mode)),
      list: (directory) => run("list", directory, () => this.names(directory)),
      makeDirectory: (directory) => run("make directory", directory, () => undefined),
      rename: (from, to) => run("rename", from, () => this.#rename(from, to)),
      remove: (path) =>
        run("remove", path, () => this.#change({ removed: path, added: undefined })),
      syncDirectory: (directory) => run("sync directory", directory, () => this.#syncNames()),
      space: (path) => run("space", path, () => ({ mountPoint: "/sim", freeBytes: 0 })),
    };
  }

  /** Names in `directory` as they can be seen. */
  names(directory: string): string[] {
    const prefix = `${directory}/`;
    const paths = [...this.#visible.keys()].filter((path) => path.startsWith(prefix));
    return paths.map((path) => path.slice(prefix.length)).sort();
  }

  /** Whether a write of several sectors is under way. */
  get isWriting(): boolean {
    return [...this.#inFlight].some(({ bytes }) => bytes.length > SECTOR_SIZE);
  }

  /** The run ended; the machine goes on. What was under way may have reached the page cache. */
  processEnded(process: SimProcess): void {
    for (const write of this.#inFlight) {
      if (write.process !== process) continue;
      this.#inFlight.delete(write);
      const { inode, bytes, position } = write;
      if (this.#random.chance(0.5)) continue;
      const copy = bytes.slice();
      inode.visible.put(copy, position);
      inode.unsynced.push({ position, bytes: copy });
    }
  }

  /** The machine lost power: only what is stable is left, and some of the rest. */
  powerLost(): void {
    for (const { inode, bytes, position } of this.#inFlight) {
      inode.unsynced.push({ position, bytes: bytes.slice() });
    }
    this.#inFlight.clear();
    const names = new Map(this.#stable);
    let isLost = false;
    for (const change of this.#changes) {
      if (this.#random.chance(0.5)) applyChange(names, change);
      else isLost = true;
    }
    if (isLost) this.#coverage.hit("disk.directory-unsynced");
    for (const inode of new Set(names.values())) this.#survive(inode);
    this.#visible = names;
    this.#stable = new Map(names);
    this.#changes = [];
  }

  /** Removes everything. */
  wipe(): void {
    this.#visible = new Map();
    this.#stable = new Map();
    this.#changes = [];
    this.#inFlight.clear();
  }

  /** A copy of all files as they can be seen. */
  image(): ReadonlyMap<string, Uint8Array> {
    const entries = [...this.#visible].map(
      ([path, { visible }]) => [path, visible.copy().bytes] as const,
    );
    return new Map(entries);
  }

  /** Replaces all files by those of `image`, stable. */
  restore(image: ReadonlyMap<string, Uint8Array>): void {
    this.wipe();
    for (const [path, bytes] of image) this.#visible.set(path, inodeOf(bytes));
    this.#stable = new Map(this.#visible);
  }

  /** Changes `path` behind everybody's back, stable; false when there is no such file. */
  damage(path: string, harm: (bytes: Uint8Array) => Uint8Array): boolean {
    const inode = this.#visible.get(path);
    if (inode === undefined) return false;
    const bytes = harm(inode.visible.copy().bytes);
    inode.visible = Content.of(bytes);
    inode.stable = Content.of(bytes);
    inode.unsynced = [];
    return true;
  }

  /** Takes `path` away behind everybody's back. */
  lose(path: string): void {
    this.#visible.delete(path);
    this.#stable.delete(path);
  }

  /** Where the last two durable writes to `path` began, newest first. */
  lastDurable(path: string): readonly number[] {
    return this.#visible.get(path)?.lastDurable ?? [];
  }

  #run<Value>(
    process: SimProcess,
    operation: Operation,
    path: string,
    effect: () => Value,
    delayMs = this.#device.delayMs(STABLE.includes(operation)),
  ): Promise<Value> {
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    if (!process.touch()) return promise;
    const run = () => {
      const problem = this.#problem(operation, path);
      if (problem !== undefined) {
        reject(problem);
        return;
      }
      try {
        resolve(effect());
      } catch (cause) {
        reject(cause);
      }
    };
    process.after(delayMs, "disk", run, `${operation} ${path}`);
    return promise;
  }

  #problem(operation: Operation, path: string): HostError | undefined {
    if (this.weather.isFull && operation === "write" && path.endsWith(".tmp")) {
      this.#coverage.hit("disk.full");
      return new HostError({ operation, object: path, errno: "ENOSPC" });
    }
    return this.#device.takeError([operation], path);
  }

  #open(process: SimProcess, path: string, mode: OpenMode): DiskFile {
    let inode = this.#visible.get(path);
    if (mode === "create") {
      inode = inodeOf(new Uint8Array(0));
      this.#change({ removed: path, added: { path, inode } });
    }
    if (inode === undefined) {
      throw new HostError({ operation: "open", object: path, errno: "ENOENT" });
    }
    const file = inode;
    return {
      path,
      sizeBytes: file.visible.size,
      write: (bytes, position) =>
        this.#write(process, { path, inode: file, bytes, position, isDurable: mode === "durable" }),
      read: (into, position) => this.#read(process, { path, inode: file }, into, position),
      sync: () =>
        this.#run(process, "sync", path, () => {
          file.stable = file.visible.copy();
          file.unsynced = [];
        }),
      close: () => Promise.resolve(),
    };
  }

  /** Reads until `into` is full or the file ends, as the real one does with short reads. */
  async #read(
    process: SimProcess,
    from: { readonly path: string; readonly inode: Inode },
    into: Uint8Array,
    position: number,
  ): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const isShort = this.weather.isReadShort && into.length - done > 1;
      const wanted = isShort ? this.#random.integer(1, into.length - done) : into.length - done;
      if (wanted < into.length - done) this.#coverage.hit("disk.short-read");
      const at = position + done;
      const count = await this.#run(process, "read", from.path, () => {
        const { bytes, size } = from.inode.visible;
        const part = bytes.subarray(at, Math.max(at, Math.min(size, at + wanted)));
        into.set(part, done);
        return part.length;
      });
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  #write(
    process: SimProcess,
    to: {
      readonly path: string;
      readonly inode: Inode;
      readonly bytes: Uint8Array;
      readonly position: number;
      readonly isDurable: boolean;
    },
  ): Promise<void> {
    const { path, inode, bytes, position, isDurable } = to;
    const write: InFlight = { process, inode, bytes, position };
    const delayMs = this.#device.delayMs(isDurable);
    const written = this.#run(
      process,
      "write",
      path,
      () => {
        // Only now: until then the buffer is borrowed, and whoever changes it loses.
        const copy = bytes.slice();
        this.#inFlight.delete(write);
        inode.visible.put(copy, position);
        // O_DSYNC speaks of this write only; earlier ones may still be lost.
        if (isDurable) {
          inode.stable.put(copy, position);
          inode.lastDurable = [position, ...inode.lastDurable.slice(0, 1)];
        } else {
          inode.unsynced.push({ position, bytes: copy });
        }
      },
      delayMs,
    );
    if (process.isAlive) this.#inFlight.add(write);
    return written;
  }

  #rename(from: string, to: string): void {
    const inode = this.#visible.get(from);
    if (inode === undefined) {
      throw new HostError({ operation: "rename", object: from, errno: "ENOENT" });
    }
    this.#change({ removed: from, added: { path: to, inode } });
  }

  #change(change: NameChange): void {
    applyChange(this.#visible, change);
    this.#changes.push(change);
  }

  #syncNames(): void {
    for (const change of this.#changes) applyChange(this.#stable, change);
    this.#changes = [];
  }

  /** The stable content and whichever sectors of the unsynced writes made it. */
  #survive(inode: Inode): void {
    const content = inode.stable.copy();
    let lostCount = 0;
    for (const { position, bytes } of inode.unsynced) {
      const { kept, lost } = this.#keepSome(content, bytes, position);
      if (kept > 0 && lost > 0) this.#coverage.hit("disk.torn-write");
      if (kept > 0 && lostCount > 0) this.#coverage.hit("disk.reorder-unsynced");
      lostCount += lost;
    }
    if (lostCount > 0) this.#coverage.hit("disk.lose-unsynced");
    inode.visible = content;
    inode.stable = content.copy();
    inode.unsynced = [];
  }

  #keepSome(content: Content, bytes: Uint8Array, position: number) {
    // All, nothing, or each sector by itself.
    const share = this.#random.pick([0, 0.5, 0.5, 0.9, 1]);
    const end = position + bytes.length;
    let kept = 0;
    let lost = 0;
    for (let at = position; at < end; ) {
      const next = Math.min(end, (Math.floor(at / SECTOR_SIZE) + 1) * SECTOR_SIZE);
      if (this.#random.chance(share)) {
        content.put(bytes.subarray(at - position, next - position), at);
        kept++;
      } else {
        lost++;
      }
      at = next;
    }
    return { kept, lost };
  }
}

function applyChange(names: Map<string, Inode>, { removed, added }: NameChange): void {
  names.delete(removed);
  if (added !== undefined) names.set(added.path, added.inode);
}

function inodeOf(bytes: Uint8Array): Inode {
  return {
    visible: Content.of(bytes),
    stable: Content.of(bytes),
    unsynced: [],
    lastDurable: [],
  };
}
