/**
 * The holder under systemd: the descriptor store of our own service.
 *
 * Source: sd_notify(3) (FDSTORE, FDNAME, FDSTOREREMOVE, FDPOLL), sd_listen_fds(3). Descriptors go
 * to the service manager over the notification socket and come back as 3, 4, … at the next start.
 * The unit needs `FileDescriptorStoreMax=` of at least three; without it the manager closes what it
 * gets. They stay over a restart and a crash, and go when the unit is stopped.
 *
 * @module
 */
import fs from "node:fs";
import type { Log } from "../../base/log.ts";
import { errnoName } from "../sys/errno.ts";
import { libc } from "../sys/libc.ts";
import { isNotifySocket, notifyManager } from "../sys/notify-socket.ts";
import { setCloseOnExec } from "../sys/shared-memory.ts";
import { type DescriptorHolder, KEPT_NAMES, type KeptDescriptors, type KeptName } from "./keep.ts";

/** SD_LISTEN_FDS_START. */
const LISTEN_FDS_START = 3;
const LISTEN_FDS_MAX = 64;
const F_SETFD = 2;
const NAME_PREFIX = "overlay-";

/** What the service manager says about itself in the environment. */
export interface ServiceEnvironment {
  readonly NOTIFY_SOCKET?: string | undefined;
  readonly LISTEN_PID?: string | undefined;
  readonly LISTEN_FDS?: string | undefined;
  readonly LISTEN_FDNAMES?: string | undefined;
}

/** The store of the manager that `env` tells of; undefined when this is no service. */
export function openDescriptorStore(
  env: ServiceEnvironment,
  log: Log,
): DescriptorHolder | undefined {
  const { NOTIFY_SOCKET: path } = env;
  if (path === undefined || !isNotifySocket(path)) return undefined;
  const tell = (text: string, fd?: number) => {
    const errno = notifyManager(path, text, fd);
    if (errno === 0) return;
    log.warn("a restart will interrupt packets", { reason: `NOTIFY_SOCKET: ${errnoName(errno)}` });
  };
  const drop = () => {
    for (const name of KEPT_NAMES) tell(`FDSTOREREMOVE=1\nFDNAME=${NAME_PREFIX}${name}`);
  };
  return {
    takeAll: () => takeListed(env),
    hold(descriptors: KeptDescriptors) {
      drop();
      // Not to be polled: an error that waits in a socket is no reason to close it.
      for (const [name, fd] of descriptors) {
        tell(`FDSTORE=1\nFDPOLL=0\nFDNAME=${NAME_PREFIX}${name}`, fd);
      }
    },
    drop,
  };
}

/** The descriptors that the manager started this process with. Others of its are left alone. */
function takeListed(env: ServiceEnvironment): Map<KeptName, number> {
  const taken = new Map<KeptName, number>();
  const count = listedCount(env);
  const names = (env.LISTEN_FDNAMES ?? "").split(":");
  for (let i = 0; i < count; i++) {
    const name = KEPT_NAMES.find((each) => names[i] === NAME_PREFIX + each);
    const fd = LISTEN_FDS_START + i;
    if (name === undefined || taken.has(name) || !isKind(name, fd)) continue;
    setCloseOnExec(fd);
    taken.set(name, fd);
  }
  return taken;
}

/** How many descriptors this process was started with. */
function listedCount(env: ServiceEnvironment): number {
  if (env.LISTEN_PID !== String(process.pid)) return 0;
  return Math.min(Number(env.LISTEN_FDS) || 0, LISTEN_FDS_MAX);
}

/** Were it anything else, it would be one of the run time's own under a number that was free. */
function isKind(name: KeptName, fd: number): boolean {
  try {
    const stat = fs.fstatSync(fd);
    if (name === "tun") return stat.isCharacterDevice();
    return name === "udp" ? stat.isSocket() : stat.isFile();
  } catch {
    return false;
  }
}

/**
 * Has what this process was started with outlive an execve(2) of it. The run time marks all but the
 * first to be closed then (Bun 1.4.5).
 */
export function passListed(env: ServiceEnvironment): void {
  for (let i = 0; i < listedCount(env); i++) libc().fcntl(LISTEN_FDS_START + i, F_SETFD, 0);
}
