/**
 * `GET /members` and `DELETE /members/<id>`: the nodes of the cluster.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { formatNodeId, parseNodeId } from "../base/ids.ts";
import { problemResponse } from "./problem.ts";
import { parsedBy, parseWith } from "./request.ts";
import type { AdminService } from "./service.ts";

const MemberPath = v.object({
  id: parsedBy(parseNodeId, "a node id: 14 lower-case hexadecimal digits"),
});

/** The routes of the members. */
export function memberRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.get("/members", (c) => c.json(service.members()));

  app.delete("/members/:id", async (c) => {
    const path = parseWith(MemberPath, c.req.param(), "path");
    if (!path.ok) return problemResponse(path.error);
    const result = await service.removeMember(formatNodeId(path.value.id));
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  return app;
}
