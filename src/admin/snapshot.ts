/**
 * `GET /snapshot`: a backup of the cluster's state, as a stream (`control/cluster/snapshots`).
 *
 * Whoever takes it can tell whether it is whole: its last bytes are a digest of all before them.
 * Linearizable unless `?consistency=serializable`, which works without a quorum.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { problemResponse } from "./problem.ts";
import { parseQuery } from "./request.ts";
import type { AdminService } from "./service.ts";

export const BACKUP_MEDIA_TYPE = "application/vnd.overlay.snapshot";

/** What stands behind the question mark. */
export const SnapshotQuery = v.strictObject({
  consistency: v.optional(v.picklist(["linearizable", "serializable"]), "linearizable"),
});

/** The route of backups. */
export function snapshotRoutes(service: Pick<AdminService, "backup">): Hono {
  const app = new Hono();
  app.get("/snapshot", async (c) => {
    const query = parseQuery(c.req.raw, SnapshotQuery);
    if (!query.ok) return problemResponse(query.error);
    const headers = { "content-type": BACKUP_MEDIA_TYPE };
    // A HEAD request comes here too, and nobody would read what it began.
    if (c.req.method === "HEAD") return new Response(null, { headers });
    const backup = await service.backup(query.value.consistency);
    if (!backup.ok) return problemResponse(backup.error);
    return new Response(streamOf(backup.value), { headers });
  });
  return app;
}

/** Asked for chunk by chunk, as the connection takes them. */
function streamOf(chunks: AsyncGenerator<Uint8Array, void, void>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await chunks.next();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      async cancel() {
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}
