/**
 * `overlay snapshot`: backups of the cluster's state, and a new cluster out of one.
 *
 * @module
 */
import type { Command } from "commander";
import type { BackupView } from "../agent/backup-file.ts";
import { agentDataDir } from "./agent-settings.ts";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { confirm } from "./confirm.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";
import { formatBytes, formatJson, formatPlural, safe } from "./format.ts";

interface SaveOptions extends DataOptions {
  readonly local?: true;
}

interface RestoreOptions {
  readonly json?: true;
  readonly yes?: true;
  readonly force?: true;
  readonly dataDir?: string;
}

/** Adds the commands to `program`. */
export function addSnapshot(program: Command, cli: Cli): void {
  const snapshot = program.command("snapshot").description("save and restore the cluster's state");
  addSave(snapshot, cli);
  addInspect(snapshot, cli);
  addRestore(snapshot, cli);
}

function addSave(snapshot: Command, cli: Cli): void {
  const save = snapshot
    .command("save")
    .description("save config, leases, members and keys of the store in a file")
    .argument("<file>", "where to; whole, or not there at all")
    .option("--local", "what this node has, also without a quorum: it may be old");
  withExamples(withData(save), "overlay snapshot save /root/overlay.backup");
  save.action(
    cli.action(async (file: string, options: SaveOptions) => {
      const client = await cli.client(options);
      const consistency = options.local === true ? "serializable" : "linearizable";
      const answer = await client.backup(consistency);
      if (!answer.ok) return cli.fail("save a backup", answer.error);
      const { saveBackup } = await import("../agent/backup-file.ts");
      const view = await saveBackup(file, answer.value);
      const text =
        options.json === true
          ? formatJson(view)
          : `Saved ${safe(file)}: revision ${view.revision}, ${formatBytes(view.sizeBytes)}`;
      await cli.terminal.print(text);
      return EXIT_DONE;
    }),
  );
}

function addInspect(snapshot: Command, cli: Cli): void {
  const inspect = snapshot
    .command("inspect")
    .description("check a backup and say what is in it; needs no agent")
    .argument("<file>", 'what "overlay snapshot save" made')
    .option("--json", "print JSON");
  withExamples(inspect, "overlay snapshot inspect /root/overlay.backup");
  inspect.action(
    cli.action(async (file: string, options: { readonly json?: true }) => {
      const { openBackup } = await import("../agent/backup-file.ts");
      const { view } = await openBackup(file);
      await cli.terminal.print(options.json === true ? formatJson(view) : describe(view));
      return EXIT_DONE;
    }),
  );
}

function addRestore(snapshot: Command, cli: Cli): void {
  const restore = snapshot
    .command("restore")
    .description("make this node the first of a new cluster with what is in a backup")
    .argument("<file>", 'what "overlay snapshot save" made')
    .option("--yes", "do not ask")
    .option("--force", "also when this node's own cluster has other members")
    .option("--data-dir <path>", "the agent's, which must not run")
    .option("--json", "print JSON");
  withExamples(
    restore,
    "systemctl stop overlay",
    "overlay snapshot restore /root/overlay.backup",
    "systemctl start overlay",
  );
  restore.action(
    cli.action((file: string, options: RestoreOptions) => runRestore(cli, file, options)),
  );
}

async function runRestore(cli: Cli, file: string, options: RestoreOptions): Promise<number> {
  const { terminal } = cli;
  const settings = await agentDataDir(cli, options.dataDir);
  if (settings === undefined) return EXIT_FAILED;
  const { openBackup, restoreBackup } = await import("../agent/backup-file.ts");
  const { openStoppedNode, planRecovery } = await import("../agent/recovery.ts");
  const backup = await openBackup(file);
  using node = await openStoppedNode(settings.dataDir);
  const own = node.identity === undefined ? undefined : await planRecovery(node);
  const others = own?.members.filter((member) => !member.self) ?? [];
  if (others.length > 0 && options.force !== true) {
    await terminal.tell(
      `Cannot restore "${safe(file)}": this node is in a cluster with ` +
        `${safe(others.map(({ name }) => name).join(", "))}; ` +
        "leave it first, or give it up with --force",
    );
    return EXIT_FAILED;
  }
  if (options.json !== true) await terminal.print(`${describe(backup.view)}\n\n${EFFECT}`);
  const isWanted = await confirm(cli, `restore "${safe(file)}"`, options);
  if (isWanted !== EXIT_DONE) return isWanted;
  const restored = await restoreBackup(node, backup, settings.nodeName);
  await terminal.print(
    options.json === true
      ? formatJson(restored)
      : `Restored as cluster ${restored.clusterId} at revision ${restored.revision}\n${NEXT}`,
  );
  return EXIT_DONE;
}

const EFFECT = [
  "This node becomes the only member of a new cluster with this state.",
  "Its own state, if it has any, is given up. Nodes join the new cluster with a new token; each",
  "gets the subnet back that it had, by its node id or its address.",
].join("\n");
const NEXT =
  'Start the agent, then make a token with "overlay token" and have the other nodes join with --reset';

/** A backup in words. */
function describe(view: BackupView): string {
  const { madeBy, cluster, config } = view;
  const members = view.members.map(({ name }) => name).join(", ");
  const leases = view.leases.map(
    ({ subnet, node, publicIp }) => `  ${subnet}  ${publicIp}  ${nameOf(view, node)}`,
  );
  return [
    `Made      ${view.madeAt} by ${madeBy.name} (${madeBy.id}), overlay ${madeBy.program}`,
    `Cluster   ${cluster.id}, generation ${cluster.generation}, version ${cluster.version}`,
    `State     revision ${view.revision}, log index ${view.index}, term ${view.term}`,
    `Members   ${members === "" ? "none" : members}`,
    `Config    ${config === null ? "none" : JSON.stringify(config)}`,
    `Store     ${formatPlural(view.keys, "key")}, ${formatBytes(view.valueBytes)} of values`,
    `File      ${formatBytes(view.sizeBytes)}, whole and as it was saved`,
    `Leases    ${leases.length === 0 ? "none" : view.leases.length}`,
    ...leases,
  ]
    .map(safe)
    .join("\n");
}

function nameOf(view: BackupView, id: string): string {
  return view.members.find((member) => member.id === id)?.name ?? id;
}
