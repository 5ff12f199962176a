/**
 * The agent as a service of systemd: stopped, and forgotten. Runs `systemctl`.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { HostError } from "../../base/host-error.ts";

/** Where systemd itself says that it runs (sd_booted(3)). */
const BOOTED_FOLDER = "/run/systemd/system";
const UNIT = "overlay.service";
/** Longer than the unit's own time to stop. */
const SYSTEMCTL_TIMEOUT_MS = 60_000;

/** Keeps the service from starting with the machine. Does nothing where systemd does not run. */
export async function disableService(): Promise<void> {
  // Of a service that is not known it fails, which is what is wanted.
  await systemctl(["disable", "--quiet", UNIT]);
}

/** Stops the service. Does nothing where systemd does not run. */
export async function stopService(): Promise<void> {
  const code = await systemctl(["stop", UNIT]);
  const notLoaded = 5;
  if (code === 0 || code === undefined || code === notLoaded) return;
  const next = `see "systemctl status ${UNIT}"`;
  throw new HostError({ operation: "stop", object: UNIT, reason: `systemctl says ${code}`, next });
}

/** Lets systemd forget units whose files are gone. */
export async function forgetService(): Promise<void> {
  await systemctl(["daemon-reload"]);
  await systemctl(["reset-failed", UNIT]);
}

/** The exit code; undefined where systemd does not run. */
async function systemctl(words: readonly string[]): Promise<number | undefined> {
  if (!existsSync(BOOTED_FOLDER)) return undefined;
  const child = Bun.spawn(["systemctl", ...words], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    timeout: SYSTEMCTL_TIMEOUT_MS,
  });
  return await child.exited;
}
