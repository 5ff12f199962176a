/**
 * `overlay debug`: looks into what a node has on its disk. Not in the help: for whoever has to find
 * out what happened to a node, not for daily use.
 *
 * @module
 */
import type { Command } from "commander";
import { type Cli, withExamples } from "./cli.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";
import { safe } from "./format.ts";

/** Adds the command to `program`. */
export function addDebug(program: Command, cli: Cli): void {
  const debug = program
    .command("debug", { hidden: true })
    .description("look into what a node has on its disk");
  const wal = debug
    .command("wal")
    .description("print what a log holds, one JSON object a line; changes nothing")
    .argument("<directory>", "the agent's data directory, or the one with the *.wal files");
  withExamples(wal, "overlay debug wal /var/lib/overlay");
  wal.action(cli.action((directory: string) => printLog(directory, cli)));
}

/** Prints up to the end of the log, or up to the damage; which one it was is the exit code. */
async function printLog(directory: string, { terminal }: Cli): Promise<number> {
  const { describeLog } = await import("../agent/debug-wal.ts");
  const log = await describeLog(directory);
  for await (const record of log.records) {
    await terminal.print(JSON.stringify(record));
    if (terminal.isReaderGone) return EXIT_DONE;
    if (record.kind !== "damage") continue;
    const { file, offset, reason } = record;
    const place = file === log.directory ? "" : `byte ${offset} of ${file}: `;
    await terminal.tell(safe(`Cannot read the log in ${log.directory} further: ${place}${reason}`));
    return EXIT_FAILED;
  }
  return EXIT_DONE;
}
