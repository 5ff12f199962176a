/**
 * Waits until a file is there and says what it should: `subnet.env`, after a lease was taken.
 *
 * By looking again and again, since the folder it will be in may be missing too.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { HostError } from "../base/host-error.ts";
import type { Clock } from "../host/ports.ts";

/** Short beside what starting a container takes. */
const LOOK_EVERY_MS = 50;
/** A lease's file has a few lines; what is larger is read no further. */
const SIZE_BYTES_MAX = 64 * 1024;

export interface WaitForFileOptions {
  readonly clock: Clock;
  /** 0 looks once. */
  readonly waitMs: number;
  readonly isReady: (text: string) => boolean;
}

/** The file's text once it is ready; undefined when it was not in time. Throws `HostError`. */
export async function waitForFile(
  path: string,
  { clock, isReady, waitMs }: WaitForFileOptions,
): Promise<string | undefined> {
  const deadlineMs = clock.nowMs() + waitMs;
  for (;;) {
    const text = readIfAny(path);
    if (text !== undefined && isReady(text)) return text;
    const leftMs = deadlineMs - clock.nowMs();
    if (leftMs <= 0) return undefined;
    await new Promise<void>((resolve) => {
      clock.after(Math.min(LOOK_EVERY_MS, leftMs), resolve);
    });
  }
}

function readIfAny(path: string): string | undefined {
  try {
    return readFileSync(path).subarray(0, SIZE_BYTES_MAX).toString("utf8");
  } catch (cause) {
    const errno = cause instanceof Error && "code" in cause ? String(cause.code) : "EIO";
    if (errno === "ENOENT" || errno === "ENOTDIR") return undefined;
    throw new HostError({ operation: "read", object: path, errno, cause });
  }
}
