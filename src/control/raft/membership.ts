/**
 * Membership in effect: what applying a change does to this node.
 *
 * A change takes effect when it is applied, not when it is appended (unlike §4.1, as in etcd's
 * raft). Hence at most one may be unapplied, and nobody may campaign before applying it.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, type Index } from "../../base/ids.ts";
import { type ConfChangeOutcome, changeConfig, isVoter } from "./conf-change.ts";
import { type Core, INDEX_NONE, type Leader } from "./core.ts";
import { Progress, progressTable } from "./progress.ts";
import { proposeAsLeader } from "./propose.ts";
import { broadcastAppend, maybeCommit } from "./replicate.ts";
import { becomeFollower } from "./role.ts";
import type { ConfChange, ProposedEntry } from "./types.ts";

const LEAVE_JOINT: ProposedEntry = {
  kind: "conf_change",
  change: { version: 2, transition: "auto", changes: [], context: new Uint8Array(0) },
};

/** Puts a committed change into effect. */
export function applyConfChange(core: Core, change: ConfChange): void {
  // Being applied while a snapshot is on its way to the disk, it is older than that, and the
  // membership is that of the snapshot already.
  if (core.log.unstable.snapshot !== undefined) return;
  const outcome = changeConfig(core.membership, change);
  assert(outcome.ok, "a committed membership change must fit the membership before it");
  switchConfig(core, outcome.value);
}

/** Makes `outcome.config` the membership. A leader acts on it at once. */
export function switchConfig(core: Core, outcome: ConfChangeOutcome): void {
  core.membership = outcome.config;
  core.trace?.({ kind: "config_switched", config: outcome.config });
  const leader = core.role;
  if (leader.kind !== "leader") return;

  leader.progress = progressAfter(core, leader, outcome);
  if (!isVoter(core.membership, core.id)) {
    // It may go on leading until others have committed its removal, or leave that to them.
    if (core.config.stepDownOnRemoval) becomeFollower(core, core.term, undefined);
    return;
  }
  // Fewer voters may mean that more is committed; new members are probed without delay.
  if (maybeCommit(core, leader)) broadcastAppend(core, leader);
  else broadcastAppend(core, leader, "skip");
  if (leader.transferee !== undefined && !isVoter(core.membership, leader.transferee)) {
    leader.transferee = undefined;
  }
}

/** Everything up to `index` is applied, of which `sizeBytes` were in the hands of the driver. */
export function appliedTo(core: Core, index: Index, sizeBytes: number): void {
  const applied = index > core.log.applied ? index : core.log.applied;
  core.log.appliedTo(applied, sizeBytes);
  const leader = core.role;
  if (leader.kind !== "leader" || !core.membership.autoLeave) return;
  if (applied < leader.pendingConfIndex) return;
  // Refused during a transfer of leadership; then the next applied entry tries again.
  const config = core.membership;
  const result = proposeAsLeader(core, leader, [LEAVE_JOINT]);
  if (result.ok) core.trace?.({ kind: "auto_leave_started", config });
  else core.trace?.({ kind: "auto_leave_dropped", config, error: result.error });
}

function progressAfter(core: Core, leader: Leader, outcome: ConfChangeOutcome) {
  const limits = {
    countMax: core.config.inflightCountMax,
    sizeMaxBytes: core.config.inflightSizeMaxBytes,
  };
  // New members are probed from our end; they mostly have nothing and get a snapshot. They count
  // as active, or the next quorum check could depose us before they had a chance to answer.
  const next = decodeIndex(Math.max(core.log.lastIndex(), 1));
  const { config, fresh } = outcome;
  return progressTable(config, leader.progress, fresh, (isLearner) => {
    return new Progress({ match: INDEX_NONE, next, isLearner, recentActive: true }, limits);
  });
}
