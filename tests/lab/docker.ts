/**
 * Docker on one host of the lab: a dockerd with everything of its own, so that several run side by
 * side on one machine.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BUSYBOX, makeBusyboxImage } from "./busybox-image.ts";
import type { Host } from "./host.ts";
import type { LabProcess } from "./process.ts";
import { mustRun } from "./run.ts";
import { waitFor } from "./wait.ts";

const IMAGE = "busybox:lab";
const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 20_000;

/** A container that does nothing until it is removed. */
export interface DockerContainer {
  readonly address: string;
  /** Runs busybox in it; gives its standard output. */
  exec(words: readonly string[]): Promise<string>;
  /** Starts a program of the machine in the container's network. */
  start(command: readonly string[]): LabProcess;
}

export class Docker implements AsyncDisposable {
  readonly #host: Host;
  readonly #folder: string;
  #daemon: LabProcess | undefined;
  #hasImage = false;

  constructor(host: Host) {
    this.#host = host;
    this.#folder = join(host.folder, "docker");
    mkdirSync(this.#folder, { recursive: true });
    writeFileSync(this.#path("daemon.json"), "{}");
  }

  /** Starts dockerd, with `options` beside what keeps it apart, and waits until it answers. */
  async start(options: readonly string[] = []): Promise<void> {
    const daemon = this.#host.start(
      [
        ...["dockerd", "--config-file", this.#path("daemon.json"), "-H", this.#socket],
        ...["--data-root", this.#path("data"), "--exec-root", this.#path("exec")],
        ...["--pidfile", this.#path("pid"), "--storage-driver", "vfs"],
        ...["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", `/${this.#host.id}`],
        ...options,
      ],
      { name: "dockerd" },
    );
    this.#daemon = daemon;
    await waitFor(
      async () => {
        if (!daemon.running) return "ended";
        return (await this.#host.run(["docker", "-H", this.#socket, "version"])).code === 0 && "up";
      },
      { timeoutMs: START_TIMEOUT_MS, describe: "dockerd to answer", details: () => daemon.tail(5) },
    );
    if (!daemon.running) throw new Error(`dockerd ended: ${daemon.tail(5)}`);
    if (!this.#hasImage) await this.#must(["import", await makeBusyboxImage(this.#folder), IMAGE]);
    this.#hasImage = true;
  }

  /** Stops dockerd; containers end with it. */
  async stop(): Promise<void> {
    await this.#daemon?.terminate(STOP_TIMEOUT_MS);
    this.#daemon = undefined;
  }

  /** Starts a container on the default bridge. */
  async run(name: string): Promise<DockerContainer> {
    await this.#must(["run", "--detach", "--name", name, IMAGE, BUSYBOX, "sleep", "1000"]);
    const look = (path: string) => this.#must(["inspect", "--format", `{{${path}}}`, name]);
    const pid = await look(".State.Pid");
    return {
      address: await look(".NetworkSettings.IPAddress"),
      exec: (words) => this.#must(["exec", name, BUSYBOX, ...words]),
      start: (command) =>
        this.#host.start(["nsenter", `--net=/proc/${pid}/ns/net`, "--", ...command]),
    };
  }

  /** Removes the containers, which have namespaces of their own, and ends dockerd. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon?.running !== true) return;
    const names = await this.#must(["ps", "--all", "--quiet"]);
    if (names !== "") await this.#must(["rm", "--force", ...names.split("\n")]);
    await this.stop();
  }

  get #socket(): string {
    return `unix://${this.#path("sock")}`;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  async #must(words: readonly string[]): Promise<string> {
    return (await mustRun(["docker", "-H", this.#socket, ...words])).trim();
  }
}
