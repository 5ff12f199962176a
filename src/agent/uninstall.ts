/**
 * Takes back what an agent left on this machine, without the agent: links, routes, rules, programs
 * in the kernel, a keeper process. Files are the caller's.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { createSilentLog } from "../base/log.ts";
import { openSystemClock } from "../host/clock/system-clock.ts";
import { lockDirectory } from "../host/files/lock-file.ts";
import { openKeeper } from "../host/keep/keeper.ts";
import { openKernel } from "../host/netlink/kernel.ts";
import { libc } from "../host/sys/libc.ts";
import { removeFastPath } from "./fast-path.ts";
import { openReconciler, type UnmetOperation } from "./reconciler.ts";

/**
 * Removes what is in the kernel and ends a keeper. Gives what could not be removed. Throws
 * `HostError` when an agent still runs with `dataDir`, or the kernel does not let us.
 */
export async function removeTraces(options: {
  readonly dataDir: string;
  readonly runDir: string;
}): Promise<readonly UnmetOperation[]> {
  const { dataDir, runDir } = options;
  using _ = existsSync(dataDir) ? await lockDirectory(dataDir) : undefined;
  const log = createSilentLog();
  const clock = openSystemClock();
  const kernel = openKernel({ clock, log });
  try {
    removeFastPath(kernel);
    const keeper = openKeeper(runDir, log);
    for (const fd of keeper.takeAll().values()) libc().close(fd);
    keeper.drop();
    const reconciler = openReconciler({ kernel, clock, log });
    await reconciler.remove();
    const unmet = reconciler.unmet();
    reconciler.close();
    return unmet;
  } finally {
    kernel.close();
  }
}
