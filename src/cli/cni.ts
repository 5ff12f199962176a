/**
 * `overlay cni install|uninstall`: the plugin and its network, for podman, containerd and CRI-O.
 *
 * The plugin itself is this same executable, started without arguments by a runtime.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { SUBNET_FILE_DEFAULT } from "../integrations/cni/call.ts";
import { CNI_VERSIONS, type CniVersion, parseVersion } from "../integrations/cni/versions.ts";
import { type Cli, withExamples } from "./cli.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";
import { safe } from "./format.ts";

/** What nearly all plugins out there speak; runtimes take the newest that all of a network do. */
const VERSION_DEFAULT: CniVersion = "1.0.0";

interface FolderOptions {
  readonly binDir: string;
  readonly confDir: string;
}

interface InstallCommandOptions extends FolderOptions {
  readonly name: string;
  readonly cniVersion: CniVersion;
  readonly subnetFile: string;
  readonly replace?: true;
}

/** Adds the command to `program`. */
export function addCni(program: Command, cli: Cli): void {
  const cni = program
    .command("cni")
    .description("be the CNI plugin of podman, containerd and CRI-O on this node");
  withExamples(cni, "overlay cni install", "podman run --network overlay …");
  addInstall(cni, cli);
  addUninstall(cni, cli);
}

function addInstall(cni: Command, cli: Cli): void {
  const command = withFolders(cni.command("install"))
    .description("link the plugin and write a network that uses it")
    .option("--name <name>", "name of the network", "overlay")
    .option("--cni-version <version>", "of the network", parseCniVersion, VERSION_DEFAULT)
    .option("--subnet-file <file>", "the agent's subnet.env", SUBNET_FILE_DEFAULT)
    .option("--replace", "also over a network file that was changed");
  withExamples(command, "overlay cni install", "overlay cni install --bin-dir /usr/lib/cni");
  command.action(cli.action((options: InstallCommandOptions) => install(cli, options)));
}

async function install(cli: Cli, options: InstallCommandOptions): Promise<number> {
  const { installCni } = await import("../integrations/cni/install.ts");
  const { cniVersion: version, replace = false } = options;
  const result = await installCni({ ...options, version, replace, program: process.execPath });
  if (!result.ok) {
    await cli.terminal.tell(safe(`Cannot install the CNI plugin: ${result.error}`));
    return EXIT_FAILED;
  }
  await cli.terminal.print(result.value.map(safe).join("\n"));
  return EXIT_DONE;
}

function addUninstall(cni: Command, cli: Cli): void {
  const command = withFolders(cni.command("uninstall")).description("remove what install made");
  withExamples(command, "overlay cni uninstall");
  command.action(
    cli.action(async (options: FolderOptions) => {
      const { uninstallCni } = await import("../integrations/cni/install.ts");
      const gone = await uninstallCni(options);
      const lines = gone.map((path) => `Removed ${path}`);
      await cli.terminal.print(lines.length === 0 ? "Nothing to remove" : lines.join("\n"));
      return EXIT_DONE;
    }),
  );
}

function withFolders(command: Command): Command {
  return command
    .option("--bin-dir <folder>", "where runtimes look for plugins", "/opt/cni/bin")
    .option("--conf-dir <folder>", "where they look for networks", "/etc/cni/net.d");
}

function parseCniVersion(text: string): CniVersion {
  const version = parseVersion(text);
  if (version !== undefined) return version;
  throw new InvalidArgumentError(`expected one of ${CNI_VERSIONS.join(", ")}.`);
}
