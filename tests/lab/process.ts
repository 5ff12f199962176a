/**
 * A long-running program of the lab: started, watched, stopped by its process id, its words kept.
 *
 * What it prints goes to a file, so that nothing is lost when it is killed, and so that a failed
 * test can show the end of it. Signals go to this one process only. Each leads a process group of
 * its own, so that an interrupt at the terminal reaches the lab and not what it looks after.
 *
 * @module
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import { programEnv } from "./run.ts";
import { waitFor } from "./wait.ts";

export interface ProcessOptions {
  /** What it is called in messages: "h1 agent". */
  readonly name: string;
  readonly command: readonly string[];
  /** Takes standard output and standard error, appended. */
  readonly logPath: string;
  readonly env?: Readonly<Record<string, string>>;
}

const TCP_LISTEN_STATE = "0A";
const EXIT_TIMEOUT_MS = 10_000;

export class LabProcess {
  readonly name: string;
  readonly pid: number;
  readonly logPath: string;
  /** Exit code; 128 + signal number when a signal ended it. Settles once it is reaped. */
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess;

  private constructor(options: ProcessOptions, child: Bun.Subprocess) {
    this.name = options.name;
    this.logPath = options.logPath;
    this.pid = child.pid;
    this.exited = child.exited;
    this.#child = child;
  }

  /** Starts `command`. Whether it has come to work is for the caller to find out. */
  static start(options: ProcessOptions): LabProcess {
    const log = openSync(options.logPath, "a");
    try {
      const child = Bun.spawn({
        cmd: [...options.command],
        stdin: "ignore",
        stdout: log,
        stderr: log,
        env: programEnv(options.env),
        detached: true,
      });
      return new LabProcess(options, child);
    } finally {
      closeSync(log);
    }
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** SIGKILL: ends at once, nothing saved. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.exited;
  }

  /** SIGTERM, and SIGKILL when that did not help. Gives the exit code. */
  async terminate(timeoutMs = EXIT_TIMEOUT_MS): Promise<number> {
    this.signal("SIGTERM");
    try {
      return await this.waitExit(timeoutMs);
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** SIGSTOP: alive but deaf, as on a machine that hangs. */
  stop(): void {
    this.signal("SIGSTOP");
  }

  /** SIGCONT: goes on after `stop`. */
  continue(): void {
    this.signal("SIGCONT");
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) process.kill(this.pid, signal);
  }

  /** SIGKILL to it and to what it started, without waiting: for clean-up. */
  killGroup(): void {
    if (this.running) process.kill(-this.pid, "SIGKILL");
  }

  /** The exit code, within `timeoutMs`. */
  async waitExit(timeoutMs = EXIT_TIMEOUT_MS): Promise<number> {
    await waitFor(() => !this.running, {
      timeoutMs,
      describe: `the end of ${this.name}`,
      details: () => this.tail(5),
    });
    return await this.exited;
  }

  /** Waits until the process itself has a TCP socket listening on `port`. */
  async waitListening(port: number, timeoutMs = EXIT_TIMEOUT_MS): Promise<void> {
    await waitFor(() => this.#assertRunning() && listens(this.pid, port), {
      timeoutMs,
      describe: `${this.name} to listen on port ${port}`,
      details: () => this.tail(5),
    });
  }

  /** Everything it has printed so far, of this and earlier processes with the same log. */
  output(): string {
    return readFileSync(this.logPath, "utf8");
  }

  /** The last `lines` lines it printed. */
  tail(lines = 40): string {
    return this.output().trimEnd().split("\n").slice(-lines).join("\n");
  }

  /** Resident memory in bytes, now. */
  residentBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
  }

  /** Processor time used so far, user and system, in seconds. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, "utf8");
    // Fields are counted from after the name, which may hold blanks: utime is 12th, stime 13th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const USER_HZ = 100; // The unit of /proc on every Linux that Bun runs on.
    return (Number(fields[11]) + Number(fields[12])) / USER_HZ;
  }

  #assertRunning(): true {
    if (this.running) return true;
    throw new Error(`${this.name} has ended`);
  }
}

/** Whether some process in the network namespace of `pid` listens on TCP `port`, v4 or v6. */
function listens(pid: number, port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return ["tcp", "tcp6"].some((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, "utf8")
      .split("\n")
      .some((line) => {
        const [, local, , state] = line.trim().split(/\s+/);
        return state === TCP_LISTEN_STATE && local?.endsWith(suffix) === true;
      }),
  );
}
