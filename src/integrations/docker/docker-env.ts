/**
 * `overlay docker-env`: waits for this node's subnet, writes dockerd's options, and looks for what
 * would keep Docker from using them.
 *
 * @module
 */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { HostError } from "../../base/host-error.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { openSystemClock } from "../../host/clock/system-clock.ts";
import { writeFileAtomic } from "../../host/files/atomic-file.ts";
import type { Clock } from "../../host/ports.ts";
import { parseShellVariables } from "../flannel/shell-variables.ts";
import { waitForFile } from "../wait-for-file.ts";
import { type DockerOptionsRequest, makeDockerOptions } from "./docker-options.ts";
import { parseKernelRoutes } from "./kernel-routes.ts";
import { findObstacles, type Obstacles } from "./obstacles.ts";

export interface DockerEnvRequest
  extends Pick<DockerOptionsRequest, "individual" | "combined" | "key" | "masquerade"> {
  /** `subnet.env`, of ours or of flannel's. */
  readonly source: string;
  /** Where to write; undefined: nowhere, the text is only given back. */
  readonly target: string | undefined;
  /** How long `source` may be missing; 0 takes a missing file for an empty one at once. */
  readonly waitMs: number;
  /** Variables of the process. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The machine's own when absent. */
  readonly clock?: Clock;
}

export interface DockerEnvReport extends Obstacles {
  readonly text: string;
}

const OUTPUT_MODE = 0o644;
const ROUTES_PATH = "/proc/net/route";

/** Does the work; an error says why nothing was written. Throws `HostError`. */
export async function writeDockerEnv(
  request: DockerEnvRequest,
): Promise<Result<DockerEnvReport, string>> {
  const { clock = openSystemClock(), env, source, target, waitMs } = request;
  // Without waiting, a file that lacks the subnet is as good as any, as it is for flannel.
  const isReady = waitMs > 0 ? hasSubnet : () => true;
  const found = await waitForFile(source, { clock, waitMs, isReady });
  if (found === undefined && waitMs > 0) {
    return err(
      `no subnet in "${source}" after ${waitMs / 1000} s; see "overlay status" for what this node lacks`,
    );
  }
  const inherited = Object.entries(env).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  const variables = new Map([...inherited, ...parseShellVariables(found ?? "")]);
  const text = makeDockerOptions({ ...request, variables });
  if (!text.ok) return err(`${text.error} in "${source}"`);
  if (target !== undefined) await writeOut(target, text.value);
  const routes = parseKernelRoutes(readFileSync(ROUTES_PATH, "utf8"));
  const bridgeAddress = variables.get("FLANNEL_SUBNET") ?? "";
  return ok({ text: text.value, ...findObstacles(bridgeAddress, routes) });
}

function hasSubnet(text: string): boolean {
  return (parseShellVariables(text).get("FLANNEL_SUBNET") ?? "") !== "";
}

/** As a shell's redirection: into what is there when that is no file, such as /dev/stdout. */
async function writeOut(path: string, text: string): Promise<void> {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== false) {
    await writeFileAtomic(path, text, { mode: OUTPUT_MODE });
    return;
  }
  try {
    writeFileSync(path, text, { flag: "a" });
  } catch (cause) {
    const errno = cause instanceof Error && "code" in cause ? String(cause.code) : "EIO";
    throw new HostError({ operation: "write", object: path, errno, cause });
  }
}
