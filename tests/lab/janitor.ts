/**
 * Cleans up after labs, also after one whose process died without doing it itself.
 *
 * Each lab leaves a record of what it is about to make before it makes it. Whoever opens the next
 * lab removes what belongs to a process that is no more: the processes inside the namespaces, the
 * namespaces (and with them all links) and the temporary folder. Nothing without a record is
 * touched. All of it is synchronous, so that it works in a signal handler.
 *
 * @module
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { runSync } from "./run.ts";

/** What a lab has made or is about to make. */
export interface LabRecord {
  readonly id: string;
  readonly ownerPid: number;
  /** Start of the owner in clock ticks since boot: a process id alone may be used again. */
  readonly ownerStart: string;
  readonly namespaces: readonly string[];
  readonly folder: string;
}

const RECORDS_FOLDER = "/run/overlay-lab";
/** What every namespace of a lab begins with; nothing else is ever deleted. */
export const NAMESPACE_PREFIX = "ovl";

/** The record of a lab that this process is about to open. */
export function createRecord(id: string, folder: string): LabRecord {
  return { id, ownerPid: process.pid, ownerStart: startOf(process.pid), namespaces: [], folder };
}

/** Writes `record` in place of an earlier one of the same lab. */
export function saveRecord(record: LabRecord): void {
  mkdirSync(RECORDS_FOLDER, { recursive: true });
  const path = recordPath(record.id);
  writeFileSync(`${path}.new`, JSON.stringify(record));
  renameSync(`${path}.new`, path);
}

/** Removes everything in `record`, and the record. What is gone already is no error. */
export function removeLab(record: LabRecord): void {
  for (const namespace of record.namespaces) removeNamespace(namespace);
  if (record.folder.includes("overlay-lab"))
    rmSync(record.folder, { recursive: true, force: true });
  rmSync(recordPath(record.id), { force: true });
}

/** Removes what dead owners left. Gives the ids of the labs it removed. */
export function removeStaleLabs(): string[] {
  if (!existsSync(RECORDS_FOLDER)) return [];
  const removed: string[] = [];
  for (const name of readdirSync(RECORDS_FOLDER)) {
    if (!name.endsWith(".json")) continue;
    const record = readRecord(join(RECORDS_FOLDER, name));
    if (record === undefined || startOf(record.ownerPid) === record.ownerStart) continue;
    removeLab(record);
    removed.push(record.id);
  }
  return removed;
}

/** Ends what runs in a namespace of a lab, and deletes it with all its links. */
export function removeNamespace(namespace: string): void {
  if (!namespace.startsWith(NAMESPACE_PREFIX)) return;
  if (!existsSync(`/run/netns/${namespace}`)) return;
  for (const pid of pidsIn(namespace)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself between the listing and now.
    }
  }
  runSync(["ip", "netns", "delete", namespace]);
}

/** The processes in `namespace`. */
export function pidsIn(namespace: string): number[] {
  return runSync(["ip", "netns", "pids", namespace])
    .stdout.split("\n")
    .filter((line) => line !== "")
    .map(Number);
}

function recordPath(id: string): string {
  return join(RECORDS_FOLDER, `${id}.json`);
}

function readRecord(path: string): LabRecord | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as LabRecord;
  } catch {
    return undefined; // Removed by another process in this moment, or cut short by a crash.
  }
}

/** When a process started, in clock ticks since boot; "" when there is none. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const zombie = fields[0] === "Z";
    return zombie ? "" : (fields[19] ?? "");
  } catch {
    return "";
  }
}
