/**
 * Other CNI plugins, called as the specification's section 4 says: same environment, config on
 * standard input, result or error on standard output.
 *
 * @module
 */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { isRecord, type JsonRecord, parseRecord } from "../../base/json-record.ts";
import { err, ok, type Result } from "../../base/result.ts";
import type { CniCommand, CniEnvironment } from "./call.ts";
import { CNI_CODE, type CniError, cniError } from "./error.ts";
import {
  type CniVersion,
  commonVersion,
  isAtLeast,
  parseVersion,
  parseVersions,
  relabel,
} from "./versions.ts";

/** Runtimes give up after two to four minutes. */
const PLUGIN_TIMEOUT_MS = 110_000;
/** What every plugin of the last years speaks, when one cannot be asked. */
const PLAIN_VERSION: CniVersion = "1.0.0";

export interface DelegateCall {
  readonly command: CniCommand;
  readonly config: JsonRecord;
  /** In place of the runtime's own, for a container that it does not speak of. */
  readonly env?: CniEnvironment;
}

/** The plugins in `CNI_PATH`. */
export class Delegates {
  readonly #env: CniEnvironment;

  constructor(env: CniEnvironment) {
    this.#env = env;
  }

  /** The program of plugin `type`, or why there is none. */
  find(type: string): Result<string, CniError> {
    const folders = (this.#env["CNI_PATH"] ?? "").split(":").filter((folder) => folder !== "");
    for (const folder of folders) {
      const path = join(folder, type);
      if (isProgram(path)) return ok(path);
    }
    const where = folders.length === 0 ? "an empty CNI_PATH" : folders.join(", ");
    const msg = `Cannot find CNI plugin "${type}" in ${where}; install the CNI plugins (Debian: containernetworking-plugins) or link them there`;
    return err(cniError(CNI_CODE.INVALID_ENVIRONMENT, msg));
  }

  /**
   * Has the delegate of `config` do `command`, in a version that it and its IPAM plugin speak.
   * The result comes back in the version of `config`; empty when the command has none. A command
   * that the delegate is too old for counts as done.
   */
  async run({ command, config, env = {} }: DelegateCall): Promise<Result<JsonRecord, CniError>> {
    const wanted = parseVersion(config["cniVersion"]) ?? PLAIN_VERSION;
    const program = this.find(typeOf(config));
    if (!program.ok) return program;
    const version = await this.#commonVersion(config, wanted);
    if ((command === "STATUS" || command === "GC") && !isAtLeast(version, "1.1.0")) return ok({});
    const input = JSON.stringify(relabel(config, version));
    const { code, output } = await this.#call(program.value, { command, env, input });
    const answer = parseRecord(output);
    if (code === 0) {
      if (command !== "ADD") return ok({});
      return answer === undefined
        ? err(noAnswer(typeOf(config), code, output))
        : ok(relabel(answer, wanted));
    }
    return err(readError(answer) ?? noAnswer(typeOf(config), code, output));
  }

  /** Up to 1.0.0 everybody speaks everything; only above it somebody must be asked. */
  async #commonVersion(config: JsonRecord, wanted: CniVersion): Promise<CniVersion> {
    if (isAtLeast(PLAIN_VERSION, wanted)) return wanted;
    const types = [typeOf(config), isRecord(config["ipam"]) ? typeOf(config["ipam"]) : ""];
    const spoken = await Promise.all(
      types.filter((type) => type !== "").map((type) => this.#versionsOf(type, wanted)),
    );
    return commonVersion(wanted, spoken) ?? PLAIN_VERSION;
  }

  async #versionsOf(type: string, wanted: CniVersion): Promise<readonly CniVersion[]> {
    const program = this.find(type);
    if (!program.ok) return [];
    const input = JSON.stringify({ cniVersion: wanted });
    const call = { command: "VERSION", env: {}, input } as const;
    return parseVersions((await this.#call(program.value, call)).output);
  }

  async #call(
    program: string,
    { command, env, input }: { command: CniCommand; env: CniEnvironment; input: string },
  ): Promise<{ readonly code: number; readonly output: string }> {
    const child = Bun.spawn([program], {
      env: { ...this.#env, ...env, CNI_COMMAND: command },
      stdin: Buffer.from(input),
      stdout: "pipe",
      stderr: "inherit",
      timeout: PLUGIN_TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    const output = await new Response(child.stdout).text();
    return { code: await child.exited, output };
  }
}

function typeOf(config: JsonRecord): string {
  return typeof config["type"] === "string" ? config["type"] : "";
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // Missing or not to be run: the next folder may have it.
  }
}

/** A plugin's own words, as it wrote them. */
function readError(answer: JsonRecord | undefined): CniError | undefined {
  const { code, details, msg } = answer ?? {};
  if (typeof code !== "number" || typeof msg !== "string") return undefined;
  return cniError(code, msg, typeof details === "string" ? details : "");
}

function noAnswer(type: string, code: number, output: string): CniError {
  const msg = `Cannot understand CNI plugin "${type}": it ended with code ${code} and no JSON object`;
  return cniError(CNI_CODE.DECODE_FAILURE, msg, output.slice(0, 1000));
}
