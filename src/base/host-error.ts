/**
 * What goes wrong outside the program: a system call, a file, the kernel's answer.
 *
 * Thrown only in `host/`; drivers retry with a bound, degrade and show it in the status, or stop.
 *
 * @module
 */

export interface HostErrorDetail {
  /** What was attempted, as an imperative: "open", "add route". */
  readonly operation: string;
  /** On what: a path, a link name, a prefix. */
  readonly object: string;
  /** Symbolic errno where the kernel gave one: "EPERM". */
  readonly errno?: string;
  /** The kernel's or library's own words. */
  readonly reason?: string;
  /** What the operator can do about it. */
  readonly next?: string;
  readonly cause?: unknown;
}

/** "Cannot <operation> <object>: <reason> (<errno>); <next>". Compare by `errno`, not by text. */
export class HostError extends Error {
  override readonly name = "HostError";
  readonly operation: string;
  readonly object: string;
  readonly errno: string | undefined;

  constructor(detail: HostErrorDetail) {
    const why = [detail.reason, detail.errno].filter((part) => part !== undefined);
    const state = why.length === 2 ? `${why[0]} (${why[1]})` : (why[0] ?? "failed");
    const next = detail.next === undefined ? "" : `; ${detail.next}`;
    super(`Cannot ${detail.operation} ${detail.object}: ${state}${next}`, { cause: detail.cause });
    this.operation = detail.operation;
    this.object = detail.object;
    this.errno = detail.errno;
  }
}
