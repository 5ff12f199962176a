/**
 * Leaving a cluster, and handing over before stopping.
 *
 * Leaving: the record moves to the removed table; the leader (this node hands over first when it
 * leads) takes the node out of the Raft membership, and tells it so. Until then it keeps voting,
 * because the others may need its vote for exactly that.
 *
 * @module
 */
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import type { Driver } from "../driver.ts";
import { TRANSFER_TIMEOUT_MS } from "../limits.ts";
import type { LeaveFailure } from "../types.ts";
import { isMember, isOnlyVoter, memberIds } from "./conf-state.ts";
import { findMember, isRemoved, listMembers, removeMember } from "./member-table.ts";

/** Two membership changes and a transfer take milliseconds; a slow disk some seconds. */
const LEAVE_TIMEOUT_MS = 10_000;
/** Planned hand-over before stopping: an election timeout at most. */
const HAND_OVER_TIMEOUT_MS = 1_000;
const LOOK_INTERVAL_MS = 10;

/** Takes this node out of its cluster. */
export async function leaveCluster(
  driver: Driver,
  clock: Clock,
): Promise<Result<void, LeaveFailure>> {
  const obstacle = obstacleTo(driver);
  if (obstacle !== undefined) return err(obstacle);
  while (!isRemoved(driver.reader, driver.nodeId)) {
    const own = findMember(driver.reader, driver.nodeId);
    if (own === undefined) break; // Never recorded: nothing to take out of the table.
    const result = await driver.execute(removeMember(own, clock.wallMs()));
    if (driver.group.isExpelled) return ok(undefined);
    if (!result.ok) return result;
    // Otherwise the record moved under us, or is removed but not yet so here.
    const barrier = await driver.readBarrier();
    if (!barrier.ok && !driver.group.isExpelled) return barrier;
  }
  const isOut = () => driver.group.isExpelled || !isMember(driver.confState, driver.nodeId);
  if (await waitFor(isOut, clock, LEAVE_TIMEOUT_MS)) return ok(undefined);
  const detail =
    "Cannot leave the cluster: its other voters did not confirm it in time; " +
    "start them, or connect this node to them, and leave again";
  return err({ kind: "timeout", detail });
}

/**
 * Hands leadership over when this node leads and another voter lives; in bounded time. Tries more
 * than once: a target that has yet to apply a membership change refuses to be elected. Done when
 * the new leader has committed something: until then it may need this node's disk for that.
 */
export async function handOver(driver: Driver, clock: Clock): Promise<void> {
  if (!driver.isLeader()) return;
  const { commit } = driver.status();
  const isDone = () => {
    const { leader } = driver.role;
    return leader !== undefined && leader !== driver.nodeId && driver.status().commit > commit;
  };
  const deadlineMs = clock.nowMs() + HAND_OVER_TIMEOUT_MS;
  for (let attempt = 0; !isDone() && clock.nowMs() < deadlineMs; attempt++) {
    const { progress } = driver.status();
    const targets = driver.confState.voters
      .filter((id) => id !== driver.nodeId && driver.isLive(id))
      .sort((a, b) => (progress?.get(b)?.match ?? 0) - (progress?.get(a)?.match ?? 0));
    const target = targets[attempt % targets.length];
    if (target === undefined) return;
    driver.transferLeadership(target);
    await waitFor(isDone, clock, TRANSFER_TIMEOUT_MS);
  }
}

/** Why leaving would not do, before anything is written. */
function obstacleTo(driver: Driver): LeaveFailure | undefined {
  if (driver.group.isExpelled) return undefined;
  const others = listMembers(driver.reader).filter((member) => member.id !== driver.nodeId);
  const known = memberIds(driver.confState).filter((id) => id !== driver.nodeId);
  if (others.length === 0 && known.length === 0) {
    const detail = "Cannot leave the cluster: this node is its only member; nothing is to leave";
    return { kind: "last_member", detail };
  }
  // The only voter must give its vote to somebody first, or the cluster would end with it.
  if (!isOnlyVoter(driver.confState, driver.nodeId) || known.some((id) => driver.isLive(id))) {
    return undefined;
  }
  const detail =
    "Cannot leave the cluster: this node is its only voter and no standby answers; " +
    'start another member and leave when "overlay status" shows it as standby, ' +
    "or remove the others";
  return { kind: "no_quorum", detail };
}

/** Waits until `condition` holds; false when it does not within `timeoutMs`. */
async function waitFor(
  condition: () => boolean,
  clock: Clock,
  timeoutMs: number,
): Promise<boolean> {
  const deadlineMs = clock.nowMs() + timeoutMs;
  while (!condition()) {
    if (clock.nowMs() >= deadlineMs) return false;
    await new Promise<void>((resolve) => clock.after(LOOK_INTERVAL_MS, resolve));
  }
  return true;
}
