/**
 * A host of the lab with a systemd of its own (tests/e2e/booted-machine.sh): what is installed
 * there starts as on a real machine, and this machine's files stay as they are.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { type Host, parseSubnetEnv, type SubnetEnv } from "./host.ts";
import type { LabProcess } from "./process.ts";
import { type Finished, mustRun, RunError, run } from "./run.ts";
import { waitFor } from "./wait.ts";

const BOOT = join(import.meta.dir, "../e2e/booted-machine.sh");
const BOOT_TIMEOUT_MS = 20_000;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** What package managers and the machine itself write down for themselves. */
const BOOKS = /^(var\/lib\/(dpkg|rpm|systemd\/(timers|catalog))|var\/(log|cache))(\/|$)/;

/** Where control groups of version 2 are; undefined where the kernel has none mounted. */
export function controlGroups(): string | undefined {
  const mounts = readFileSync("/proc/mounts", "utf8").split("\n");
  return mounts.map((line) => line.split(" ")).find(([, , kind]) => kind === "cgroup2")?.[1];
}

/** Boots a machine in the network of `host`. It ends, and leaves nothing, with `await using`. */
export async function bootMachine(host: Host): Promise<BootedMachine> {
  const groups = controlGroups();
  if (groups === undefined) throw new Error("Cannot boot a machine: no cgroup2 is mounted");
  const layer = join(host.folder, "machine");
  const group = join(groups, host.id);
  await mustRun(["mkdir", "-p", layer, group]);
  await mustRun(["mount", "-t", "tmpfs", "tmpfs", layer]);
  const machine = new BootedMachine(layer, group, host.start([BOOT, layer, group]));
  try {
    await machine.waitBooted();
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
  return machine;
}

export class BootedMachine implements AsyncDisposable {
  /** A folder that it sees as /mnt. */
  readonly share: string;
  readonly #layer: string;
  readonly #group: string;
  readonly #boot: LabProcess;

  constructor(layer: string, group: string, boot: LabProcess) {
    this.#layer = layer;
    this.#group = group;
    this.#boot = boot;
    this.share = join(layer, "share");
  }

  /** Runs a line of shell in there. */
  async shell(line: string): Promise<Finished> {
    const enter = ["nsenter", `--target=${this.#init()}`, "--all", "--root"];
    const env = ["env", "-i", "--chdir=/", `PATH=${PATH}`, "DEBIAN_FRONTEND=noninteractive"];
    return await run([...enter, ...env, "sh", "-c", line]);
  }

  /** Gives its standard output; throws unless it exits with 0. */
  async mustShell(line: string): Promise<string> {
    const finished = await this.shell(line);
    if (finished.code !== 0) throw new RunError([line], finished);
    return finished.stdout.trim();
  }

  /** One property of the agent's service, as systemd has it. */
  async service(property: string): Promise<string> {
    return await this.mustShell(`systemctl show --property=${property} --value overlay`);
  }

  /** What the agent wrote for Docker. */
  async waitLease(): Promise<SubnetEnv> {
    return await waitFor(
      async () => parseSubnetEnv((await this.shell("cat /run/flannel/subnet.env")).stdout),
      { describe: "the lease of the booted machine" },
    );
  }

  /** What it has beyond this machine: files, links and folders, and what overlay has in /run. */
  async files(): Promise<string[]> {
    const upper = join(this.#layer, "upper");
    const found = await mustRun(["find", upper, "-mindepth", "1", "-printf", "%y %P\\n"]);
    const changed = found.split("\n").filter((line) => {
      const [kind, path = ""] = [line.slice(0, 1), line.slice(2)];
      return path !== "" && !BOOKS.test(path) && !(kind === "d" && existsSync(`/${path}`));
    });
    const run = await this.shell("find /run/overlay /run/flannel /run/systemd/system");
    return [...changed, ...run.stdout.split("\n").filter(Boolean)].sort();
  }

  async waitBooted(): Promise<void> {
    await waitFor(
      async () => {
        if (!this.#boot.running) throw new Error("its systemd has ended");
        return (await this.shell("systemctl is-system-running")).stdout.trim() === "running";
      },
      {
        timeoutMs: BOOT_TIMEOUT_MS,
        describe: "a booted machine",
        details: () => this.#boot.tail(20),
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#boot.killGroup();
    await this.#boot.exited;
    await waitFor(() => removeGroup(this.#group), { describe: "an empty control group" });
    await mustRun(["umount", "--lazy", this.#layer]);
  }

  /** The process id, outside, of its first process. */
  #init(): string {
    const path = join(this.#group, "init.scope/cgroup.procs");
    const pid = existsSync(path) ? readFileSync(path, "utf8").split("\n")[0] : undefined;
    if (pid === undefined || pid === "") throw new Error("Its systemd has not come up yet");
    return pid;
  }
}

/** Whether the group and all below it are gone now: those with a process in them stay. */
function removeGroup(group: string): boolean {
  try {
    for (const entry of readdirSync(group, { withFileTypes: true })) {
      if (entry.isDirectory()) removeGroup(join(group, entry.name));
    }
    rmdirSync(group);
    return true;
  } catch {
    return !existsSync(group);
  }
}
