/**
 * A network namespace: the network of one host or container, and programs run in it.
 *
 * Entered with `nsenter --net`, which leaves /sys and the mounts alone (`ip netns exec` does not)
 * and becomes the program itself, so that the process id is the program's.
 *
 * @module
 */
import { join } from "node:path";
import {
  type PingOptions,
  type PingReport,
  parseEndlessPing,
  parsePing,
  pingCommand,
} from "./ping.ts";
import { LabProcess } from "./process.ts";
import { type Finished, mustRun, type RunOptions, run } from "./run.ts";

export interface NamespaceOptions {
  /** What the lab calls it: "h1", "h1c2". */
  readonly name: string;
  /** What the kernel calls it, unique on the machine. */
  readonly id: string;
  /** Where logs and files of it go. */
  readonly folder: string;
  /** Told of every process started in it. */
  readonly onStart: (process: LabProcess) => void;
}

/** A ping that runs until it is stopped. */
export interface RunningPing {
  /** How many answers have come so far. */
  received(): number;
  /** Stops it and says what it saw. */
  stop(): Promise<PingReport>;
}

export class Namespace {
  readonly name: string;
  readonly id: string;
  readonly folder: string;
  readonly #onStart: (process: LabProcess) => void;
  #started = 0;

  constructor(options: NamespaceOptions) {
    this.name = options.name;
    this.id = options.id;
    this.folder = options.folder;
    this.#onStart = options.onStart;
  }

  /** `command` as it must be run from outside to run inside. */
  inside(command: readonly string[]): string[] {
    return ["nsenter", `--net=/run/netns/${this.id}`, "--", ...command];
  }

  /** Runs a program inside to its end, whatever its exit code. */
  async run(command: readonly string[], options?: RunOptions): Promise<Finished> {
    return await run(this.inside(command), options);
  }

  /** Runs a program inside; throws unless it exits with 0. */
  async mustRun(command: readonly string[], options?: RunOptions): Promise<string> {
    return await mustRun(this.inside(command), options);
  }

  /** Starts a program inside that goes on; ended with the lab at the latest. */
  start(
    command: readonly string[],
    options: { readonly name?: string; readonly env?: Readonly<Record<string, string>> } = {},
  ): LabProcess {
    this.#started += 1;
    const name = options.name ?? `${command[0]?.split("/").at(-1)}-${this.#started}`;
    const child = LabProcess.start({
      name: `${this.name} ${name}`,
      command: this.inside(command),
      logPath: join(this.folder, `${this.name}-${name}.log`),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    this.#onStart(child);
    return child;
  }

  /** Pings `target` and reports; no answer is a report too, not an error. */
  async ping(target: string, options: PingOptions = {}): Promise<PingReport> {
    const { stdout, stderr } = await this.run(pingCommand(target, options));
    return parsePing(stdout + stderr, options);
  }

  /** Pings `target` until stopped, `intervalSeconds` (0.1) apart. */
  startPing(target: string, options: PingOptions = {}): RunningPing {
    const child = this.start(pingCommand(target, options, true));
    return {
      received: () => parseEndlessPing(child.output(), options).received,
      stop: async () => {
        child.signal("SIGINT");
        await child.waitExit();
        return parseEndlessPing(child.output(), options);
      },
    };
  }

  /** Writes one setting under /proc/sys/net of this namespace. */
  async sysctl(name: string, value: string | number): Promise<void> {
    await this.mustRun(["sysctl", "-q", "-w", `${name}=${value}`]);
  }
}
