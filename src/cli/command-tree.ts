/**
 * All commands with their options, as data: what completion and the man page are made from, so that
 * neither knows a command that is not there.
 *
 * @module
 */
import type { Command } from "commander";

export interface OptionNode {
  /** As the help writes it: "-h, --help", "--timeout <seconds>". */
  readonly flags: string;
  /** "--timeout". */
  readonly long: string;
  readonly help: string;
}

export interface CommandNode {
  /** With the names above it: "overlay config set". */
  readonly path: string;
  readonly name: string;
  readonly help: string;
  /** Arguments and options, without the path: "[options] <peer>". */
  readonly usage: string;
  readonly options: readonly OptionNode[];
  readonly children: readonly CommandNode[];
}

/** `command` and all below it; what the help does not list is left out. */
export function describeCommand(command: Command, above = ""): CommandNode {
  const help = command.createHelp();
  const path = `${above}${command.name()}`;
  return {
    path,
    name: command.name(),
    help: command.description(),
    usage: command.usage(),
    options: help.visibleOptions(command).map((option) => ({
      flags: option.flags,
      long: option.long ?? option.short ?? option.flags,
      help: help.optionDescription(option),
    })),
    children: help
      .visibleCommands(command)
      .filter((each) => each.name() !== "help")
      .map((each) => describeCommand(each, `${path} `)),
  };
}

/** `node` and all below it, in the order of the help. */
export function allCommands(node: CommandNode): readonly CommandNode[] {
  return [node, ...node.children.flatMap(allCommands)];
}

/** The program that `command` belongs to. */
export function topOf(command: Command): Command {
  return command.parent === null ? command : topOf(command.parent);
}
