/**
 * `overlay kv watch`: the changes under a prefix as they come, one a line, until interrupted.
 *
 * When the agent goes away it says where another watch can go on; it does not go on by itself, so
 * that nobody takes a gap for silence.
 *
 * @module
 */
import type { Command } from "commander";
import type { WatchEvent } from "../admin/kv-client.ts";
import { type Cli, type DataOptions, wholeNumber, withData, withExamples } from "./cli.ts";
import { EXIT_DONE } from "./exit-code.ts";
import { safe } from "./format.ts";
import { formatValue } from "./kv-value.ts";

interface WatchOptions extends DataOptions {
  readonly since?: number;
  readonly count?: number;
}

/** Adds the command to `kv`. */
export function addWatch(kv: Command, cli: Cli): void {
  const command = kv
    .command("watch")
    .description("print changes as they come; --timeout is for the connection only")
    .argument("[prefix]", "of the keys", "")
    .option(
      "--since <revision>",
      "begin after this revision (default: now)",
      wholeNumber(0, Number.MAX_SAFE_INTEGER),
    )
    .option(
      "--count <number>",
      "end after so many changes",
      wholeNumber(1, Number.MAX_SAFE_INTEGER),
    );
  withExamples(
    withData(command),
    "overlay kv watch /app/",
    "overlay kv watch /app/ --since 1200 --json  # one object a line",
  );
  command.action(
    cli.action((prefix: string, options: WatchOptions) => watch(cli, prefix, options)),
  );
}

async function watch(cli: Cli, prefix: string, options: WatchOptions): Promise<number> {
  const { terminal } = cli;
  const client = await cli.client(options);
  let left = options.count ?? Number.POSITIVE_INFINITY;
  let resumeAfter = options.since;
  const failure = await client.kv.watch({ prefix, since: options.since }, async (event) => {
    resumeAfter = event.resumeAfter ?? resumeAfter;
    if (options.json === true) await terminal.print(JSON.stringify(eventView(event)));
    else if (event.kind !== "bookmark") await terminal.print(formatEvent(event));
    if (event.kind !== "bookmark") left -= 1;
    return left > 0 && !terminal.isReaderGone;
  });
  if (failure === undefined) return EXIT_DONE;
  const isBroken = failure.kind === "no_agent" && resumeAfter !== undefined;
  const detail = isBroken
    ? `${failure.detail.split("; ", 1)[0]}; go on with --since ${resumeAfter}`
    : failure.detail;
  return cli.fail("watch the store", { ...failure, detail });
}

function formatEvent(event: Exclude<WatchEvent, { readonly kind: "bookmark" }>): string {
  const { kind, revision, item } = event;
  const what = `${revision} ${kind} ${safe(item.key)}`;
  return kind === "put" ? `${what} = ${formatValue(event.item.value)}` : what;
}

function eventView(event: WatchEvent): unknown {
  const { kind, revision } = event;
  return kind === "bookmark" ? { event: kind, revision } : { event: kind, revision, ...event.item };
}
