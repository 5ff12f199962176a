/**
 * A store of one node for tests: the real state machine and the real watches, without a cluster
 * between the request and the log.
 *
 * @module
 */
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { decodeIndex, decodeTerm } from "../base/ids.ts";
import { ok, type Result } from "../base/result.ts";
import type { CompactOutcome } from "../control/kv/compact.ts";
import { kvHandlers } from "../control/kv/handlers.ts";
import { createStateMachine } from "../control/kv/state-machine.ts";
import type { TxnOutcome } from "../control/kv/txn.ts";
import type { Command } from "../control/kv/types.ts";
import type { WatchCursor } from "../control/kv/watch.ts";
import type { Consistency, KvApi, KvState, Watch } from "./kv-api.ts";
import type { ClusterFailure } from "./service.ts";
import { Watches } from "./watches.ts";

/** Every write is applied at once, every read sees it. */
export class FakeKv implements KvApi {
  readonly machine = createStateMachine(kvHandlers);
  readonly clock = new ManualClock();
  readonly watches = new Watches(this.machine, this.clock);
  /** Consistencies asked for so far. */
  readonly reads: Consistency[] = [];

  async read(consistency: Consistency): Promise<Result<KvState, ClusterFailure>> {
    this.reads.push(consistency);
    return ok(this.machine);
  }

  async txn(command: Command<TxnOutcome>): Promise<Result<TxnOutcome, ClusterFailure>> {
    return ok(this.apply(command));
  }

  async compact(command: Command<CompactOutcome>): Promise<Result<CompactOutcome, ClusterFailure>> {
    return ok(this.apply(command));
  }

  watch(cursor: WatchCursor): Result<Watch, ClusterFailure> {
    return this.watches.open(cursor);
  }

  /** Applies any command, as if it came through the log. */
  apply<Outcome>(command: Command<Outcome>): Outcome {
    const index = decodeIndex(this.machine.appliedIndex + 1);
    const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
    const { outcome, events } = this.machine.apply(command, context);
    if (events.length > 0) this.watches.changed();
    return outcome as Outcome;
  }
}
