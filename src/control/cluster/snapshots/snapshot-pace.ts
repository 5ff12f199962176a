/**
 * The body of a snapshot in slices that the event loop hardly notices.
 *
 * A chunk takes a quarter of a millisecond, and forty times as long where the code runs for the
 * first time or the collector has its turn. So time is measured, not bytes: a chunk ends early when
 * its time is over, and others have their turn before the next one.
 *
 * @module
 */
import type { Clock } from "../../../host/ports.ts";
import type { SnapshotPart } from "../../kv/types.ts";
import { encodeSnapshotBody, SNAPSHOT_CHUNK_SIZE_BYTES } from "../codec/snapshot-codec.ts";
import { SNAPSHOT_SLICE_MS } from "../limits.ts";

/** The body of `parts` in chunks. Lazy, like `encodeSnapshotBody`. */
export async function* paceSnapshotBody(
  parts: Iterable<SnapshotPart>,
  clock: Pick<Clock, "nowMs" | "after">,
): AsyncGenerator<Uint8Array, void, void> {
  let begunAtMs = clock.nowMs();
  const isSpent = () => clock.nowMs() - begunAtMs >= SNAPSHOT_SLICE_MS;
  for (const chunk of encodeSnapshotBody(parts, isSpent)) {
    yield chunk;
    // A whole chunk has been a turn by itself: writing it was.
    if (chunk.length < SNAPSHOT_CHUNK_SIZE_BYTES) {
      await new Promise<void>((resolve) => clock.after(0, resolve));
    }
    begunAtMs = clock.nowMs();
  }
}
