/**
 * One run of iperf3 between two namespaces, read back as numbers.
 *
 * @module
 */
import type { Namespace } from "../../../tests/lab/namespace.ts";

const PORT = 5201;
/** Beside the time that is measured: connecting, and what a full queue holds back. */
const EXTRA_MS = 15_000;

/** Who sends to whom. */
export interface Ends {
  readonly source: Namespace;
  readonly target: Namespace;
  /** Where `source` reaches `target`. */
  readonly address: string;
}

/** The parts of iperf3's report that are used. */
interface IperfReport {
  readonly error?: string;
  readonly end: {
    readonly sum_sent: { readonly retransmits?: number };
    readonly sum_received: { readonly bytes: number; readonly bits_per_second: number };
    /** Only with `--bidir`: the way back. */
    readonly sum_received_bidir_reverse?: { readonly bits_per_second: number };
    readonly sum_sent_bidir_reverse?: { readonly retransmits?: number };
    /** Datagrams, of UDP only. */
    readonly sum?: {
      readonly packets: number;
      readonly lost_percent: number;
      readonly seconds: number;
    };
  };
}

/** Sends for `seconds` and gives iperf3's words. Rejects on its error. */
async function runIperf(
  { source, target, address }: Ends,
  seconds: number,
  args: readonly string[],
): Promise<IperfReport["end"]> {
  const server = target.start(["iperf3", "-s", "-1", "-p", String(PORT)]);
  try {
    await server.waitListening(PORT);
    const fixed = ["-c", address, "-p", String(PORT), "-J", "--connect-timeout", "3000"];
    const { stdout } = await source.run(["iperf3", ...fixed, "-t", String(seconds), ...args], {
      timeoutMs: seconds * 1000 + EXTRA_MS,
    });
    const report = JSON.parse(stdout === "" ? '{"error":"no answer in time"}' : stdout);
    const { end, error } = report as IperfReport;
    if (error !== undefined) throw new Error(`iperf3: ${error}`);
    await server.waitExit();
    return end;
  } finally {
    if (server.running) await server.kill();
  }
}

/** What TCP moved. */
export interface TcpFigures {
  /** Received; the sum of both directions where there are two. */
  readonly gigabitsPerSecond: number;
  readonly receivedBytes: number;
  readonly retransmits: number;
}

/** TCP over `flows` connections; `bothWays`: as many back at the same time. */
export async function runTcp(
  ends: Ends,
  options: { readonly seconds: number; readonly flows: number; readonly bothWays?: boolean },
): Promise<TcpFigures> {
  const words = ["-P", String(options.flows), ...(options.bothWays === true ? ["--bidir"] : [])];
  const end = await runIperf(ends, options.seconds, words);
  const back = end.sum_received_bidir_reverse?.bits_per_second ?? 0;
  return {
    gigabitsPerSecond: (end.sum_received.bits_per_second + back) / 1e9,
    receivedBytes: end.sum_received.bytes,
    retransmits: (end.sum_sent.retransmits ?? 0) + (end.sum_sent_bidir_reverse?.retransmits ?? 0),
  };
}

/** Datagrams in thousands a second. */
export interface UdpFigures {
  readonly offeredKpps: number;
  readonly deliveredKpps: number;
}

/**
 * Datagrams with `size` bytes of payload, `kpps` thousand a second, or as many as the
 * sender can when absent.
 */
export async function runUdp(
  ends: Ends,
  options: { readonly seconds: number; readonly size: number; readonly kpps?: number },
): Promise<UdpFigures> {
  const { size, kpps, seconds } = options;
  const bits = kpps === undefined ? 0 : Math.round(kpps * 1000 * size * 8);
  const end = await runIperf(ends, seconds, ["-u", "-l", String(size), "-b", `${bits}`]);
  if (end.sum === undefined) throw new Error("iperf3 reported no datagrams");
  const offeredKpps = end.sum.packets / end.sum.seconds / 1000;
  return { offeredKpps, deliveredKpps: offeredKpps * (1 - end.sum.lost_percent / 100) };
}
