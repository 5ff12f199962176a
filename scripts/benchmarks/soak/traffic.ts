/**
 * Mixed traffic between two containers, one kind after the other for as long as it is asked for.
 *
 * @module
 */
import { type Ends, runTcp, runUdp } from "../packets/iperf.ts";

const SECONDS = 3;
const SMALL_KPPS = 20;
const LARGE_KPPS = 5;

/** What was moved, and what went wrong. */
export interface TrafficTotals {
  transferCount: number;
  gigabytes: number;
  retransmits: number;
  /** Datagrams that were sent at a moderate rate, in thousands, and those that did not arrive. */
  offeredDatagrams: number;
  lostDatagrams: number;
  readonly failures: string[];
}

/** One kind of traffic, one way. */
interface Kind {
  readonly name: string;
  readonly run: (ends: Ends, totals: TrafficTotals) => Promise<void>;
}

const KINDS: readonly Kind[] = [
  tcpKind("TCP, 1 flow", 1),
  tcpKind("TCP, 16 flows", 16),
  tcpKind("TCP, 4 flows both ways", 4, true),
  udpKind("UDP, 64 bytes", 64, SMALL_KPPS),
  udpKind("UDP, 1,400 bytes", 1400, LARGE_KPPS),
  { name: "UDP, 64 bytes, all there is", run: flood },
  { name: "nothing", run: async () => await Bun.sleep(SECONDS * 1000) },
];

/** Sends each kind in turn, each turn in the other direction, until `isOver`. */
export async function sendMixed(
  directions: readonly [Ends, Ends],
  isOver: () => boolean,
  status: (text: string, totals: TrafficTotals) => void,
): Promise<TrafficTotals> {
  const totals: TrafficTotals = {
    ...{ transferCount: 0, gigabytes: 0, retransmits: 0, offeredDatagrams: 0, lostDatagrams: 0 },
    failures: [],
  };
  for (let turn = 0; !isOver(); turn++) {
    for (const kind of KINDS) {
      if (isOver()) break;
      status(kind.name, totals);
      try {
        await kind.run(directions[turn % 2 === 0 ? 0 : 1], totals);
        totals.transferCount += 1;
      } catch (error) {
        totals.failures.push(`${kind.name}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }
  return totals;
}

function tcpKind(name: string, flows: number, bothWays = false): Kind {
  const run: Kind["run"] = async (ends, totals) => {
    const figures = await runTcp(ends, { seconds: SECONDS, flows, bothWays });
    totals.gigabytes += figures.receivedBytes / 1e9;
    totals.retransmits += figures.retransmits;
  };
  return { name, run };
}

function udpKind(name: string, size: number, kpps: number): Kind {
  const run: Kind["run"] = async (ends, totals) => {
    const { offeredKpps, deliveredKpps } = await runUdp(ends, { seconds: SECONDS, size, kpps });
    totals.offeredDatagrams += offeredKpps * SECONDS;
    totals.lostDatagrams += (offeredKpps - deliveredKpps) * SECONDS;
  };
  return { name, run };
}

/** What it loses is not counted: more is sent than can be received. */
async function flood(ends: Ends): Promise<void> {
  await runUdp(ends, { seconds: SECONDS, size: 64 });
}
