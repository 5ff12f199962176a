/**
 * Puts the plugin where runtimes look for plugins, and a network where they look for networks.
 *
 * Nothing of others is overwritten: what is there and not ours is told.
 *
 * @module
 */
import { existsSync, lstatSync, mkdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { HostError } from "../../base/host-error.ts";
import { isRecord, parseRecord } from "../../base/json-record.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { readFileIfAny, writeFileAtomic } from "../../host/files/atomic-file.ts";
import { SUBNET_FILE_DEFAULT } from "./call.ts";
import type { CniVersion } from "./versions.ts";

export interface InstallOptions {
  /** Where runtimes look for plugins. */
  readonly binDir: string;
  /** Where they look for networks. */
  readonly confDir: string;
}

export interface NetworkOptions {
  /** What containers are told to join: `podman run --network overlay`. */
  readonly name: string;
  readonly version: CniVersion;
  /** `subnet.env` of the agent. */
  readonly subnetFile: string;
}

/** The plugin's name, which is the executable's. */
const PLUGIN = "overlay";
/** Runtimes that take one network take the first by name. */
const CONF_FILE = "10-overlay.conflist";
const CONF_MODE = 0o644;

/** The network: our plugin, then port mappings by the usual plugin. Pure. */
export function formatConflist({ name, subnetFile, version }: NetworkOptions): string {
  const plugin = {
    type: PLUGIN,
    ...(subnetFile === SUBNET_FILE_DEFAULT ? {} : { subnetFile }),
    delegate: { isDefaultGateway: true, hairpinMode: true },
  };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  return `${JSON.stringify({ cniVersion: version, name, plugins: [plugin, portmap] }, null, 2)}\n`;
}

/**
 * Links `program` and writes the network; `replace` also over a network file that was changed.
 * Gives sentences about what was done and what is still missing, or why nothing can be. Throws
 * `HostError`.
 */
export async function installCni({
  binDir,
  confDir,
  program,
  replace,
  ...network
}: InstallOptions &
  NetworkOptions & { readonly program: string; readonly replace: boolean }): Promise<
  Result<readonly string[], string>
> {
  const link = join(binDir, PLUGIN);
  const conf = join(confDir, CONF_FILE);
  const text = formatConflist(network);
  if (linkState(link) === "foreign" && link !== program) {
    return err(`"${link}" is there and is no link; move it away`);
  }
  const before = await readText(conf);
  if (before !== undefined && before !== text && !replace) {
    return err(`"${conf}" is there and says something else; look at it, or repeat with --replace`);
  }
  if (link !== program) putLink(link, program);
  await writeFileAtomic(conf, text, { mode: CONF_MODE });
  const missing = ["bridge", "host-local", "portmap"].filter(
    (name) => !existsSync(join(binDir, name)),
  );
  const lines = [`Linked ${link}`, `Wrote ${conf}`];
  if (missing.length === 0) return ok(lines);
  return ok([
    ...lines,
    `${binDir} has no ${missing.join(", ")}: a runtime that looks only there needs the CNI plugins in it (Debian's containernetworking-plugins are in /usr/lib/cni)`,
  ]);
}

/** Removes what `installCni` made; what is not ours stays. Gives the paths that went. */
export async function uninstallCni({ binDir, confDir }: InstallOptions): Promise<string[]> {
  const gone: string[] = [];
  const link = join(binDir, PLUGIN);
  if (linkState(link) === "link") gone.push(link);
  const conf = join(confDir, CONF_FILE);
  const plugins = parseRecord((await readText(conf)) ?? "")?.["plugins"];
  const isOurs = (plugin: unknown) => isRecord(plugin) && plugin["type"] === PLUGIN;
  if (Array.isArray(plugins) && plugins.some(isOurs)) gone.push(conf);
  for (const path of gone) attempt("remove", path, () => rmSync(path, { force: true }));
  return gone;
}

/** "foreign": something that we never make. */
function linkState(path: string): "absent" | "link" | "foreign" {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return "absent";
  return stat.isSymbolicLink() ? "link" : "foreign";
}

function putLink(link: string, program: string): void {
  attempt("link", link, () => {
    if (linkState(link) === "link") {
      if (readlinkSync(link) === program) return;
      rmSync(link);
    }
    mkdirSync(join(link, ".."), { recursive: true });
    symlinkSync(program, link);
  });
}

async function readText(path: string): Promise<string | undefined> {
  const bytes = await readFileIfAny(path);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString("utf8");
}

function attempt(operation: string, object: string, task: () => void): void {
  try {
    task();
  } catch (cause) {
    const errno = cause instanceof Error && "code" in cause ? String(cause.code) : "EIO";
    throw new HostError({ operation, object, errno, cause });
  }
}
