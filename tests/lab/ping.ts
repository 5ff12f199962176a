/**
 * The echo test, run by the system's own `ping` and read back as numbers.
 *
 * @module
 */

/** What one run of `ping` saw. */
export interface PingReport {
  readonly sent: number;
  readonly received: number;
  /** Sequence numbers (from 1) that got no answer, ascending. */
  readonly lost: readonly number[];
  /** The longest run of sequence numbers without an answer. */
  readonly longestGap: number;
  /** Round trips in milliseconds, in order of arrival. */
  readonly roundTripsMs: readonly number[];
  readonly text: string;
}

export interface PingOptions {
  /** How many to send; 3 when absent. */
  readonly count?: number;
  /** Seconds between two; 0.1 when absent. */
  readonly intervalSeconds?: number;
  /** Data bytes after the 8 of the ICMP header; 56 when absent. */
  readonly sizeBytes?: number;
  /** How long to wait for the last answers, in seconds; 1 when absent. */
  readonly waitSeconds?: number;
  /** Forbid fragments, also by the sender itself. */
  readonly dontFragment?: boolean;
}

const COUNT_DEFAULT = 3;
const INTERVAL_SECONDS_DEFAULT = 0.1;
const WAIT_SECONDS_DEFAULT = 1;
/** What was sent so shortly before the end may be on its way still: this machine may be busy. */
const UNDER_WAY_SECONDS = 0.1;

/**
 * The command line for `options`; without a count it runs until it is told to stop.
 *
 * After the last request `ping -c` waits for two round trips or one interval, a hundredth of a
 * second in some tests, and takes what is late then for lost. With a deadline beside the count it
 * goes on until that many are answered; `parsePing` looks at the first of them only. A deadline is
 * in whole seconds, so it is left out where somebody is in a hurry.
 */
export function pingCommand(target: string, options: PingOptions, endless = false): string[] {
  const { count = COUNT_DEFAULT, intervalSeconds = INTERVAL_SECONDS_DEFAULT } = options;
  const { waitSeconds = WAIT_SECONDS_DEFAULT } = options;
  const deadline = Math.ceil(count * intervalSeconds + waitSeconds);
  return [
    "ping",
    "-n",
    ...(endless ? [] : ["-c", String(count)]),
    ...(endless || waitSeconds < 1 ? [] : ["-w", String(deadline)]),
    ...["-i", String(intervalSeconds)],
    ...["-W", String(waitSeconds)],
    ...(options.sizeBytes === undefined ? [] : ["-s", String(options.sizeBytes)]),
    ...(options.dontFragment === true ? ["-M", "do"] : []),
    target,
  ];
}

/** Reads what `ping` printed after `options.count` requests. */
export function parsePing(text: string, options: PingOptions = {}): PingReport {
  return readPing(text, (sent) => Math.min(sent, options.count ?? COUNT_DEFAULT));
}

/**
 * The same of a ping that was interrupted, or runs still. Missing answers to the last requests are
 * not counted as lost, nor are those requests.
 */
export function parseEndlessPing(text: string, options: PingOptions = {}): PingReport {
  const { intervalSeconds = INTERVAL_SECONDS_DEFAULT } = options;
  const underWay = Math.max(1, Math.round(UNDER_WAY_SECONDS / intervalSeconds));
  return readPing(text, (sent, lastSeen) => Math.max(lastSeen, sent - underWay));
}

/** Looks at the requests up to the one that `lastOf` gives, by what was sent and last answered. */
function readPing(text: string, lastOf: (sent: number, lastSeen: number) => number): PingReport {
  const answers = [...text.matchAll(/bytes from .*icmp_seq=(\d+) .*time=([\d.]+) ms(?!.*DUP)/g)];
  const transmitted = Number(/(\d+) packets transmitted/.exec(text)?.[1] ?? 0);
  const lastSeen = answers.reduce((last, [, sequence]) => Math.max(last, Number(sequence)), 0);
  const sent = lastOf(Math.max(transmitted, lastSeen), lastSeen);
  const counted = answers.filter(([, sequence]) => Number(sequence) <= sent);
  const seen = new Set(counted.map(([, sequence]) => Number(sequence)));
  const lost: number[] = [];
  let gap = 0;
  let longestGap = 0;
  for (let sequence = 1; sequence <= sent; sequence++) {
    gap = seen.has(sequence) ? 0 : gap + 1;
    if (gap > 0) lost.push(sequence);
    longestGap = Math.max(longestGap, gap);
  }
  const roundTripsMs = counted.map(([, , time]) => Number(time));
  return { sent, received: seen.size, lost, longestGap, roundTripsMs, text };
}

/** "20 of 20 answered, median 0.08 ms". */
export function describePing(report: PingReport): string {
  const sorted = [...report.roundTripsMs].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  const time = median === undefined ? "" : `, median ${median.toFixed(2)} ms`;
  return `${report.received} of ${report.sent} answered${time}`;
}
