/**
 * `overlay man` (not listed): the man page, for install.sh and packages.
 *
 * @module
 */
import type { Command } from "commander";
import { VERSION } from "../base/version.ts";
import { type Cli, withExamples } from "./cli.ts";
import { describeCommand, topOf } from "./command-tree.ts";
import { EXIT_DONE } from "./exit-code.ts";

/** Adds the command to `program`. */
export function addMan(program: Command, cli: Cli): void {
  const command = program.command("man", { hidden: true }).description("print the man page");
  withExamples(command, "overlay man | man -l -");
  command.action(
    cli.action(async () => {
      const { manPage } = await import("./man-page.ts");
      await cli.terminal.print(manPage(describeCommand(topOf(command)), VERSION).trimEnd());
      return EXIT_DONE;
    }),
  );
}
