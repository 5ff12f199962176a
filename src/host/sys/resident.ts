/**
 * Lets go of the pages of the executable that were needed only to start.
 *
 * The runtime is a hundred megabytes of machine code, of which an idle agent runs a small part;
 * but each page touched while starting stays in this process, and the kernel maps fifteen
 * neighbours with it. They are clean pages of a file: given back, they stay in the page cache and
 * return by a minor fault when they are needed after all.
 *
 * Source: madvise(2) MADV_DONTNEED; proc(5) /proc/pid/smaps.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { libc } from "./libc.ts";

/** include/uapi/asm-generic/mman-common.h. */
const MADV_DONTNEED = 4;
const KIB = 1024;
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)(?:\s|$)/;
const COUNT = /^(Rss|Anonymous): +(\d+) kB$/;

interface Mapping {
  readonly start: number;
  readonly length: number;
  /** Private, never written, of a file: what is given back can be read again from there. */
  readonly releasable: boolean;
  residentBytes: number;
  anonymousBytes: number;
}

/**
 * Gives back the resident pages of every mapped file that holds nothing of this process's own.
 *
 * @returns how many bytes were resident there; 0 where the kernel does not tell.
 */
export function releaseFilePages(): number {
  let released = 0;
  for (const mapping of parseMappings(readMappings())) {
    // A page that was written through a private mapping, relocations for one, exists only here.
    if (!mapping.releasable || mapping.anonymousBytes > 0) continue;
    if (libc().madvise(mapping.start, mapping.length, MADV_DONTNEED) === 0) {
      released += mapping.residentBytes;
    }
  }
  return released;
}

/** The mappings in the text of /proc/self/smaps. Exported for its test. */
export function parseMappings(text: string): readonly Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of text.split("\n")) {
    const head = MAPPING.exec(line);
    if (head !== null) {
      const start = Number(`0x${head[1]}`);
      mappings.push({
        start,
        length: Number(`0x${head[2]}`) - start,
        releasable: head[4] !== "0" && head[3]![1] === "-" && head[3]![3] === "p",
        residentBytes: 0,
        anonymousBytes: 0,
      });
      continue;
    }
    const count = COUNT.exec(line);
    const mapping = mappings.at(-1);
    if (count === null || mapping === undefined) continue;
    const bytes = Number(count[2]) * KIB;
    if (count[1] === "Rss") mapping.residentBytes = bytes;
    else mapping.anonymousBytes = bytes;
  }
  return mappings;
}

function readMappings(): string {
  try {
    return readFileSync("/proc/self/smaps", "utf8");
  } catch {
    // A kernel without it, or a /proc hidden from us: nothing can be given back safely.
    return "";
  }
}
