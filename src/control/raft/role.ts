/**
 * Changes of role.
 *
 *              timeout            quorum of pre-votes        quorum of votes
 *   follower ------------> pre-candidate ----------> candidate ------------> leader
 *      ^  |                     |   (only with pre-vote)  |                    |
 *      |  +---------------------|------------------------>|                    |
 *      +------------------------+--------- a leader, a higher term, or too few +
 *
 * Source: thesis §3.4, §9.6 (pre-vote). A pre-candidate keeps its term and vote: a rehearsal must
 * change nothing.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, decodeTerm, type NodeId, type Term } from "../../base/ids.ts";
import { adoptTerm, type Core, castVote, INDEX_NONE, type Leader, noteLeader } from "./core.ts";
import { Progress, progressTable } from "./progress.ts";
import { appendProposals } from "./propose.ts";
import { ReadQueue } from "./read-index.ts";

const EMPTY_ENTRY = { kind: "normal", data: new Uint8Array(0) } as const;

/** Follows `leader`, or nobody yet, in `term`. */
export function becomeFollower(core: Core, term: Term, leader: NodeId | undefined): void {
  restart(core, term);
  core.role = { kind: "follower", leader };
  core.trace?.({ kind: "became", role: "follower", term });
}

/** Rehearses an election. */
export function becomePreCandidate(core: Core): void {
  assert(core.role.kind !== "leader", "a leader must not become a pre-candidate");
  core.role = { kind: "pre_candidate", votes: new Map() };
  core.trace?.({ kind: "became", role: "pre_candidate", term: core.term });
}

/** Starts an election in the next term, with its own vote. */
export function becomeCandidate(core: Core): void {
  assert(core.role.kind !== "leader", "a leader must not become a candidate");
  restart(core, decodeTerm(core.term + 1));
  castVote(core, core.id);
  core.role = { kind: "candidate", votes: new Map() };
  core.trace?.({ kind: "became", role: "candidate", term: core.term });
}

/** Leads its term, and opens it with an empty entry, which makes older ones commit (§3.6.2). */
export function becomeLeader(core: Core): void {
  assert(core.role.kind === "candidate", "only a candidate can become leader");
  restart(core, core.term);
  noteLeader(core, core.id);
  const leader = createLeader(core);
  core.role = leader;
  const accepted = appendProposals(core, leader, [EMPTY_ENTRY]);
  assert(accepted, "the empty entry of a new leader must not be refused");
  core.trace?.({ kind: "became", role: "leader", term: core.term });
}

function createLeader(core: Core): Leader {
  const last = core.log.lastIndex();
  const limits = {
    countMax: core.config.inflightCountMax,
    sizeMaxBytes: core.config.inflightSizeMaxBytes,
  };
  const progress = progressTable(core.membership, new Map(), new Set(), (isLearner) => {
    const next = decodeIndex(last + 1);
    return new Progress({ match: INDEX_NONE, next, isLearner, recentActive: false }, limits);
  });
  const own = progress.get(core.id);
  assert(own !== undefined, "a leader must be a member when it is elected");
  own.recentActive = true;
  own.maybeUpdate(last);
  own.becomeReplicate();
  return {
    kind: "leader",
    progress,
    heartbeatElapsedTicks: 0,
    uncheckedTicks: 0,
    // There may be a change among what we have not applied; looking would cost more than waiting.
    pendingConfIndex: last,
    uncommittedSizeBytes: 0,
    transferee: undefined,
    reads: new ReadQueue(),
  };
}

/** What every change of role but the rehearsal begins with. */
function restart(core: Core, term: Term): void {
  adoptTerm(core, term);
  core.electionElapsedTicks = 0;
  const { electionTicks } = core.config;
  core.electionTimeoutTicks = electionTicks + core.random.below(electionTicks);
}
