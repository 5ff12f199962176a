/**
 * A disk in memory that can lose power, for tests of what is written through `Disk`.
 *
 * Every file has a visible content, as the page cache shows it, and a stable one. A crash of the
 * process keeps the visible; a loss of power keeps the stable, and of each unsynced write any set
 * of its 512-byte sectors, and of the unsynced directory changes any set. Every change counts as a
 * step, a synced write as two, so that a test can stop the world at each of them.
 *
 * @module
 */
import { HostError } from "../../src/base/host-error.ts";
import type { Disk, DiskFile, DiskSpace, OpenMode } from "../../src/host/files/disk.ts";

export const SECTOR_SIZE = 512;

/** What is left after a crash. */
export type CrashKind = "process" | "power";

interface UnsyncedWrite {
  readonly position: number;
  readonly bytes: Uint8Array;
}

interface Inode {
  visible: Uint8Array;
  stable: Uint8Array;
  unsynced: UnsyncedWrite[];
}

/** One change of a directory: names go, then perhaps one comes. */
interface NameChange {
  readonly removed: string;
  readonly added: { readonly path: string; readonly node: Inode } | undefined;
}

/** Decides one thing about a crash; `Math.random`-like, from 0 up to 1. */
export type Chance = () => number;

export class MemoryDisk implements Disk {
  #visible: Map<string, Inode>;
  #stable: Map<string, Inode>;
  #changes: NameChange[] = [];
  #steps = 0;
  #crashStep = Number.POSITIVE_INFINITY;
  /** Consulted before each operation; what it returns is thrown. */
  fault: (operation: string, path: string) => HostError | undefined = () => undefined;

  constructor(files: ReadonlyMap<string, Uint8Array> = new Map()) {
    const inodes = [...files].map(([path, content]): [string, Inode] => [path, inode(content)]);
    this.#visible = new Map(inodes);
    this.#stable = new Map(inodes);
  }

  /** Steps taken so far. */
  get steps(): number {
    return this.#steps;
  }

  /** Whether the world has stopped. */
  get isCrashed(): boolean {
    return this.#steps > this.#crashStep;
  }

  /** Every operation fails once `count` more steps were taken. */
  crashAfter(count: number): void {
    this.#crashStep = this.#steps + count;
  }

  /** The disk as the next start finds it. This one goes on unchanged. */
  afterCrash(kind: CrashKind, chance: Chance): MemoryDisk {
    if (kind === "process") return this.#copy();
    const files = new Map<string, Uint8Array>();
    const names = new Map(this.#stable);
    for (const change of this.#changes) if (chance() < 0.5) applyChange(names, change);
    for (const [path, node] of names) files.set(path, survive(node, chance));
    return new MemoryDisk(files);
  }

  /** What the files hold, by path. Copies. */
  files(): Map<string, Uint8Array> {
    return new Map([...this.#visible].map(([path, { visible }]) => [path, visible.slice()]));
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    this.#check("open", path);
    let node = this.#visible.get(path);
    if (mode === "create") {
      this.#step();
      // A file of its own: truncating the old one in place is not modelled.
      node = inode(new Uint8Array(0));
      this.#change({ removed: path, added: { path, node } });
    }
    if (node === undefined) throw new HostError({ ...NOT_FOUND, object: path });
    return this.#handle(path, mode, node);
  }

  async list(directory: string): Promise<readonly string[]> {
    this.#check("list", directory);
    const prefix = `${directory}/`;
    const paths = [...this.#visible.keys()].filter((path) => path.startsWith(prefix));
    return paths.map((path) => path.slice(prefix.length));
  }

  async makeDirectory(directory: string): Promise<void> {
    this.#check("make directory", directory);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#check("rename", from);
    this.#step();
    const node = this.#visible.get(from);
    if (node === undefined) throw new HostError({ ...NOT_FOUND, object: from });
    this.#change({ removed: from, added: { path: to, node } });
  }

  async remove(path: string): Promise<void> {
    this.#check("remove", path);
    this.#step();
    this.#change({ removed: path, added: undefined });
  }

  async syncDirectory(directory: string): Promise<void> {
    this.#check("sync directory", directory);
    this.#step();
    for (const change of this.#changes) applyChange(this.#stable, change);
    this.#changes = [];
  }

  async space(): Promise<DiskSpace> {
    return { mountPoint: "/memory", freeBytes: 0 };
  }

  #handle(path: string, mode: OpenMode, node: Inode): DiskFile {
    return {
      path,
      sizeBytes: node.visible.length,
      write: async (bytes, position) => {
        this.#check("write", path);
        this.#step();
        const copy = bytes.slice();
        const write = { position, bytes: copy };
        node.visible = overwrite(node.visible, copy, position);
        node.unsynced.push(write);
        if (mode !== "durable") return;
        this.#step();
        // O_DSYNC speaks of this write only; earlier ones may still be lost.
        node.stable = overwrite(node.stable, copy, position);
        node.unsynced = node.unsynced.filter((other) => other !== write);
      },
      read: async (into, position) => {
        this.#check("read", path);
        const part = node.visible.subarray(position, position + into.length);
        into.set(part);
        return part.length;
      },
      sync: async () => {
        this.#check("sync", path);
        this.#step();
        node.stable = node.visible.slice();
        node.unsynced = [];
      },
      close: async () => undefined,
    };
  }

  #check(operation: string, path: string): void {
    if (this.isCrashed) throw new HostError({ operation, object: path, reason: "crashed" });
    const fault = this.fault(operation, path);
    if (fault !== undefined) throw fault;
  }

  #step(): void {
    this.#steps++;
    if (this.isCrashed) throw new HostError({ operation: "go on", object: "", reason: "crashed" });
  }

  #change(change: NameChange): void {
    applyChange(this.#visible, change);
    this.#changes.push(change);
  }

  /** A process died: what it had not synced is still there to be read, and still to be lost. */
  #copy(): MemoryDisk {
    const copies = new Map<Inode, Inode>();
    const copyOf = (node: Inode): Inode => {
      const copy = copies.get(node) ?? { ...node, unsynced: [...node.unsynced] };
      copies.set(node, copy);
      return copy;
    };
    const names = (from: Map<string, Inode>) =>
      new Map([...from].map(([path, node]): [string, Inode] => [path, copyOf(node)]));
    const disk = new MemoryDisk();
    disk.#visible = names(this.#visible);
    disk.#stable = names(this.#stable);
    disk.#changes = this.#changes.map(({ removed, added }) => ({
      removed,
      added: added && { path: added.path, node: copyOf(added.node) },
    }));
    return disk;
  }
}

function applyChange(names: Map<string, Inode>, { removed, added }: NameChange): void {
  names.delete(removed);
  if (added !== undefined) names.set(added.path, added.node);
}

const NOT_FOUND = { operation: "open", errno: "ENOENT", reason: "it does not exist" };

function inode(content: Uint8Array): Inode {
  return { visible: content.slice(), stable: content.slice(), unsynced: [] };
}

/** `content` with `bytes` at `position`, longer if need be. */
function overwrite(content: Uint8Array, bytes: Uint8Array, position: number): Uint8Array {
  const end = position + bytes.length;
  const result = end > content.length ? new Uint8Array(end) : content.slice();
  if (result.length > content.length) result.set(content);
  result.set(bytes, position);
  return result;
}

/** The stable content and whichever sectors of the unsynced writes made it. */
function survive(node: Inode, chance: Chance): Uint8Array {
  let content = node.stable;
  for (const { position, bytes } of node.unsynced) {
    const end = position + bytes.length;
    for (let at = position; at < end; ) {
      const next = Math.min(end, (Math.floor(at / SECTOR_SIZE) + 1) * SECTOR_SIZE);
      const sector = bytes.subarray(at - position, next - position);
      if (chance() < 0.5) content = overwrite(content, sector, at);
      at = next;
    }
  }
  return content.slice();
}

/** A small generator of numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function seededChance(seed: number): Chance {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
