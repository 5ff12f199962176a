/**
 * The holder without systemd: a keeper process (keeper-program.ts), found again by a file.
 *
 * The file names process id and start time, and the process must be what the file says: the same
 * start, our program, our user. An id that was given to another process since is thus never
 * trusted, nor is a file of somebody else; and what a process holds that still runs is not taken.
 * A keeper is never changed: other descriptors mean another keeper, and the old one ends when the
 * file names the new one, so that a process which is killed in between leaves at least one of them.
 *
 * @module
 */
import fs from "node:fs";
import { HostError } from "../../base/host-error.ts";
import { isRecord } from "../../base/json-record.ts";
import type { Log } from "../../base/log.ts";
import { Descriptor, PollSet } from "../sys/descriptor.ts";
import { openProcess, type ProcessHandle } from "../sys/process-handle.ts";
import { createSharedMemory } from "../sys/shared-memory.ts";
import { endChild, spawnProgram } from "../sys/spawn.ts";
import { type DescriptorHolder, KEPT_NAMES, type KeptDescriptors, type KeptName } from "./keep.ts";
import { HELD_FD, KEEPER_NAME, keeperProgram, OWNER_FD } from "./keeper-program.ts";

const FILE_NAME = "keeper.json";
const FILE_MODE = 0o600;
const FILE_SIZE_MAX = 1024;
/** What the kernel calls an executable that lies in memory. */
const PROGRAM_LINK = `/memfd:${KEEPER_NAME} (deleted)`;
/** To close a few descriptors takes a process a millisecond. */
const END_TIMEOUT_MS = 1000;
/** A process that has given up everything else may be about to end. */
const OWNER_TIMEOUT_MS = 200;

/** What the file says. */
interface KeeperRecord {
  readonly pid: number;
  /** Start of the process in clock ticks since the machine's own (proc(5), field 22). */
  readonly start: string;
  /** What it holds, from HELD_FD on. */
  readonly names: readonly KeptName[];
}

/** A keeper that there is; ours when this process has started it. */
interface LiveKeeper {
  readonly record: KeeperRecord;
  readonly isChild: boolean;
}

/** The holder whose file is in `directory`. */
export function openKeeper(directory: string, log: Log): DescriptorHolder {
  return new Keeper(`${directory}/${FILE_NAME}`, log);
}

class Keeper implements DescriptorHolder {
  readonly #path: string;
  readonly #log: Log;
  #live: LiveKeeper | undefined;

  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  takeAll(): Map<KeptName, number> {
    const taken = new Map<KeptName, number>();
    const record = readRecord(this.#path);
    if (record === undefined) return taken;
    using handle = openKeeperProcess(record);
    if (handle === undefined || !isOwnerGone(handle)) return taken;
    this.#live = { record, isChild: false };
    for (const [i, name] of record.names.entries()) {
      const fd = handle.take(HELD_FD + i);
      if (fd !== undefined) taken.set(name, fd);
    }
    return taken;
  }

  hold(descriptors: KeptDescriptors): void {
    const before = this.#live;
    try {
      this.#live = startKeeper(descriptors);
      writeRecord(this.#path, this.#live.record);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      this.#log.warn("a restart will interrupt packets", { reason: error.message });
    }
    if (before !== undefined && before !== this.#live) end(before);
  }

  drop(): void {
    if (this.#live === undefined) return;
    fs.rmSync(this.#path, { force: true });
    end(this.#live);
    this.#live = undefined;
  }
}

function end({ record, isChild }: LiveKeeper): void {
  if (isChild) {
    endChild(record.pid);
    return;
  }
  using handle = openKeeperProcess(record);
  handle?.end(END_TIMEOUT_MS);
}

function startKeeper(descriptors: KeptDescriptors): LiveKeeper {
  const names = KEPT_NAMES.filter((name) => descriptors.has(name));
  const program = keeperProgram(process.arch, names.length);
  const self = openProcess(process.pid);
  const problem = { operation: "start", object: `program "${KEEPER_NAME}"` };
  if (program === undefined || self === undefined) {
    throw new HostError({ ...problem, reason: "the kernel or the architecture lacks support" });
  }
  using _ = self;
  const image = createSharedMemory(KEEPER_NAME, program.length);
  new Uint8Array(image.buffer).set(program);
  using descriptor = new Descriptor(image.fd);
  const held = names.map((name) => descriptors.get(name)!);
  const pid = spawnProgram({
    programFd: descriptor.fd,
    name: KEEPER_NAME,
    descriptors: [self.fd, ...held],
  });
  const start = startOf(pid);
  if (start === undefined) {
    endChild(pid);
    throw new HostError({ ...problem, reason: "it ended at once" });
  }
  return { record: { pid, start, names }, isChild: true };
}

/** A handle on the process of `record`; undefined when it is not our keeper any more. */
function openKeeperProcess({ pid, start }: KeeperRecord): ProcessHandle | undefined {
  const handle = openProcess(pid);
  if (handle === undefined) return undefined;
  // Looked at once the handle is there: another process cannot get the id from now on unseen.
  if (startOf(pid) === start && isKeeper(pid)) return handle;
  handle.close();
  return undefined;
}

function isKeeper(pid: number): boolean {
  try {
    if (fs.statSync(`/proc/${pid}`).uid !== process.geteuid?.()) return false;
    return fs.readlinkSync(`/proc/${pid}/exe`) === PROGRAM_LINK;
  } catch {
    return false;
  }
}

/** Whether the process that started the keeper has ended, or does so right now. */
function isOwnerGone(keeper: ProcessHandle): boolean {
  const fd = keeper.take(OWNER_FD);
  if (fd === undefined) return false;
  using owner = new Descriptor(fd);
  return new PollSet([owner.fd]).wait(OWNER_TIMEOUT_MS) > 0;
}

/** When a living process began; undefined when there is none. */
function startOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name may hold blanks and brackets; the state is the field behind it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function writeRecord(path: string, record: KeeperRecord): void {
  try {
    const next = `${path}.new`;
    fs.writeFileSync(next, `${JSON.stringify(record)}\n`, { mode: FILE_MODE });
    fs.renameSync(next, path);
  } catch (cause) {
    throw new HostError({ operation: "write", object: path, reason: String(cause), cause });
  }
}

function readRecord(path: string): KeeperRecord | undefined {
  try {
    const { uid, size } = fs.statSync(path);
    if (uid !== process.geteuid?.() || size > FILE_SIZE_MAX) return undefined;
    return parseRecord(JSON.parse(fs.readFileSync(path, "utf8")));
  } catch {
    return undefined; // No file, or one that a crash cut short: nothing is kept.
  }
}

function parseRecord(value: unknown): KeeperRecord | undefined {
  if (!isRecord(value)) return undefined;
  const { pid, start, names } = value;
  if (typeof pid !== "number" || !Number.isSafeInteger(pid) || pid <= 1) return undefined;
  if (typeof start !== "string" || !Array.isArray(names)) return undefined;
  const known = KEPT_NAMES.filter((name) => names.includes(name));
  const isRight = known.length === names.length && known.every((name, i) => name === names[i]);
  return isRight ? { pid, start, names: known } : undefined;
}
