/**
 * What this executable runs on, as its files are named: "linux-x64", "linux-arm64-musl".
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** How a dynamic loader of musl is called, wherever it lies. */
const MUSL_LOADER = /\/ld-musl-[a-z0-9_]+\.so\.1$/m;

/** The platform of this process. */
export function platformName(): string {
  const base = `linux-${process.arch}`;
  return MUSL_LOADER.test(mappedFiles()) ? `${base}-musl` : base;
}

/** Whether this process is the one executable, and not a run from source. */
export function isExecutable(): boolean {
  // Bun's name for the files inside an executable that it made.
  return Bun.main.startsWith("/$bunfs/");
}

function mappedFiles(): string {
  try {
    return readFileSync("/proc/self/maps", "latin1");
  } catch {
    return ""; // No /proc: nearly all machines have glibc.
  }
}
