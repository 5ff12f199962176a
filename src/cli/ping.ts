/**
 * `overlay ping`: whether peers answer, how fast, and how large packets to them may be.
 *
 * The agent asks, over the very path that packets take; this only counts and prints.
 *
 * @module
 */
import type { Command } from "commander";
import type { PingRequest, PingResultView } from "../admin/service.ts";
import { type Cli, type DataOptions, wholeNumber, withData, withExamples } from "./cli.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";
import { formatJson, safe } from "./format.ts";

const COUNT_DEFAULT = 4;
const COUNT_MAX = 100_000;
const INTERVAL_MS_DEFAULT = 1000;
const INTERVAL_MS_MIN = 10;
const INTERVAL_MS_MAX = 20_000;
const WAIT_MS_DEFAULT = 1000;
const WAIT_MS_MAX = 10_000;

interface PingOptions extends DataOptions {
  readonly count: number;
  readonly interval: number;
  readonly wait: number;
  readonly overlay?: true;
  readonly raiseMtu?: true;
}

/** What came back from one peer, all questions together. */
interface Tally {
  readonly id: string;
  readonly name: string;
  address: string;
  sent: number;
  readonly roundTripsMs: number[];
  mtu: number | null;
  pathMtu: number | null;
  reason: string | null;
}

/** Adds the command to `program`. */
export function addPing(program: Command, cli: Cli): void {
  const command = program
    .command("ping")
    .description("ask peers for an answer, over the path that packets take")
    .argument("<peer>", 'name, id or address of a peer; "all" for every one')
    .option("-c, --count <n>", "questions to each", wholeNumber(1, COUNT_MAX), COUNT_DEFAULT)
    .option(
      "-i, --interval <ms>",
      "milliseconds between them",
      wholeNumber(INTERVAL_MS_MIN, INTERVAL_MS_MAX),
      INTERVAL_MS_DEFAULT,
    )
    .option(
      "-W, --wait <ms>",
      "milliseconds to wait for an answer",
      wholeNumber(INTERVAL_MS_MIN, WAIT_MS_MAX),
      WAIT_MS_DEFAULT,
    )
    .option("--overlay", "through the overlay link, kernel to kernel, instead of loop to loop")
    .option("--raise-mtu", "look for a larger path MTU than the one that was found");
  withExamples(
    withData(command),
    "overlay ping web2",
    "overlay ping 10.0.91.7 -c 1 --overlay",
    "overlay ping all -c 1 --json",
  );
  command.action(cli.action((peer: string, options: PingOptions) => ping(cli, peer, options)));
}

async function ping(cli: Cli, target: string, options: PingOptions): Promise<number> {
  const client = await cli.client(options);
  const tallies = new Map<string, Tally>();
  for (let round = 0; round < options.count && !cli.terminal.isReaderGone; round++) {
    const request: PingRequest = {
      target,
      through: options.overlay === true ? "overlay" : "underlay",
      timeoutMs: options.wait,
      delayMs: round === 0 ? 0 : options.interval,
      raiseMtu: options.raiseMtu === true && round === 0,
    };
    const answer = await client.ping(request);
    if (!answer.ok) return cli.fail(`ping "${safe(target)}"`, answer.error);
    for (const result of answer.value.results) count(tallies, result);
    if (options.json === true) continue;
    const lines = answer.value.results.map(formatResult);
    if (lines.length > 0) await cli.terminal.print(lines.join("\n"));
  }
  const all = [...tallies.values()];
  if (options.json === true) await cli.terminal.print(formatJson({ results: all.map(summary) }));
  else await cli.terminal.print(all.length === 0 ? "No peers" : all.map(formatTally).join("\n"));
  return all.every(({ roundTripsMs }) => roundTripsMs.length > 0) ? EXIT_DONE : EXIT_FAILED;
}

function count(tallies: Map<string, Tally>, result: PingResultView): void {
  const { id, name, address, mtu, pathMtu } = result;
  const tally = tallies.get(id) ?? {
    ...{ id, name, address, mtu, pathMtu },
    sent: 0,
    roundTripsMs: [],
    reason: null,
  };
  tallies.set(id, tally);
  Object.assign(tally, { address, mtu, pathMtu, reason: result.reason });
  tally.sent++;
  if (result.rttMs !== null) tally.roundTripsMs.push(result.rttMs);
}

function formatResult({ name, address, rttMs, reason, mtu }: PingResultView): string {
  const who = `${safe(name)} (${safe(address)})`;
  if (rttMs === null) return `${who}: ${safe(reason ?? "no answer")}`;
  const size = mtu === null ? "" : `, MTU ${mtu}`;
  return `${who}: answered in ${rttMs.toFixed(2)} ms${size}`;
}

function formatTally(tally: Tally): string {
  const { sent, lossPercent, rttMinMs, rttAvgMs, rttMaxMs } = summary(tally);
  const answered = tally.roundTripsMs.length;
  const counts = `${answered} of ${sent} answered, ${Math.round(lossPercent)} % lost`;
  if (rttMinMs === null || rttAvgMs === null || rttMaxMs === null) {
    return `--- ${safe(tally.name)}: ${counts}`;
  }
  const times = [rttMinMs, rttAvgMs, rttMaxMs].map((ms) => ms.toFixed(2)).join("/");
  return `--- ${safe(tally.name)}: ${counts}, min/avg/max ${times} ms`;
}

function summary({ roundTripsMs, sent, ...rest }: Tally) {
  const received = roundTripsMs.length;
  const sum = roundTripsMs.reduce((total, ms) => total + ms, 0);
  return {
    ...rest,
    sent,
    received,
    lossPercent: (100 * (sent - received)) / sent,
    rttMinMs: received === 0 ? null : Math.min(...roundTripsMs),
    rttAvgMs: received === 0 ? null : Math.round((1000 * sum) / received) / 1000,
    rttMaxMs: received === 0 ? null : Math.max(...roundTripsMs),
  };
}
