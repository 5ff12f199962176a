/**
 * `overlay import flannel`: takes over config and subnets of a flannel network, after showing what
 * that would be.
 *
 * @module
 */
import type { Command } from "commander";
import type { ImportView } from "../admin/service.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { EtcdOptions } from "../integrations/flannel/flanneld-options.ts";
import type { ImportPlan } from "../integrations/flannel/import-plan.ts";
import type { FlannelFound, OptionsFound } from "../integrations/flannel/read-flannel.ts";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { EXIT_FAILED } from "./exit-code.ts";
import { formatPlural, safe } from "./format.ts";

const PASSWORD_VARIABLE = "FLANNELD_ETCD_PASSWORD";

interface ImportOptions extends DataOptions {
  readonly etcd?: readonly string[];
  readonly file?: string;
  readonly prefix?: string;
  readonly etcdCafile?: string;
  readonly etcdCertfile?: string;
  readonly etcdKeyfile?: string;
  readonly etcdUsername?: string;
  readonly optionsFile?: string;
  readonly yes?: true;
}

/** Adds the command to `program`. */
export function addImport(program: Command, cli: Cli): void {
  const group = program.command("import").description("take over a network from elsewhere");
  withExamples(group, "overlay import flannel --etcd http://192.0.2.1:2379");
  const command = withData(group.command("flannel"))
    .description("take over flannel's config and leases; each node keeps its subnet")
    .option("--etcd <url>", "of flannel's etcd; repeatable", collect)
    .option("--file <file>", "in its place, what etcdctl get --prefix -w json printed")
    .option("--prefix <key>", "flannel's etcd prefix (default: /coreos.com/network)")
    .option("--etcd-cafile <file>", "CA of etcd's certificate")
    .option("--etcd-certfile <file>", "certificate to show to etcd")
    .option("--etcd-keyfile <file>", "and its key")
    .option("--etcd-username <name>", `with the password in $${PASSWORD_VARIABLE}, or asked for`)
    .option("--options-file <file>", "flanneld's (default: /etc/{sysconfig,default}/flanneld)")
    .option("--yes", "write without asking");
  withExamples(
    command,
    "overlay import flannel --etcd http://192.0.2.1:2379",
    "etcdctl get --prefix /coreos.com/network -w json > dump.json",
    "overlay import flannel --file dump.json",
  );
  command.action(cli.action((options: ImportOptions) => importFlannel(cli, options)));
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...text.split(",")];
}

async function importFlannel(cli: Cli, options: ImportOptions): Promise<number> {
  const { readFlannel, readOptionsFile } = await import("../integrations/flannel/read-flannel.ts");
  const { planImport } = await import("../integrations/flannel/import-plan.ts");
  const { optionsFile } = options;
  const file = readOptionsFile(optionsFile === undefined ? undefined : [optionsFile]);
  if (file === undefined && optionsFile !== undefined) {
    return cli.refuse(`Cannot import flannel's network: no options file "${safe(optionsFile)}"`);
  }
  const etcd = await etcdOptions(cli, options, file);
  if (!etcd.ok) return cli.refuse(`Cannot import flannel's network: ${etcd.error}`);
  const found = await readFlannel({ file: options.file, etcd: etcd.value });
  if (!found.ok) {
    const next = "see overlay import flannel --help";
    await cli.terminal.tell(safe(`Cannot read flannel's network: ${found.error}; ${next}`));
    return EXIT_FAILED;
  }
  const plan = planImport(found.value.network);
  const text = describePlan(plan, found.value, file);
  // With --json standard output is for the answer.
  await (options.json === true ? cli.terminal.tell(text) : cli.terminal.print(text));
  return await writePlan(cli, plan, options);
}

/** What the user says wins over flanneld's own options. */
async function etcdOptions(
  cli: Cli,
  options: ImportOptions,
  file: OptionsFound | undefined,
): Promise<Result<EtcdOptions, string>> {
  const known = file?.options.etcd;
  const endpoints = options.etcd ?? known?.endpoints ?? [];
  if (options.file === undefined && endpoints.length === 0) {
    return err("give --etcd or --file, to say where it is");
  }
  if (options.file !== undefined && options.etcd !== undefined) {
    return err("--etcd and --file are both given; one of them is enough");
  }
  const wrong = endpoints.find((url) => !/^https?:\/\/[^/]/.test(url));
  if (wrong !== undefined)
    return err(`"${safe(wrong)}" is not a URL such as http://192.0.2.1:2379`);
  const username = options.etcdUsername ?? known?.username;
  const isNeeded = username !== undefined && options.file === undefined;
  return ok({
    endpoints,
    prefix: options.prefix ?? known?.prefix,
    cafile: options.etcdCafile ?? known?.cafile,
    certfile: options.etcdCertfile ?? known?.certfile,
    keyfile: options.etcdKeyfile ?? known?.keyfile,
    username,
    password: isNeeded ? await findPassword(cli, username, known?.password) : undefined,
  });
}

/** Never from the command line, which others on the machine can see. */
async function findPassword(cli: Cli, username: string, known: string | undefined) {
  const given = cli.terminal.env[PASSWORD_VARIABLE] ?? known;
  if (given !== undefined || !cli.terminal.canAsk) return given;
  return await cli.terminal.ask(`Password of ${safe(username)} at etcd: `);
}

function describePlan(
  { config, notes, reservations }: ImportPlan,
  { from, network }: FlannelFound,
  file: OptionsFound | undefined,
): string {
  const pinned = network.leases.filter(({ reserved }) => reserved).length;
  const kinds = pinned === 0 ? "" : `, ${pinned} of them without an end`;
  const { carried = [], ignored = [] } = file?.options ?? {};
  const others = ignored.map((name) => `--${name}`).join(" ");
  const lines = [
    `From ${from}: ${formatPlural(network.leases.length, "lease")}${kinds}`,
    `Config: ${JSON.stringify(config)}`,
    ...reservations.map(({ publicIp, subnet }) => `Keep ${subnet} for the node at ${publicIp}`),
    ...notes.map((note) => `Note: ${note}`),
    ...carried.map((line) => `For /etc/overlay/overlay.env, from ${file?.path}: ${line}`),
    ...(others === "" ? [] : [`Not carried over from ${file?.path}: ${others}`]),
  ];
  return lines.map(safe).join("\n");
}

async function writePlan(cli: Cli, plan: ImportPlan, options: ImportOptions): Promise<number> {
  const action = "import flannel's network";
  const client = await cli.client(options);
  const current = await client.getConfig();
  if (!current.ok && current.error.kind !== "no_config") return cli.fail(action, current.error);
  const revision = current.ok ? current.value.revision : 0;
  // Also says what is wrong with the config before anybody is asked about it.
  const tried = await client.putConfig(JSON.stringify(plan.config), {
    dryRun: true,
    expectedRevision: current.ok ? revision : undefined,
  });
  if (!tried.ok) return cli.fail(action, tried.error);
  if (tried.value.plan.renumbered.length > 0) {
    const { length } = tried.value.plan.renumbered;
    const leases = formatPlural(length, "lease");
    await cli.terminal.tell(
      `Cannot ${action}: ${leases} of this cluster would not fit its config; import into a cluster without leases`,
    );
    return EXIT_FAILED;
  }
  if (options.yes !== true) {
    const answer = cli.terminal.canAsk
      ? await cli.terminal.ask("Write this to the cluster? [y/N] ")
      : undefined;
    if (!/^y(es)?$/i.test(answer?.trim() ?? "")) {
      await cli.terminal.tell("Nothing was written; repeat it with --yes to write");
      return EXIT_FAILED;
    }
  }
  const { config, reservations } = plan;
  const answer = await client.importNetwork({ config, reservations }, revision);
  return await cli.show(action, answer, options, describeAnswer);
}

function describeAnswer({ reservations, revision }: ImportView): string {
  const kept = formatPlural(reservations.length, "subnet");
  return `Imported at revision ${revision}, ${kept} kept; let the nodes join: overlay token`;
}
