/**
 * The agent's settings, for commands that work on its files: the unit's file, then the environment.
 *
 * @module
 */
import { type AgentConfig, parseAgentConfig } from "../agent/config.ts";
import type { Cli } from "./cli.ts";
import { safe } from "./format.ts";

/** The agent's settings, as the unit reads them. */
export const SETTINGS_FOLDER = "/etc/overlay";

/** What an agent of this machine would run with; undefined, and told, when that makes no sense. */
export async function agentSettings(cli: Cli): Promise<AgentConfig | undefined> {
  const { existsSync, readFileSync } = await import("node:fs");
  const { parseShellVariables } = await import("../integrations/flannel/shell-variables.ts");
  const path = `${SETTINGS_FOLDER}/overlay.env`;
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const env = { ...Object.fromEntries(parseShellVariables(text)), ...cli.terminal.env };
  const config = parseAgentConfig({}, env);
  if (config.ok) return config.value;
  await cli.terminal.tell(safe(config.error));
  return undefined;
}

/** Where the agent keeps its data: where `option` says, or its settings. */
export async function agentDataDir(
  cli: Cli,
  option: string | undefined,
): Promise<Pick<AgentConfig, "dataDir" | "nodeName"> | undefined> {
  const settings = await agentSettings(cli);
  if (settings === undefined || option === undefined) return settings;
  return { ...settings, dataDir: option };
}
