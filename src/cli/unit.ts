/**
 * `overlay unit` (not listed): the systemd unit, for install.sh and packages. The executable brings
 * its own, so that the two always belong to each other.
 *
 * @module
 */
import type { Command } from "commander";
import { type Cli, withExamples } from "./cli.ts";
import { EXIT_DONE } from "./exit-code.ts";

const EXECUTABLE_DEFAULT = "/usr/local/bin/overlay";

/** Adds the command to `program`. */
export function addUnit(program: Command, cli: Cli): void {
  const command = program
    .command("unit", { hidden: true })
    .description("print the systemd unit")
    .option("--executable <path>", "what the unit starts", EXECUTABLE_DEFAULT);
  withExamples(command, "overlay unit --executable /usr/bin/overlay");
  command.action(
    cli.action(async ({ executable }: { readonly executable: string }) => {
      const { systemdUnit } = await import("../integrations/systemd/packaged.ts");
      const unit = systemdUnit(executable);
      if (unit === undefined) {
        const next = "give an absolute path of letters, digits and /._+-";
        return cli.refuse(`Cannot print the unit: "${executable}" is no usable path; ${next}`);
      }
      await cli.terminal.print(unit.trimEnd());
      return EXIT_DONE;
    }),
  );
}
