/**
 * Wall clocks that can be set for each agent by itself.
 *
 * The kernel has no namespaces for CLOCK_REALTIME, so a few lines of C are loaded into the agent
 * before libc: they add what a mapped file says to every answer about it. CLOCK_MONOTONIC is left
 * alone. Needs a C compiler.
 *
 * @module
 */
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { mustRun, whichProgram } from "../lab/run.ts";

const SOURCE = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset_seconds;

__attribute__((constructor)) static void map_offset(void) {
  const char *path = getenv("LAB_CLOCK_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) offset_seconds = page;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, clock, now);
  int is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  if (result == 0 && is_wall && offset_seconds) now->tv_sec += *offset_seconds;
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec precise;
  (void)zone;
  int result = clock_gettime(CLOCK_REALTIME, &precise);
  if (result == 0 && now) {
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
  }
  return result;
}
`;

/** Why clocks cannot be set here; undefined when they can. */
export function clockObstacle(): string | undefined {
  return whichProgram("cc") === undefined ? "needs cc" : undefined;
}

/** The wall clocks of one lab. */
export class WallClock {
  readonly #folder: string;
  readonly #library: string;

  private constructor(folder: string, library: string) {
    this.#folder = folder;
    this.#library = library;
  }

  /** Compiles the library into `folder`. */
  static async build(folder: string): Promise<WallClock> {
    const source = join(folder, "wall-clock.c");
    const library = join(folder, "wall-clock.so");
    writeFileSync(source, SOURCE);
    await mustRun(["cc", "-shared", "-fPIC", "-O1", "-o", library, source]);
    return new WallClock(folder, library);
  }

  /** What an agent's environment must have so that its clock is the one called `name`. */
  env(name: string): Record<string, string> {
    this.set(name, 0);
    return { LD_PRELOAD: this.#library, LAB_CLOCK_FILE: this.#path(name) };
  }

  /** Sets the clock called `name` so many seconds off the machine's, at once. */
  set(name: string, offsetSeconds: number): void {
    const bytes = new BigInt64Array([BigInt(Math.trunc(offsetSeconds))]);
    // In place: the agent has the file mapped.
    const file = openSync(this.#path(name), "a+");
    closeSync(file);
    const open = openSync(this.#path(name), "r+");
    writeSync(open, new Uint8Array(bytes.buffer), 0, bytes.byteLength, 0);
    closeSync(open);
  }

  #path(name: string): string {
    return join(this.#folder, `wall-clock-${name}`);
  }
}
