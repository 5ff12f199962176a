/**
 * podman on one host of the lab, with storage, networks and plugins of its own: a real runtime that
 * calls CNI plugins.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeBusyboxImage } from "./busybox-image.ts";
import type { Host } from "./host.ts";
import type { Finished } from "./run.ts";

export interface PodmanOptions {
  /** Folder with our plugin; Debian's are found beside it. */
  readonly binDir: string;
  readonly confDir: string;
}

const IMAGE = "busybox:lab";

export class Podman implements AsyncDisposable {
  readonly #host: Host;
  readonly #folder: string;

  private constructor(host: Host, folder: string) {
    this.#host = host;
    this.#folder = folder;
  }

  /** Sets podman up on `host` and imports its one image. */
  static async open(host: Host, { binDir, confDir }: PodmanOptions): Promise<Podman> {
    const folder = join(host.folder, "podman");
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      join(folder, "containers.conf"),
      `[containers]
default_ulimits=["nofile=4096:4096","nproc=4096:4096"]
seccomp_profile="unconfined"
[engine]
cgroup_manager="cgroupfs"
runtime="runc"
events_logger="none"
[network]
network_backend="cni"
cni_plugin_dirs=["${binDir}","/usr/lib/cni"]
network_config_dir="${confDir}"
`,
    );
    const podman = new Podman(host, folder);
    await podman.must(["import", "--quiet", await makeBusyboxImage(folder), IMAGE]);
    return podman;
  }

  /** Runs podman here, whatever its exit code. */
  async run(words: readonly string[]): Promise<Finished> {
    return await this.#host.run(
      [
        ...["podman", "--root", join(this.#folder, "root"), "--runroot", join(this.#folder, "run")],
        ...["--tmpdir", join(this.#folder, "tmp"), "--storage-driver", "vfs", ...words],
      ],
      { env: { CONTAINERS_CONF: join(this.#folder, "containers.conf") } },
    );
  }

  /** Like `run`, for what must succeed; gives its standard output. */
  async must(words: readonly string[]): Promise<string> {
    const { code, stderr, stdout } = await this.run(words);
    if (code !== 0) throw new Error(`podman ${words[0]} ended with code ${code}: ${stderr}`);
    return stdout.trim();
  }

  /** Starts a container that lives until it is removed. Gives its address. */
  async start(name: string, network: string): Promise<string> {
    const words = ["run", "--detach", "--name", name, "--network", network, IMAGE];
    await this.must([...words, "/bin/busybox", "sleep", "1000"]);
    const path = `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`;
    return await this.must(["inspect", "--format", path, name]);
  }

  /** Removes containers that are still there, with what runs in them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.must(["rm", "--all", "--force", "--time", "0"]);
  }
}
