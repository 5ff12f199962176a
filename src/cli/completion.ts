/**
 * `overlay completion bash|zsh|fish`: prints the completion script of a shell.
 *
 * @module
 */
import { Argument, type Command } from "commander";
import { type Cli, withExamples } from "./cli.ts";
import { type CommandNode, describeCommand, topOf } from "./command-tree.ts";
import { bashCompletion, fishCompletion, zshCompletion } from "./completion-scripts.ts";
import { EXIT_DONE } from "./exit-code.ts";

const SCRIPTS: Readonly<Record<string, (program: CommandNode) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** Adds the command to `program`. */
export function addCompletion(program: Command, cli: Cli): void {
  const command = program
    .command("completion")
    .description("print the completion script of a shell")
    .addArgument(new Argument("<shell>", "which shell").choices(Object.keys(SCRIPTS)));
  withExamples(
    command,
    "overlay completion bash > /etc/bash_completion.d/overlay",
    "overlay completion fish > ~/.config/fish/completions/overlay.fish",
  );
  command.action(
    cli.action(async (shell: string) => {
      const script = SCRIPTS[shell]!(describeCommand(topOf(command)));
      await cli.terminal.print(script.trimEnd());
      return EXIT_DONE;
    }),
  );
}
