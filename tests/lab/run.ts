/**
 * Other programs, run to their end: what the lab and the scripts need of a shell, without one.
 *
 * For tests and scripts only; the product itself starts no programs.
 *
 * @module
 */
import { delimiter } from "node:path";

/** What a finished program left. */
export interface Finished {
  /** Exit code; 128 + signal number when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Fed to standard input, which is then closed; nothing to read when absent. */
  readonly stdin?: string | Uint8Array;
  readonly cwd?: string;
  /** Added to this process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The program is killed after this long; 60 s when absent. */
  readonly timeoutMs?: number;
}

/** A program that was expected to succeed and did not. */
export class RunError extends Error {
  override readonly name = "RunError";
  readonly finished: Finished;

  constructor(command: readonly string[], finished: Finished) {
    const words = (finished.stderr.trim() || finished.stdout.trim()).slice(-2000);
    super(`"${command.join(" ")}" ended with code ${finished.code}: ${words}`);
    this.finished = finished;
  }
}

const TIMEOUT_DEFAULT_MS = 60_000;
/** Where a root shell finds programs and another user's may not. */
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The environment for programs: this process's own, with the folders of root's programs. */
export function programEnv(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [key, value] of Object.entries(process.env)) if (value !== undefined) env[key] = value;
  const path = (env["PATH"] ?? "/usr/bin:/bin").split(delimiter);
  env["PATH"] = [...new Set([...path, ...SYSTEM_FOLDERS])].join(delimiter);
  // Numbers and messages that are parsed must not depend on the machine's language.
  return { ...env, LC_ALL: "C", ...extra };
}

/** The path of a program, or undefined when it is not installed. */
export function whichProgram(name: string): string | undefined {
  return Bun.which(name, { PATH: programEnv()["PATH"] ?? "" }) ?? undefined;
}

/** Runs a program to its end, whatever its exit code. Throws when it cannot be started. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const child = Bun.spawn({
    cmd: [...command],
    stdin: toStdin(options.stdin),
    stdout: "pipe",
    stderr: "pipe",
    env: programEnv(options.env),
    timeout: options.timeoutMs ?? TIMEOUT_DEFAULT_MS,
    killSignal: "SIGKILL",
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

/** Runs a program and gives its standard output; throws `RunError` unless it exits with 0. */
export async function mustRun(
  command: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const finished = await run(command, options);
  if (finished.code !== 0) throw new RunError(command, finished);
  return finished.stdout;
}

/** Like `run`, without letting anything else of this process happen: for clean-up on a signal. */
export function runSync(command: readonly string[], options: RunOptions = {}): Finished {
  const done = Bun.spawnSync({
    cmd: [...command],
    stdin: toStdin(options.stdin),
    stdout: "pipe",
    stderr: "pipe",
    env: programEnv(options.env),
    timeout: options.timeoutMs ?? TIMEOUT_DEFAULT_MS,
  });
  const code = done.exitCode ?? 128;
  return { code, stdout: done.stdout.toString(), stderr: done.stderr.toString() };
}

function toStdin(stdin: string | Uint8Array | undefined): Blob | "ignore" {
  return stdin === undefined ? "ignore" : new Blob([stdin as BlobPart]);
}
