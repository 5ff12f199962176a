/**
 * `overlay agent`: runs the agent in the foreground; what systemd starts.
 *
 * Parses its flags and hands over. The agent is loaded only here, so that no other command waits
 * for it, and none of the other commands' parts is loaded with it.
 *
 * @module
 */
import { type Command, Option } from "commander";
import { type AgentFlags, parseAgentConfig } from "../agent/config.ts";
import { AGENT_FLAGS, type AgentFlag, type AgentFlagName } from "../agent/flags.ts";
import { type Cli, withExamples } from "./cli.ts";

/** Adds the command to `program`. */
export function addAgent(program: Command, cli: Cli): void {
  const command = program
    .command("agent")
    .description("run the agent in the foreground")
    .addHelpText(
      "after",
      "\nEach flag may be given as an environment variable too: --data-dir as OVERLAY_DATA_DIR.",
    );
  for (const [name, flag] of flagEntries()) command.addOption(agentOption(name, flag));
  withExamples(
    command,
    "overlay agent",
    "OVERLAY_LOG_LEVEL=debug overlay agent --iface eth1 --subnet-file none",
  );
  command.action(
    cli.action(async () => {
      const config = parseAgentConfig(readFlags(command), cli.terminal.env);
      if (!config.ok) return cli.refuse(config.error);
      const { startAgent } = await import("../agent/agent.ts");
      return startAgent(config.value);
    }),
  );
}

function flagEntries(): [AgentFlagName, AgentFlag][] {
  const names = Object.keys(AGENT_FLAGS) as AgentFlagName[];
  return names.map((name) => [name, AGENT_FLAGS[name]]);
}

/** Values stay text here: `parseAgentConfig` reads flags and variables in the same way. */
function agentOption(name: AgentFlagName, flag: AgentFlag): Option {
  const fallback = flag.fallbackHelp ?? flag.fallback;
  const help = fallback === undefined ? flag.help : `${flag.help} (default: ${fallback})`;
  const value = flag.boolean === true ? `[${flag.placeholder}]` : `<${flag.placeholder}>`;
  const option = new Option(`--${name} ${value}`, help);
  if (flag.repeatable === true) {
    option.argParser((text: string, earlier: readonly string[] = []) => [...earlier, text]);
  }
  return option;
}

function readFlags(command: Command): AgentFlags {
  const flags: Partial<Record<AgentFlagName, string | readonly string[]>> = {};
  for (const option of command.options) {
    const [name] = flagEntries().find(([each]) => each === option.name()) ?? [];
    const value: unknown = command.getOptionValue(option.attributeName());
    if (name === undefined) continue;
    if (typeof value === "string") flags[name] = value;
    if (value === true) flags[name] = "true";
    if (Array.isArray(value)) flags[name] = value.map(String);
  }
  return flags;
}
