/**
 * A fixed share of a processor for a process, by a control group of its own (version 1 or 2).
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const VERSION_1 = "/sys/fs/cgroup/cpu";
const VERSION_2 = "/sys/fs/cgroup";
/** Short, so that what waits for the next period still fits into a queue. */
const PERIOD_MICROS = 25_000;

/** Processes held down for as long as this is not disposed of, at most until this process ends. */
export class CpuShare implements Disposable {
  readonly #parent: string;
  readonly #paths: string[] = [];
  readonly #onExit = () => this[Symbol.dispose]();

  /** Gives each of `pids` at most `share` of one core: 0.1 is a tenth. Throws without cgroups. */
  constructor(pids: readonly number[], share: number) {
    const isVersion2 = existsSync(join(VERSION_2, "cgroup.controllers"));
    this.#parent = isVersion2 ? VERSION_2 : VERSION_1;
    if (!existsSync(this.#parent)) {
      throw new Error("Cannot limit a process: this machine has no control groups");
    }
    process.on("exit", this.#onExit);
    const quota = String(Math.round(PERIOD_MICROS * share));
    if (isVersion2) writeFileSync(join(this.#parent, "cgroup.subtree_control"), "+cpu");
    for (const pid of pids) {
      const path = join(this.#parent, `ovt-${pid}`);
      mkdirSync(path);
      this.#paths.push(path);
      if (isVersion2) writeFileSync(join(path, "cpu.max"), `${quota} ${PERIOD_MICROS}`);
      else {
        writeFileSync(join(path, "cpu.cfs_period_us"), String(PERIOD_MICROS));
        writeFileSync(join(path, "cpu.cfs_quota_us"), quota);
      }
      writeFileSync(join(path, "cgroup.procs"), String(pid));
    }
  }

  /** Lets them go. A group whose process has ended goes too. */
  [Symbol.dispose](): void {
    process.off("exit", this.#onExit);
    for (const path of this.#paths.splice(0)) {
      const left = readFileSync(join(path, "cgroup.procs"), "utf8").split("\n");
      for (const pid of left)
        if (pid !== "") writeFileSync(join(this.#parent, "cgroup.procs"), pid);
      rmdirSync(path);
    }
  }
}
