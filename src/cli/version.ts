/**
 * `overlay version`: the version of this executable, and of the agent when that is another one.
 *
 * Needs no agent: one that does not answer is nothing worth an error here.
 *
 * @module
 */
import type { Command } from "commander";
import { VERSION } from "../base/version.ts";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { EXIT_DONE } from "./exit-code.ts";
import { formatJson, safe } from "./format.ts";

/** Adds the command to `program`. */
export function addVersion(program: Command, cli: Cli): void {
  const command = program.command("version").description("print the version");
  withExamples(withData(command), "overlay version", "overlay version --json");
  command.action(
    cli.action(async (options: DataOptions) => {
      const status = await (await cli.client(options)).status();
      const agent = status.ok ? status.value.node.version : null;
      if (options.json === true) {
        await cli.terminal.print(formatJson({ version: VERSION, agent }));
        return EXIT_DONE;
      }
      await cli.terminal.print(`overlay ${VERSION}`);
      if (agent !== null && agent !== VERSION) {
        await cli.terminal.tell(
          `The running agent has version ${safe(agent)}; restart it to have this one`,
        );
      }
      return EXIT_DONE;
    }),
  );
}
