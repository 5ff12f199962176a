/**
 * What is done to each contender in each round, and what is read off it.
 *
 * @module
 */
import { quantile } from "../store/figures.ts";
import type { Metric, UdpSize } from "./figures.ts";
import { type Ends, runTcp, runUdp } from "./iperf.ts";
import { machineBusySeconds, processSeconds } from "./machine-time.ts";
import type { Lane } from "./wires.ts";

const PING_COUNT = 100;
const PING_INTERVAL_SECONDS = 0.01;
const BYTES_PER_GIGABYTE = 1e9;

export type Figures = { [metric in Metric]?: number };

/** One thing to do for `seconds`; several give the same metric only where it is to be added up. */
export interface Measure {
  /** As `--only` names it. */
  readonly key: string;
  readonly inQuick: boolean;
  readonly run: (lane: Lane, seconds: number) => Promise<Figures>;
}

/** In the order in which they are done. */
export const MEASURES: readonly Measure[] = [
  { key: "ping", inQuick: true, run: async ({ ends }) => await measurePing(ends) },
  tcpMeasure("tcp1", 1, "tcp1Gbps", true),
  tcpMeasure("tcp4", 4, "tcp4Gbps", true),
  tcpMeasure("tcp16", 16, "tcp16Gbps", false),
  {
    key: "both",
    inQuick: false,
    run: async ({ ends }, seconds) => {
      const options = { seconds, flows: 1, bothWays: true };
      return { bothWaysGbps: (await runTcp(ends, options)).gigabitsPerSecond };
    },
  },
  containerMeasure(1),
  containerMeasure(4),
  udpMeasure(64, true),
  udpMeasure(512, false),
  udpMeasure(1400, false),
];

/** With four flows, pings go beside them. */
function tcpMeasure(key: string, flows: number, metric: Metric, inQuick: boolean): Measure {
  const run: Measure["run"] = async ({ ends, running }, seconds) => {
    const { processes } = running;
    const agents = () => processes.reduce((sum, { pid }) => sum + processSeconds(pid), 0);
    const endless = { intervalSeconds: PING_INTERVAL_SECONDS };
    const pings = flows === 4 ? ends.source.startPing(ends.address, endless) : undefined;
    const [machineBefore, agentsBefore] = [machineBusySeconds(), agents()];
    const { gigabitsPerSecond, receivedBytes, retransmits } = await runTcp(ends, {
      seconds,
      flows,
    });
    const gigabytes = receivedBytes / BYTES_PER_GIGABYTE;
    const [machine, agent] = [machineBusySeconds() - machineBefore, agents() - agentsBefore];
    const report = await pings?.stop();
    return {
      [metric]: gigabitsPerSecond,
      retransmits,
      ...(flows === 4 && { machineSecondsPerGigabyte: machine / gigabytes }),
      ...(flows === 4 && processes.length > 0 && { agentSecondsPerGigabyte: agent / gigabytes }),
      ...(report !== undefined && {
        loadedPingP50Ms: quantile(report.roundTripsMs, 0.5),
        loadedPingP99Ms: quantile(report.roundTripsMs, 0.99),
      }),
    };
  };
  return { key, inQuick, run };
}

function containerMeasure(flows: 1 | 4): Measure {
  const run: Measure["run"] = async ({ containers }, seconds) => {
    if (containers === undefined) return {};
    const { gigabitsPerSecond, retransmits } = await runTcp(containers, { seconds, flows });
    return {
      [`containers${flows}Gbps`]: gigabitsPerSecond,
      containersRetransmits: retransmits,
    };
  };
  return { key: `containers${flows}`, inQuick: false, run };
}

function udpMeasure(size: UdpSize, inQuick: boolean): Measure {
  const run: Measure["run"] = async ({ ends }, seconds) => {
    const { offeredKpps, deliveredKpps } = await runUdp(ends, { seconds, size });
    return {
      [`udp${size}OfferedKpps`]: offeredKpps,
      [`udp${size}DeliveredKpps`]: deliveredKpps,
    };
  };
  return { key: `udp${size}`, inQuick, run };
}

async function measurePing({ source, address }: Ends): Promise<Figures> {
  const options = { count: PING_COUNT, intervalSeconds: PING_INTERVAL_SECONDS };
  const { roundTripsMs } = await source.ping(address, options);
  if (roundTripsMs.length === 0) throw new Error(`No answer from ${address}`);
  return { pingP50Ms: quantile(roundTripsMs, 0.5), pingP99Ms: quantile(roundTripsMs, 0.99) };
}
