/**
 * What proposals and reads ask of the core, the group and the feed: their side of a driver.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import { err, type Result } from "../../base/result.ts";
import type { Clock } from "../../host/ports.ts";
import type { StateMachine } from "../kv/types.ts";
import type { ProposeError, Raft } from "../raft/raft.ts";
import type { ProposedEntry } from "../raft/types.ts";
import type { GroupView } from "./group-view.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Proposals } from "./requests/proposals.ts";
import type { ReadBarriers } from "./requests/read-barrier.ts";
import { soon } from "./soon.ts";
import type { Feed } from "./spares/feed.ts";

/** The parts of a driver that both use. */
export interface CoreParts {
  readonly raft: Raft;
  readonly view: GroupView;
  readonly outgoing: Outgoing;
  readonly machine: Pick<StateMachine, "appliedIndex" | "reader">;
  readonly clock: Clock;
  readonly isStopped: () => boolean;
  /** Runs the core's effects soon. */
  readonly schedulePump: () => void;
}

type ProposalHost = ConstructorParameters<typeof Proposals>[0];
type ReadHost = ConstructorParameters<typeof ReadBarriers>[0];

/** Has the core take in `entries`, unless the driver has stopped. */
export function proposeTo(
  parts: CoreParts,
  entries: readonly ProposedEntry[],
): Result<void, ProposeError> {
  if (parts.isStopped()) return err({ kind: "no_leader" });
  const result = parts.raft.propose(entries);
  parts.schedulePump();
  return result;
}

/** Has a core that leads hand over to `target`, unless the driver has stopped. */
export function transferTo({ raft, isStopped, schedulePump }: CoreParts, target: NodeId): void {
  if (isStopped()) return;
  // Naming itself ends an attempt under way, which would else stand in the way of this one.
  raft.transferLeadership(raft.status().id);
  raft.transferLeadership(target);
  schedulePump();
}

/** Proposals of this node as the client `client`. */
export function proposalHost(
  parts: CoreParts,
  own: Pick<ProposalHost, "nodeId" | "client"> & { readonly feed: Feed },
): ProposalHost {
  const { view, outgoing, clock } = parts;
  const { nodeId, client, feed } = own;
  return {
    client,
    nodeId,
    leadership: () => view.role,
    others: () => view.confState.voters.filter((id) => id !== nodeId),
    propose: (entries) => proposeTo(parts, entries),
    forward: (target, body, timeoutMs) => feed.forward(target, body, timeoutMs),
    hurry: (node) => outgoing.release(node),
    soon: (task) => soon(clock, task),
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs(),
    explain: () => view.explain("write"),
  };
}

/** Reads of this node. */
export function readHost(parts: CoreParts): ReadHost {
  const { raft, view, machine, clock } = parts;
  return {
    readIndex: (context) => {
      if (parts.isStopped()) return;
      raft.readIndex(context);
      parts.schedulePump();
    },
    appliedIndex: () => machine.appliedIndex,
    nowMs: () => clock.nowMs(),
    explain: () => view.explain("read"),
  };
}
