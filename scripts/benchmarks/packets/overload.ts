/**
 * What is left of the best when ten times as much is offered.
 *
 * The senders, both agents and the receiver share this machine's cores, so a sender that offers ten
 * times what the agents carry would take their processor away, which no sender elsewhere does.
 * So each agent gets a fixed, small share of one core for the whole of it: the same at every rate,
 * and little enough that this machine can offer ten times what comes out of it. It may not put
 * itself before other programs meanwhile (UNPRIVILEGED), which would undo the share. A contender in
 * the kernel works in the sender's own time; it is offered what the sender can.
 *
 * @module
 */
import { median } from "../store/figures.ts";
import { CpuShare } from "./cpu-share.ts";
import { runUdp, type UdpFigures } from "./iperf.ts";
import type { Figures } from "./measures.ts";
import type { Lane } from "./wires.ts";

/** Goes in front of a contender's commands: without the right to real-time scheduling. */
export const UNPRIVILEGED = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"];
/** Of one core, for each agent. */
const AGENT_SHARE = 1 / 25;
const OVERLOAD_TIMES = 10;
const SIZE = 64;
const SECONDS = 1;
const OVERLOAD_ROUNDS = 3;
/** Rates to look for the best at, by what comes out of a flood. */
const RATE_STEPS = [0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3] as const;

/** Looks for the rate at which most is delivered, then offers ten times that. */
export async function measureOverload(
  { running, ends }: Lane,
  status: (text: string) => void,
): Promise<Figures> {
  const offer = async (kpps?: number): Promise<UdpFigures> => {
    status(kpps === undefined ? "flood" : `${kpps.toFixed(1)} kpps`);
    const rate = kpps === undefined ? {} : { kpps };
    return await runUdp(ends, { seconds: SECONDS, size: SIZE, ...rate });
  };
  using _share = new CpuShare(
    running.processes.map(({ pid }) => pid),
    AGENT_SHARE,
  );
  const flood = await offer();
  let best = { kpps: flood.offeredKpps, deliveredKpps: flood.deliveredKpps };
  for (const step of RATE_STEPS) {
    const kpps = flood.deliveredKpps * step;
    const { deliveredKpps } = await offer(kpps);
    if (deliveredKpps > best.deliveredKpps) best = { kpps, deliveredKpps };
  }
  // In turns, since the highest of several figures is in part luck.
  const rounds: { readonly calm: UdpFigures; readonly flooded: UdpFigures }[] = [];
  for (let round = 0; round < OVERLOAD_ROUNDS; round++) {
    const calm = await offer(best.kpps);
    rounds.push({ calm, flooded: await offer(best.deliveredKpps * OVERLOAD_TIMES) });
  }
  const middle = (of: (round: (typeof rounds)[number]) => number) => median(rounds.map(of));
  const flooded = middle((round) => round.flooded.deliveredKpps);
  // A flood that fills each batch may itself be the best.
  const most = Math.max(
    flooded,
    middle(({ calm }) => calm.deliveredKpps),
  );
  return {
    overloadBestKpps: most,
    overloadTimes: middle((round) => round.flooded.offeredKpps) / most,
    overloadShare: flooded / most,
  };
}
