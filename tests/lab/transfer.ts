/**
 * Bytes moved over TCP from one namespace to another: measured by iperf3, or checked by our own
 * peer (tcp-peer.ts), since iperf3 ends before the last bytes are read and never looks at them.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Namespace } from "./namespace.ts";

export interface TransferOptions {
  /** Where the server is reached. */
  readonly address: string;
  /** Stop after this many bytes … */
  readonly bytes?: number;
  /** … or after this many seconds; 1 when neither is given. */
  readonly seconds?: number;
  /** Parallel connections; 1 when absent. */
  readonly flows?: number;
  /** The server's port; free for use in every namespace when absent. */
  readonly port?: number;
}

export interface TransferReport {
  readonly receivedBytes: number;
  readonly gigabitsPerSecond: number;
  readonly retransmits: number;
}

const PORT_DEFAULT = 5201;
const CHECKED_PORT = 5300;
const PEER_PROGRAM = join(import.meta.dir, "tcp-peer.ts");
const TRANSFER_TIMEOUT_MS = 60_000;

/** What of iperf3's report is used. */
interface IperfReport {
  readonly error?: string;
  readonly end?: {
    readonly sum_sent?: { readonly retransmits?: number };
    readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number };
  };
}

/** Sends from `source` to a server that it starts in `target`. Throws when nothing arrives. */
export async function transferTcp(
  source: Namespace,
  target: Namespace,
  options: TransferOptions,
): Promise<TransferReport> {
  const port = options.port ?? PORT_DEFAULT;
  const server = target.start(["iperf3", "-s", "-1", "-p", String(port)]);
  try {
    await server.waitListening(port);
    const { stdout, stderr } = await source.run(clientCommand(options, port), {
      timeoutMs: TRANSFER_TIMEOUT_MS,
    });
    const report = parseReport(stdout, `${source.name} to ${target.name}: ${stderr}`);
    await server.waitExit();
    return report;
  } catch (error) {
    await server.kill();
    throw new Error(
      `Cannot move TCP from ${source.name} to ${target.name}; server said: ` +
        readFileSync(server.logPath, "utf8").slice(-500),
      { cause: error },
    );
  }
}

/** Sends `bytes` from `source` to `target` and throws unless every one arrives as it was sent. */
export async function sendIntact(
  source: Namespace,
  target: Namespace,
  options: { readonly address: string; readonly bytes: number },
): Promise<void> {
  const server = target.start([process.execPath, PEER_PROGRAM, "serve", String(CHECKED_PORT)]);
  try {
    await server.waitListening(CHECKED_PORT);
    const words = ["send", options.address, String(CHECKED_PORT), String(options.bytes)];
    await source.mustRun([process.execPath, PEER_PROGRAM, ...words], {
      timeoutMs: TRANSFER_TIMEOUT_MS,
    });
  } finally {
    await server.kill();
  }
}

function clientCommand(options: TransferOptions, port: number): string[] {
  const amount =
    options.bytes === undefined
      ? ["-t", String(options.seconds ?? 1)]
      : ["-n", String(options.bytes)];
  return [
    ...["iperf3", "-c", options.address, "-p", String(port), "-J", "--connect-timeout", "5000"],
    ...["-P", String(options.flows ?? 1)],
    ...amount,
  ];
}

function parseReport(json: string, context: string): TransferReport {
  let report: IperfReport;
  try {
    report = JSON.parse(json) as IperfReport;
  } catch (cause) {
    throw new Error(`Cannot read iperf3's report, ${context}`, { cause });
  }
  const received = report.end?.sum_received;
  if (received === undefined || received.bytes === 0) {
    throw new Error(`Cannot move TCP, ${context}: ${report.error ?? "nothing arrived"}`);
  }
  return {
    receivedBytes: received.bytes,
    gigabitsPerSecond: received.bits_per_second / 1e9,
    retransmits: report.end?.sum_sent?.retransmits ?? 0,
  };
}

/** "1.0 MiB at 3.42 Gbit/s, 0 retransmits". */
export function describeTransfer(report: TransferReport): string {
  const mebibytes = (report.receivedBytes / 1024 / 1024).toFixed(0);
  const rate = report.gigabitsPerSecond.toFixed(2);
  return `${mebibytes} MiB at ${rate} Gbit/s, ${report.retransmits} retransmits`;
}
