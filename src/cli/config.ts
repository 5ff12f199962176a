/**
 * `overlay config get|set|plan`: the network config of the cluster.
 *
 * The text of a config goes to the agent as it was given, so that what is wrong with it is told
 * with its position, and in the same words as over HTTP.
 *
 * @module
 */
import type { Command } from "commander";
import type { ConfigPlanView } from "../admin/service.ts";
import { type Cli, type DataOptions, wholeNumber, withData, withExamples } from "./cli.ts";
import { EXIT_FAILED } from "./exit-code.ts";
import { formatJson, formatPlural, safe } from "./format.ts";
import { readTextArgument } from "./text-argument.ts";

interface SetOptions extends DataOptions {
  readonly ifRevision?: number;
  readonly renumber?: true;
  readonly dryRun?: true;
}

const CONFIG_ARGUMENT = 'the config in JSON, "-" for standard input, or "@file"';

const RENUMBER_PLANNED =
  "These need --renumber. Each node then has both subnets until nothing on it uses the old one";
const RENUMBER_BEGUN =
  "Packets flow in both networks. Restart containers node by node; overlay status shows who is left";

/** Adds the command to `program`. */
export function addConfig(program: Command, cli: Cli): void {
  const config = program.command("config").description("show or change the network config");
  withExamples(
    config,
    "overlay config get",
    `overlay config set '{"Network":"10.0.0.0/16"}'`,
    "overlay config plan @network.json",
  );
  addGet(config, cli);
  addSet(config, cli);
  addPlan(config, cli);
}

function addGet(config: Command, cli: Cli): void {
  const command = config.command("get").description("print the network config, as set takes it");
  withExamples(
    withData(command),
    "overlay config get",
    "overlay config get --json  # and revision",
  );
  command.action(
    cli.action(async (options: DataOptions) => {
      const answer = await (await cli.client(options)).getConfig();
      return cli.show("show the network config", answer, options, (view) =>
        formatJson(view.config),
      );
    }),
  );
}

function addSet(config: Command, cli: Cli): void {
  const command = config
    .command("set")
    .description("set the network config")
    .argument("<config>", CONFIG_ARGUMENT)
    .option("--dry-run", "show what would happen and change nothing, as plan does")
    .option("--renumber", "let nodes move to other subnets, each beside its old one at first")
    .option(
      "--if-revision <number>",
      "only if the config is at this revision",
      wholeNumber(0, Number.MAX_SAFE_INTEGER),
    );
  withExamples(
    withData(command),
    `overlay config set '{"Network":"10.0.0.0/16"}'`,
    "overlay config set --if-revision 12 @network.json",
  );
  command.action(
    cli.action((argument: string, options: SetOptions) => putConfig(cli, argument, options)),
  );
}

function addPlan(config: Command, cli: Cli): void {
  const command = config
    .command("plan")
    .description("show what a network config would change, and change nothing")
    .argument("<config>", CONFIG_ARGUMENT);
  withExamples(withData(command), `overlay config plan '{"Network":"10.0.0.0/12"}'`);
  command.action(
    cli.action((argument: string, options: DataOptions) =>
      putConfig(cli, argument, { ...options, dryRun: true }),
    ),
  );
}

async function putConfig(cli: Cli, argument: string, options: SetOptions): Promise<number> {
  const text = await readTextArgument(argument, cli.terminal);
  if (!text.ok) {
    await cli.terminal.tell(text.error);
    return EXIT_FAILED;
  }
  const dryRun = options.dryRun === true;
  const client = await cli.client(options);
  const answer = await client.putConfig(text.value, {
    dryRun,
    renumber: options.renumber === true,
    expectedRevision: options.ifRevision,
  });
  const action = dryRun ? "plan the network config" : "set the network config";
  return cli.show(action, answer, options, ({ revision, config, plan }) => {
    const network = safe(String(config["Network"] ?? config["IPv6Network"] ?? "the config"));
    const room = `${network}, room for ${formatPlural(plan.capacity, "subnet")}`;
    const head = dryRun
      ? `Would set ${room} (nothing changed, still at revision ${revision})`
      : `Set ${room}, at revision ${revision}`;
    return [head, ...planLines(plan, dryRun)].join("\n");
  });
}

function planLines({ kept, renumbered }: ConfigPlanView, dryRun: boolean): string[] {
  const done = dryRun ? "would be " : "";
  const lines: string[] = [];
  if (kept.length > 0) lines.push(`${formatPlural(kept.length, "lease")} ${done}kept`);
  if (renumbered.length > 0) {
    lines.push(`${formatPlural(renumbered.length, "lease")} ${done}renumbered:`);
    for (const { subnet, node } of renumbered) lines.push(`  ${safe(subnet)}  ${safe(node)}`);
    lines.push(dryRun ? RENUMBER_PLANNED : RENUMBER_BEGUN);
  }
  return lines;
}
