/**
 * `overlay uninstall`: leaves the cluster, stops the agent and takes everything from this machine
 * that overlay put there, this executable last.
 *
 * What a package manager installed it leaves to the package manager, whose own removal runs this
 * first with `--keep-data`: later there is no program to do it.
 *
 * @module
 */
import type { Command } from "commander";
import type { AgentConfig } from "../agent/config.ts";
import { agentSettings, SETTINGS_FOLDER } from "./agent-settings.ts";
import { type AgentOptions, type Cli, withAgent, withExamples } from "./cli.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";
import { exitCodeOf, explainFailure } from "./failure.ts";
import { safe } from "./format.ts";

/** Where packages put programs, and nobody else. */
const PACKAGED_PATTERN = /^\/usr\/s?bin\//;
const CNI_FOLDERS = { binDir: "/opt/cni/bin", confDir: "/etc/cni/net.d" };

interface UninstallOptions extends AgentOptions {
  readonly force?: true;
  readonly keepData?: true;
}

/** Adds the command to `program`. */
export function addUninstall(program: Command, cli: Cli): void {
  const command = program
    .command("uninstall")
    .description("leave the cluster and remove overlay from this machine, with all its data")
    .option("--force", "also when no agent answers or the cluster cannot be told")
    .option("--keep-data", "stay a member; keep identity, store, settings and the program");
  withExamples(withAgent(command), "overlay uninstall", "overlay uninstall --force");
  command.action(cli.action((options: UninstallOptions) => uninstall(cli, options)));
}

async function uninstall(cli: Cli, options: UninstallOptions): Promise<number> {
  const { terminal } = cli;
  const config = await agentSettings(cli);
  if (config === undefined) return EXIT_FAILED;
  const keepsData = options.keepData === true;
  const left = keepsData ? EXIT_DONE : await leave(cli, options);
  if (left !== EXIT_DONE) return left;
  const service = await import("../integrations/systemd/service.ts");
  if (!keepsData) await service.disableService();
  await service.stopService();
  const { removeTraces } = await import("../agent/uninstall.ts");
  const unmet = await removeTraces(config);
  for (const { operation, object, reason } of unmet) {
    await terminal.tell(safe(`Cannot ${operation} ${object}: ${reason}; remove it by hand`));
  }
  const gone = await removeFiles(config, keepsData);
  await service.forgetService();
  await terminal.print(gone.map((path) => `Removed ${safe(path)}`).join("\n"));
  if (isPackaged() && !keepsData) {
    const next = '"apt purge overlay" or "dnf remove overlay" removes it';
    await terminal.tell(`The program itself belongs to a package; ${next}`);
  }
  return unmet.length === 0 ? EXIT_DONE : EXIT_FAILED;
}

async function leave(cli: Cli, options: UninstallOptions): Promise<number> {
  const answer = await (await cli.client(options)).leave();
  if (answer.ok) {
    await cli.terminal.tell(`Left cluster ${safe(answer.value.clusterId)}`);
    return EXIT_DONE;
  }
  if (options.force === true) return EXIT_DONE;
  const why = explainFailure("leave the cluster", answer.error);
  const next = '"overlay uninstall --force" goes on without, and leaves a member behind';
  await cli.terminal.tell(`${why}. ${next}`);
  return exitCodeOf(answer.error);
}

async function removeFiles(config: AgentConfig, keepsData: boolean): Promise<string[]> {
  const { dataDir, runDir, subnetFile } = config;
  const files = await import("../integrations/systemd/installed-files.ts");
  const { uninstallCni } = await import("../integrations/cni/install.ts");
  const cni = await uninstallCni(CNI_FOLDERS);
  const state = [runDir, ...(subnetFile === undefined ? [] : [subnetFile])];
  const data = keepsData ? [] : [dataDir, SETTINGS_FOLDER];
  const removed = files.removePaths([...state, ...data, ...files.dropIns()]);
  if (keepsData || isPackaged() || !isInstalled()) return [...cni, ...removed];
  return [...cni, ...removed, ...files.removePaths(files.installedFiles(process.execPath))];
}

function isPackaged(): boolean {
  return PACKAGED_PATTERN.test(process.execPath);
}

/** Not a run from source, nor an executable in a folder where somebody builds it. */
function isInstalled(): boolean {
  return Bun.main.startsWith("/$bunfs/") && process.execPath.endsWith("/bin/overlay");
}
