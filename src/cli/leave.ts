/**
 * `overlay leave`: takes this node out of its cluster.
 *
 * @module
 */
import type { Command } from "commander";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { safe } from "./format.ts";

/** Adds the command to `program`. */
export function addLeave(program: Command, cli: Cli): void {
  const command = program
    .command("leave")
    .description("leave the cluster: release the lease, remove links and routes");
  withExamples(withData(command), "overlay leave");
  command.action(
    cli.action(async (options: DataOptions) => {
      const answer = await (await cli.client(options)).leave();
      return cli.show("leave the cluster", answer, options, ({ clusterId }) =>
        [
          `Left cluster ${safe(clusterId)}`,
          'This node is a cluster of one again; "overlay join" takes it into another',
        ].join("\n"),
      );
    }),
  );
}
