/**
 * All that a node has of its cluster's state: its snapshot and every entry of its log, also those
 * of which it does not know that they are committed.
 *
 * For a node that is to go on alone. What a majority acknowledged is on some of its disks; what
 * this node has of that is in its log, and nobody is left who could say which entries those are.
 * To keep one that was never acknowledged is harmless: its writer was told nothing, or `timeout`.
 *
 * @module
 */
import { decodeIndex, decodeTerm, type Index, type NodeId, type Term } from "../../../base/ids.ts";
import type { LogStore } from "../../../host/ports.ts";
import type { StateMachine } from "../../kv/types.ts";
import type { ConfChange } from "../../raft/types.ts";
import { type ClusterRef, recoverStore } from "../recovery.ts";
import { applyEntries } from "../requests/applier.ts";

/** What was found beside the state. */
export interface WholeState {
  readonly voters: readonly NodeId[];
  /** Of the last entry, or the last one voted in. */
  readonly term: Term;
  readonly lastIndex: Index;
  /** Up to where this node knew that entries are committed. */
  readonly commit: Index;
}

/** Fills `machine` out of `store`, just opened. Throws `HostError` when that is not usable. */
export async function readWholeState(
  store: LogStore,
  machine: StateMachine,
  cluster: ClusterRef,
): Promise<WholeState> {
  const { memoryLog, hardState, confState } = await recoverStore(store, machine, cluster);
  const lastIndex = memoryLog.lastIndex();
  const next = decodeIndex(machine.appliedIndex + 1);
  const entries =
    next > lastIndex ? [] : (memoryLog.entries(next, decodeIndex(lastIndex + 1), Infinity) ?? []);
  const voters = new Set(confState.voters);
  applyEntries(machine, entries, {
    confChange: (change) => follow(voters, change),
    decoded: () => undefined,
    applied: () => undefined,
  });
  return {
    voters: [...voters].sort((a, b) => a - b),
    term: decodeTerm(Math.max(hardState?.term ?? 0, memoryLog.term(lastIndex) ?? 0)),
    lastIndex,
    commit: hardState?.commit ?? decodeIndex(0),
  };
}

/** Who votes after `change`, with everybody of both halves of a joint change in between. */
function follow(voters: Set<NodeId>, change: ConfChange): void {
  for (const { operation, node } of change.changes) {
    if (operation === "add_voter") voters.add(node);
    else if (operation !== "update") voters.delete(node);
  }
}
