/**
 * What proposals and reads ask of the core, the group and the transport: their side of a driver.
 *
 * @module
 */
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
import type { Transport } from "./transport/peer-port.ts";

/** The parts of a driver that both use. */
export interface CoreParts {
  readonly raft: Raft;
  readonly view: GroupView;
  readonly outgoing: Outgoing;
  readonly transport: Transport;
  readonly machine: Pick<StateMachine, "appliedIndex">;
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

/** Proposals of this node as the client `client`. */
export function proposalHost(
  parts: CoreParts,
  { nodeId, client }: Pick<ProposalHost, "nodeId" | "client">,
): ProposalHost {
  const { view, outgoing, transport, clock } = parts;
  return {
    client,
    nodeId,
    leadership: () => view.role,
    others: () => view.confState.voters.filter((id) => id !== nodeId),
    propose: (entries) => proposeTo(parts, entries),
    forward: (target, body, timeoutMs) =>
      transport.call({ target, method: "propose", body, timeoutMs }),
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
