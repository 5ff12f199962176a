/**
 * A cluster of one that applies at once, on the real state machine, for tests of what the agent
 * asks of a cluster. No log, no network, no time.
 *
 * @module
 */
import { decodeIndex, decodeTerm } from "../base/ids.ts";
import { err, ok } from "../base/result.ts";
import type { Cluster, ClusterStatus } from "../control/cluster/types.ts";
import { kvHandlers } from "../control/kv/handlers.ts";
import { createStateMachine } from "../control/kv/state-machine.ts";
import type { Command, KvEvent } from "../control/kv/types.ts";
import { networkHandlers } from "../control/network/handlers.ts";

/** A cluster that is always its own leader, and can be told to have none. */
export function openTestCluster() {
  const machine = createStateMachine({ ...kvHandlers, ...networkHandlers });
  const listeners = new Set<(events: readonly KvEvent[]) => void>();
  const executed: Command[] = [];
  const state = { leaderless: false };
  let index = 0;

  function apply<Outcome>(command: Command<Outcome>): Outcome {
    index++;
    const applied = machine.apply(command, {
      index: decodeIndex(index),
      term: decodeTerm(1),
      proposedAtMs: 0,
      request: undefined,
    });
    for (const listener of listeners) listener(applied.events);
    return applied.outcome as Outcome;
  }

  const cluster: Pick<Cluster, "reader" | "execute" | "status" | "onApplied" | "onRole"> = {
    reader: machine.reader,
    async execute(command) {
      if (state.leaderless) return err({ kind: "no_leader", detail: "Nobody leads" });
      executed.push(command);
      return ok(apply(command));
    },
    status: () => ({ role: "leader", term: decodeTerm(1) }) as ClusterStatus,
    onApplied(listener) {
      const each = (events: readonly KvEvent[]) => listener(events, machine.reader.revision);
      listeners.add(each);
      return () => listeners.delete(each);
    },
    onRole: () => () => undefined,
  };
  return {
    machine,
    cluster,
    apply,
    executed,
    state,
  };
}
