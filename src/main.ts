/**
 * The program: arguments in, exit code out. The only place that ends the process.
 *
 * No top-level `await`, so that the build can compile to bytecode.
 *
 * @module
 */
import { readEnvironment } from "./agent/config.ts";
import { runCli } from "./cli/run.ts";
import { openTerminal } from "./cli/terminal.ts";

// A rejection is our bug: it stays unhandled, which prints it and ends the process with code 1.
void runCli(process.argv.slice(2), openTerminal(readEnvironment())).then((code) => {
  process.exit(code);
});
