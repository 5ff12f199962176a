/**
 * The apply thread of the core: committed entries into the state machine, in order, each once.
 *
 * @module
 */
import { assert } from "../../../base/assert.ts";
import { HostError } from "../../../base/host-error.ts";
import type { Index, Revision } from "../../../base/ids.ts";
import { CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";
import type { KvEvent, RequestId, StateMachine } from "../../kv/types.ts";
import type { ConfChange, Entry, NormalEntry } from "../../raft/types.ts";
import { decodeCommand, type LoggedCommand, versionOfCommand } from "../codec/entry-codec.ts";
import { REJOIN, tooOld } from "../upgrade/too-old.ts";

/** Who is told what was applied. */
export interface ApplyHost {
  confChange(change: ConfChange): void;
  /** What a payload says, when somebody has decoded it before. */
  decoded(payload: Uint8Array): LoggedCommand | undefined;
  /** Called after each entry with a command. */
  applied(entry: {
    readonly index: Index;
    readonly request: RequestId | undefined;
    readonly outcome: unknown;
    readonly revision: Revision;
    readonly events: readonly KvEvent[];
  }): void;
}

/** Applies `entries`, which follow what was applied. Throws `HostError` on a newer version's. */
export function applyEntries(
  machine: StateMachine,
  entries: readonly Entry[],
  host: ApplyHost,
): void {
  for (const entry of entries) {
    assert(entry.index === machine.appliedIndex + 1, "entries must be applied in order");
    if (entry.kind === "conf_change") {
      machine.skip(entry.index);
      host.confChange(entry.change);
    } else if (entry.data.length === 0) {
      machine.skip(entry.index);
    } else {
      applyCommand(machine, entry, host);
    }
  }
}

function applyCommand(machine: StateMachine, entry: NormalEntry, host: ApplyHost): void {
  const logged = host.decoded(entry.data) ?? decodeCommand(entry.data);
  if (logged === undefined) throw unreadable(entry);
  const { index, term } = entry;
  const { request, proposedAtMs } = logged;
  const applied = machine.apply(logged.command, { index, term, proposedAtMs, request });
  const { outcome, revision, events } = applied;
  host.applied({ index, request, outcome, revision, events });
}

function unreadable({ index, data }: NormalEntry): HostError {
  const call = { operation: "apply", object: `log entry ${index}` };
  const version = versionOfCommand(data);
  if (version > CLUSTER_VERSION_NEWEST) return tooOld(call, version);
  return new HostError({ ...call, reason: "it makes no sense", next: REJOIN });
}
