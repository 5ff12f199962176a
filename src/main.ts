/**
 * The program: arguments in, exit code out. The only place that ends the process.
 *
 * A container runtime starts the same executable as its CNI plugin, once or twice for each
 * container: of the rest nothing is loaded then. No top-level `await`, so that the build can
 * compile to bytecode.
 *
 * @module
 */
import { readEnvironment } from "./agent/config.ts";
import { isPluginCall } from "./integrations/cni/plugin-call.ts";

const argv = process.argv.slice(2);
const env = readEnvironment();

// A rejection is our bug: it stays unhandled, which prints it and ends the process with code 1.
void (isPluginCall(argv, env) ? runAsPlugin() : runAsCommand()).then((code) => {
  process.exit(code);
});

async function runAsCommand(): Promise<number> {
  if (argv[0] === "agent") {
    const { tuneRuntime } = await import("./agent/runtime-tuning.ts");
    tuneRuntime(env);
  }
  const { runCli } = await import("./cli/run.ts");
  const { openTerminal } = await import("./cli/terminal.ts");
  return await runCli(argv, openTerminal(env));
}

async function runAsPlugin(): Promise<number> {
  const { answerRuntime } = await import("./integrations/cni/plugin.ts");
  return await answerRuntime(env);
}
