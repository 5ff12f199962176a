/**
 * What the agent tells the service manager: that it is ready, how it does, that it is alive.
 *
 * Source: sd_notify(3) (READY, STATUS, STOPPING, WATCHDOG), systemd.service(5) (`Type=notify`).
 *
 *     ready   this node holds its lease, or knows that there is no network config;
 *             a minute after the start in any case: who comes after may wait for the lease itself,
 *             and a cluster that is away must not hold up the machine's start
 *
 * The watchdog is fed from the event loop that does everything but packets: one that hangs is
 * restarted, and its packets wait meanwhile. Without a service manager nothing happens.
 *
 * @module
 */
import type { Log } from "../base/log.ts";
import type { Clock } from "../host/ports.ts";
import { isNotifySocket, notifyManager } from "../host/sys/notify-socket.ts";

/** How often the state is looked at before the agent is ready. */
const READY_CHECK_MS = 200;
const READY_WAIT_MS = 60_000;
/** Afterwards, where no watchdog asks for more. */
const STATUS_INTERVAL_MS = 15_000;
/** Feeds of the watchdog in its time: two may come late. */
const WATCHDOG_FEEDS = 3;
const US_PER_MS = 1000;

/** Of the environment: what the service manager says there. */
export interface NoticeEnvironment {
  readonly NOTIFY_SOCKET?: string | undefined;
  readonly WATCHDOG_USEC?: string | undefined;
  readonly WATCHDOG_PID?: string | undefined;
}

/** How the agent does, in one line. */
export interface ServiceState {
  /** Whether units that come after this one may start. */
  readonly ready: boolean;
  readonly text: string;
}

export interface NoticeOptions {
  readonly env: NoticeEnvironment;
  readonly clock: Clock;
  readonly log: Log;
  readonly read: () => ServiceState;
}

/** The agent's line to the service manager. */
export interface ServiceNotice {
  /** The agent stops; no more is told. */
  stop(): void;
}

/** Begins to tell the service manager that `env` names, if any, how the agent does. */
export function openServiceNotice({ env, clock, log, read }: NoticeOptions): ServiceNotice {
  const { NOTIFY_SOCKET: path } = env;
  if (path === undefined || !isNotifySocket(path)) return { stop: () => undefined };
  let hasFailed = false;
  const tell = (lines: readonly string[]) => {
    const errno = notifyManager(path, lines.join("\n"));
    if (errno !== 0 && !hasFailed) log.warn("cannot notify the service manager", { errno });
    hasFailed = errno !== 0;
  };
  const latestMs = clock.nowMs() + READY_WAIT_MS;
  const intervalMs = Math.min(STATUS_INTERVAL_MS, watchdogMs(env) / WATCHDOG_FEEDS);
  let cancel: () => void = () => undefined;
  let isReady = false;
  let saidText = "";
  const turn = () => {
    const { ready, text } = read();
    const lines = ["WATCHDOG=1"];
    if (text !== saidText) lines.push(`STATUS=${text.replaceAll("\n", " ")}`);
    if (!isReady && (ready || clock.nowMs() >= latestMs)) {
      lines.push("READY=1");
      isReady = true;
    }
    saidText = text;
    if (isReady || lines.length > 1) tell(lines);
    cancel = clock.after(isReady ? intervalMs : READY_CHECK_MS, turn);
  };
  turn();
  return {
    stop() {
      cancel();
      tell(["STOPPING=1", "STATUS=Stopping"]);
    },
  };
}

/** The watchdog's time; infinite without one, and when it watches another process. */
function watchdogMs({ WATCHDOG_USEC: time, WATCHDOG_PID: pid }: NoticeEnvironment): number {
  if (pid !== undefined && pid !== "" && pid !== String(process.pid)) return Infinity;
  const ms = Number(time ?? "") / US_PER_MS;
  return ms > 0 ? ms : Infinity;
}
