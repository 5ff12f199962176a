/**
 * When leases run out.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import { AssertionError } from "../../base/assert.ts";
import type { Term } from "../../base/ids.ts";
import type { KvEvent } from "../kv/types.ts";
import type { ExpireLeases } from "./commands.ts";
import type { Lease } from "./lease.ts";

/** Deadlines of the held leases on this node's monotonic clock. All times in milliseconds. */
export class LeaseClock {
  /** Starts over with these leases, as if all were renewed now: after a start or a restore. */
  reset(leases: Iterable<Lease>, nowMs: number): void {
    throw new AssertionError(`not built yet: ${nowMs} ${[...leases].length}`);
  }

  /** Takes note of what one applied entry changed. */
  observe(events: readonly KvEvent[], nowMs: number): void {
    throw new AssertionError(`not built yet: ${nowMs} ${events.length}`);
  }

  /** From now on this node leads `term`: every lease gets its whole time again. */
  becameLeader(term: Term, nowMs: number): void {
    throw new AssertionError(`not built yet: ${nowMs} ${term}`);
  }

  lostLeadership(): void {}

  /** Time that `subnet` has left, 0 when overdue; undefined when nobody holds it. */
  remainingSeconds(subnet: Prefix, nowMs: number): number | undefined {
    throw new AssertionError(`not built yet: ${nowMs} ${subnet}`);
  }

  /** What the leader shall propose now; nothing on other nodes. To be called about once a second. */
  due(nowMs: number): readonly ExpireLeases[] {
    throw new AssertionError(`not built yet: ${nowMs}`);
  }
}
