/**
 * How long no write is acknowledged: after the leader was killed, and while leadership moves.
 *
 * @module
 */
import { waitFor } from "../../../tests/lab/wait.ts";
import type { StoreSystem } from "./system.ts";
import { WriteProbe } from "./write-probe.ts";

const RECOVERY_TIMEOUT_MS = 20_000;
/** The store is left alone so long before, so that the last outage is over for everybody. */
const QUIET_MS = 700;
/** A transfer is watched for so long after it was asked for. */
const TRANSFER_WATCH_MS = 1_500;

/** Kills the leader; gives the milliseconds until a survivor acknowledges a write sent after. */
export async function measureKill(system: StoreSystem): Promise<number> {
  const leader = await system.settled();
  await Bun.sleep(QUIET_MS);
  const survivors = system.members.filter((member) => member !== leader);
  const probe = await WriteProbe.open(system, survivors);
  try {
    await waitFor(() => probe.acked.length > 0, { describe: "the first write" });
    const killedMs = performance.now();
    await leader.process.kill();
    const first = await waitFor(() => probe.firstSince(killedMs), {
      timeoutMs: RECOVERY_TIMEOUT_MS,
      describe: `a write to be acknowledged after ${leader.name} was killed`,
    });
    return first.ackedMs - killedMs;
  } finally {
    probe.close();
    system.restart(leader);
    await system.settled();
  }
}

/** Moves leadership; gives the longest time in which no write to the others was acknowledged. */
export async function measureTransfer(system: StoreSystem): Promise<number> {
  const leader = await system.settled();
  await Bun.sleep(QUIET_MS);
  const others = system.members.filter((member) => member !== leader);
  const probe = await WriteProbe.open(system, others);
  try {
    await waitFor(() => probe.acked.length > 0, { describe: "the first write" });
    await Bun.sleep(QUIET_MS / 2);
    const askedMs = performance.now();
    const transferred = system.transfer(leader);
    await Bun.sleep(TRANSFER_WATCH_MS);
    await transferred;
    return probe.longestGapMs(askedMs);
  } finally {
    probe.close();
    if (!leader.process.running) system.restart(leader);
    await system.settled();
  }
}
