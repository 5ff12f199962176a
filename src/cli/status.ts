/**
 * `overlay status`: this node, its cluster and its peers, what is wrong first.
 *
 * @module
 */
import type { Command } from "commander";
import type { StatusView } from "../admin/service.ts";
import { type Cli, type DataOptions, wholeNumber, withData, withExamples } from "./cli.ts";
import { EXIT_DONE } from "./exit-code.ts";
import { explainFailure } from "./failure.ts";

interface StatusOptions extends DataOptions {
  readonly all?: true;
  /** Seconds between two looks; true for the default. */
  readonly watch?: number | true;
}

const WATCH_SECONDS_DEFAULT = 2;
const WATCH_SECONDS_MAX = 3600;
const MS_PER_SECOND = 1000;
/** Lines to lay out for where there is no terminal: what most screens have. */
const ROWS_DEFAULT = 24;

/** ECMA-48: to the first line; erase the rest of a line; erase the rest of the screen. */
const HOME = "\u001b[H";
const ERASE_LINE = "\u001b[K";
const ERASE_BELOW = "\u001b[J";

/** Adds the command to `program`. */
export function addStatus(program: Command, cli: Cli): void {
  const command = program
    .command("status")
    .description("show this node, its cluster and its peers, what is wrong first")
    .option("--all", "show everything that is wrong and every peer, however many")
    .option(
      "--watch [seconds]",
      `show it again every so many seconds (default: ${WATCH_SECONDS_DEFAULT})`,
      wholeNumber(1, WATCH_SECONDS_MAX),
    );
  withExamples(
    withData(command),
    "overlay status",
    "overlay status --watch",
    "overlay status --json | jq .peers",
  );
  command.action(
    cli.action(async (options: StatusOptions) => {
      if (options.watch !== undefined) return watchStatus(cli, options);
      const answer = await (await cli.client(options)).status();
      return cli.show("show the status", answer, options, (status) => layOut(cli, options, status));
    }),
  );
}

/** Until interrupted, or nobody reads any more. On a terminal it stays while the agent is away. */
async function watchStatus(cli: Cli, options: StatusOptions): Promise<number> {
  const { terminal } = cli;
  const seconds = typeof options.watch === "number" ? options.watch : WATCH_SECONDS_DEFAULT;
  const isRedrawn = terminal.isTerminal && options.json !== true;
  const client = await cli.client(options);
  while (!terminal.isReaderGone) {
    const answer = await client.status();
    if (isRedrawn) {
      const text = answer.ok
        ? await layOut(cli, options, answer.value)
        : explainFailure("show the status", answer.error);
      await terminal.write(Buffer.from(redraw(text)));
    } else {
      if (!answer.ok) return cli.fail("show the status", answer.error);
      const isJson = options.json === true;
      const text = isJson ? JSON.stringify(answer.value) : await layOut(cli, options, answer.value);
      await terminal.print(isJson ? text : `${text}\n`);
    }
    await terminal.pause(seconds * MS_PER_SECOND);
  }
  return EXIT_DONE;
}

async function layOut(cli: Cli, options: StatusOptions, status: StatusView): Promise<string> {
  const { formatStatus } = await import("./status-text.ts");
  const { columns, rows, color } = cli.terminal;
  // The last line is the cursor's.
  const rowsUsed = Number.isFinite(rows) ? rows - 1 : ROWS_DEFAULT;
  return formatStatus(status, { columns, rows: rowsUsed, color, all: options.all === true });
}

/** `text` over what the screen shows, without a moment of nothing between the two. */
function redraw(text: string): string {
  const lines = text.split("\n").map((line) => `${line}${ERASE_LINE}\n`);
  return `${HOME}${lines.join("")}${ERASE_BELOW}`;
}
