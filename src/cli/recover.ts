/**
 * `overlay recover --force-new-cluster`: goes on with this node alone when the majority of the
 * voters is lost for good. With or without a running agent.
 *
 * @module
 */
import type { Command } from "commander";
import type { RecoveredView, RecoveryView } from "../admin/service.ts";
import { agentDataDir } from "./agent-settings.ts";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { confirm } from "./confirm.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";
import { formatJson, formatPlural, safe } from "./format.ts";

interface RecoverOptions extends DataOptions {
  readonly forceNewCluster?: true;
  readonly yes?: true;
  readonly dataDir?: string;
}

/** Adds the command to `program`. */
export function addRecover(program: Command, cli: Cli): void {
  const recover = program
    .command("recover")
    .description("make a new cluster out of this node when most voters are lost for good")
    .option("--force-new-cluster", "needed: this cannot be undone")
    .option("--yes", "do not ask")
    .option("--data-dir <path>", "the agent's, for when it does not run");
  withExamples(withData(recover), "overlay recover --force-new-cluster");
  recover.action(cli.action((options: RecoverOptions) => runRecover(cli, options)));
}

async function runRecover(cli: Cli, options: RecoverOptions): Promise<number> {
  if (options.forceNewCluster !== true) {
    return cli.refuse(
      "Cannot recover: this node would become a cluster of its own, and what it does not have " +
        'would be lost; say so with --force-new-cluster, and see "overlay status" first',
    );
  }
  const client = await cli.client(options);
  const plan = options.dataDir === undefined ? await client.recovery() : undefined;
  if (plan !== undefined && !plan.ok && plan.error.kind !== "no_agent") {
    return cli.fail("recover", plan.error);
  }
  if (plan?.ok !== true) return recoverStoppedNode(cli, options);
  if (plan.value.quorum === true) {
    await cli.terminal.tell(
      "Cannot recover: the cluster has a leader with a quorum; " +
        'take lost nodes out with "overlay member remove"',
    );
    return EXIT_FAILED;
  }
  const isWanted = await ask(cli, plan.value, options);
  if (isWanted !== EXIT_DONE) return isWanted;
  const answer = await client.recover(plan.value.cluster.id);
  return cli.show("recover", answer, options, wordResult);
}

async function recoverStoppedNode(cli: Cli, options: RecoverOptions): Promise<number> {
  const settings = await agentDataDir(cli, options.dataDir);
  if (settings === undefined) return EXIT_FAILED;
  const { openStoppedNode, planRecovery, recoverStopped } = await import("../agent/recovery.ts");
  using node = await openStoppedNode(settings.dataDir);
  const isWanted = await ask(cli, await planRecovery(node), options);
  if (isWanted !== EXIT_DONE) return isWanted;
  const recovered = await recoverStopped(node);
  await cli.terminal.print(
    options.json === true ? formatJson(recovered) : `${wordResult(recovered)}\nStart the agent now`,
  );
  return EXIT_DONE;
}

async function ask(cli: Cli, plan: RecoveryView, options: RecoverOptions): Promise<number> {
  if (options.json !== true) await cli.terminal.print(wordPlan(plan));
  return confirm(cli, "recover", options);
}

function wordPlan(plan: RecoveryView): string {
  const { cluster, node, members, leaderlessSeconds } = plan;
  const names = (list: readonly { readonly name: string }[]) =>
    list.length === 0 ? "none" : list.map(({ name }) => name).join(", ");
  const voters = members.filter(({ voter }) => voter);
  const heard =
    leaderlessSeconds === null ? "not known, no agent runs here" : `${leaderlessSeconds} s ago`;
  return [
    `Cluster       ${cluster.id}, generation ${cluster.generation}`,
    `Leader heard  ${heard}`,
    `Voters        ${names(voters)}`,
    `Kept          revision ${plan.revision}, log index ${plan.index}, ` +
      `${formatPlural(plan.leases, "lease")}, as ${node.name} has them`,
    `Given up      ${names(members.filter(({ self }) => !self))}: they join again with --reset`,
    "",
    "What was acknowledged and did not reach this node is lost. If the voters may come back, wait",
    "for them instead. Do this on one node only: two of them make two clusters.",
  ]
    .map(safe)
    .join("\n");
}

function wordResult({ clusterId, generation, revision }: RecoveredView): string {
  return [
    `Recovered as cluster ${safe(clusterId)}, generation ${generation}, at revision ${revision}`,
    'Make a token with "overlay token", and have the other nodes join with --reset',
  ].join("\n");
}
