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
  /** How long to wait for the last answer, in seconds; 1 when absent. */
  readonly waitSeconds?: number;
  /** Forbid fragments, also by the sender itself. */
  readonly dontFragment?: boolean;
}

/** The command line for `options`; without a count it runs until it is told to stop. */
export function pingCommand(target: string, options: PingOptions, endless = false): string[] {
  return [
    "ping",
    "-n",
    ...(endless ? [] : ["-c", String(options.count ?? 3)]),
    ...["-i", String(options.intervalSeconds ?? 0.1)],
    ...["-W", String(options.waitSeconds ?? 1)],
    ...(options.sizeBytes === undefined ? [] : ["-s", String(options.sizeBytes)]),
    ...(options.dontFragment === true ? ["-M", "do"] : []),
    target,
  ];
}

/**
 * Reads what `ping` printed. `stoppedEarly` says that it was interrupted: its last request may
 * have been on its way then, so a missing answer to it is not counted as lost.
 */
export function parsePing(text: string, stoppedEarly = false): PingReport {
  const seen = new Set<number>();
  const roundTripsMs: number[] = [];
  for (const line of text.split("\n")) {
    const answer = /bytes from .*icmp_seq=(\d+) .*time=([\d.]+) ms(?!.*DUP)/.exec(line);
    if (answer === null) continue;
    seen.add(Number(answer[1]));
    roundTripsMs.push(Number(answer[2]));
  }
  let sent = Number(/(\d+) packets transmitted/.exec(text)?.[1] ?? 0);
  if (stoppedEarly && sent > 0 && !seen.has(sent)) sent -= 1;
  const lost: number[] = [];
  let gap = 0;
  let longestGap = 0;
  for (let sequence = 1; sequence <= sent; sequence++) {
    gap = seen.has(sequence) ? 0 : gap + 1;
    if (gap > 0) lost.push(sequence);
    longestGap = Math.max(longestGap, gap);
  }
  return { sent, received: seen.size, lost, longestGap, roundTripsMs, text };
}

/** "20 of 20 answered, median 0.08 ms". */
export function describePing(report: PingReport): string {
  const sorted = [...report.roundTripsMs].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  const time = median === undefined ? "" : `, median ${median.toFixed(2)} ms`;
  return `${report.received} of ${report.sent} answered${time}`;
}
