/**
 * `overlay status`: this node, its cluster and its peers, what is wrong first.
 *
 * @module
 */
import type { Command } from "commander";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";

interface StatusOptions extends DataOptions {
  readonly all?: true;
}

/** Adds the command to `program`. */
export function addStatus(program: Command, cli: Cli): void {
  const command = program
    .command("status")
    .description("show this node, its cluster and its peers, what is wrong first")
    .option("--all", "show every peer, however many");
  withExamples(withData(command), "overlay status", "overlay status --json | jq .peers");
  command.action(
    cli.action(async (options: StatusOptions) => {
      const answer = await (await cli.client(options)).status();
      return cli.show("show the status", answer, options, async (status) => {
        const { formatStatus } = await import("./status-text.ts");
        const { columns, color } = cli.terminal;
        return formatStatus(status, { columns, color, allPeers: options.all === true });
      });
    }),
  );
}
