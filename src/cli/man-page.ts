/**
 * The man page overlay(8), made from the commands' own help. Pure.
 *
 * Source: man(7), the macros that groff and mandoc both know.
 *
 * @module
 */
import { AGENT_FLAGS, environmentName } from "../agent/flags.ts";
import { allCommands, type CommandNode } from "./command-tree.ts";

const EXIT_CODES: readonly (readonly [string, string])[] = [
  ["0", "done"],
  ["1", "failed"],
  ["2", "wrong usage"],
  ["3", "no agent answers"],
  ["4", "not in time, or no quorum"],
];

const FILES: readonly (readonly [string, string])[] = [
  ["/etc/overlay/overlay.env", "the agent's settings, one OVERLAY_NAME=value a line"],
  ["/var/lib/overlay/", "identity, keys, log and snapshots of this node"],
  ["/run/overlay/overlay.sock", "the admin API"],
  ["/run/overlay/subnet.env, /run/flannel/subnet.env", "this node's subnet, in flannel's format"],
];

/** The page in roff. */
export function manPage(program: CommandNode, version: string): string {
  const commands = allCommands(program).filter(({ children }) => children.length === 0);
  return [
    `.TH OVERLAY 8 "" "overlay ${roff(version)}" "System Manager's Manual"`,
    ".SH NAME",
    "overlay \\- overlay network: a subnet for each node, and packets between them",
    ".SH SYNOPSIS",
    ".B overlay",
    ".I command",
    "[options]",
    ".SH DESCRIPTION",
    `${roff(program.help)}.`,
    "Every node runs the same agent, which keeps who has which subnet in a replicated store of its",
    "own. A fresh agent is a cluster of one;",
    ".B overlay join",
    "moves it into another node's cluster.",
    ".SH COMMANDS",
    ...commands.flatMap(commandSection),
    ".SH EXIT STATUS",
    ...EXIT_CODES.flatMap(([code, text]) => item(code, text)),
    ".SH ENVIRONMENT",
    "Each flag of the agent may be given as a variable, as in",
    `.BR ${environmentName("log-level")}=${AGENT_FLAGS["log-level"].fallback ?? "info"} .`,
    ".SH FILES",
    ...FILES.flatMap(([path, text]) => item(path, text)),
    ".SH SEE ALSO",
    ".BR curl (1),",
    ".BR systemctl (1),",
    ".BR ip (8)",
    "",
  ].join("\n");
}

function commandSection({ path, usage, help, options }: CommandNode): string[] {
  return [
    `.SS ${roff(path)} ${roff(usage)}`,
    `${capitalize(roff(help))}.`,
    ...options
      .filter(({ long }) => long !== "--help")
      .flatMap(({ flags, help: text }) => item(flags, text)),
  ];
}

function item(term: string, text: string): string[] {
  return [".TP", `\\fB${roff(term)}\\fR`, roff(text)];
}

/** Text that roff takes as text: no escape, no hyphen that becomes a dash, no request. */
function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("\n", " ")
    .replace(/^([.'])/, "\\&$1");
}

function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
