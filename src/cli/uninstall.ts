/**
 * `overlay uninstall`: leaves the cluster, stops the agent and takes everything from this machine
 * that overlay put there, this executable last.
 *
 * What a package manager installed it leaves to the package manager.
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
}

/** Adds the command to `program`. */
export function addUninstall(program: Command, cli: Cli): void {
  const command = program
    .command("uninstall")
    .description("leave the cluster and remove overlay from this machine, with all its data")
    .option("--force", "also when no agent answers or the cluster cannot be told");
  withExamples(withAgent(command), "overlay uninstall", "overlay uninstall --force");
  command.action(cli.action((options: UninstallOptions) => uninstall(cli, options)));
}

async function uninstall(cli: Cli, options: UninstallOptions): Promise<number> {
  const { terminal } = cli;
  const config = await agentSettings(cli);
  if (config === undefined) return EXIT_FAILED;
  const left = await leave(cli, options);
  if (left !== EXIT_DONE) return left;
  const { stopService, forgetService } = await import("../integrations/systemd/service.ts");
  await stopService();
  const { removeTraces } = await import("../agent/uninstall.ts");
  const unmet = await removeTraces(config);
  for (const { operation, object, reason } of unmet) {
    await terminal.tell(safe(`Cannot ${operation} ${object}: ${reason}; remove it by hand`));
  }
  const gone = await removeFiles(config);
  await forgetService();
  await terminal.print(gone.map((path) => `Removed ${safe(path)}`).join("\n"));
  if (isPackaged()) {
    await terminal.tell('The program itself belongs to a package; "apt purge overlay" removes it');
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

async function removeFiles({ dataDir, runDir, subnetFile }: AgentConfig): Promise<string[]> {
  const files = await import("../integrations/systemd/installed-files.ts");
  const { uninstallCni } = await import("../integrations/cni/install.ts");
  const cni = await uninstallCni(CNI_FOLDERS);
  const own = [runDir, ...(subnetFile === undefined ? [] : [subnetFile]), dataDir];
  const removed = files.removePaths([...own, SETTINGS_FOLDER]);
  if (isPackaged() || !isInstalled()) return [...cni, ...removed];
  return [...cni, ...removed, ...files.removePaths(files.installedFiles(process.execPath))];
}

function isPackaged(): boolean {
  return PACKAGED_PATTERN.test(process.execPath);
}

/** Not a run from source, nor an executable in a folder where somebody builds it. */
function isInstalled(): boolean {
  return Bun.main.startsWith("/$bunfs/") && process.execPath.endsWith("/bin/overlay");
}
