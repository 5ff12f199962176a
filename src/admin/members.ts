/**
 * `GET /members`, `DELETE /members/<id>`, `POST /members/<id>/promote` and `…/demote`: the nodes of
 * the cluster; `GET` and `PUT /voters`: how many of them should vote.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { formatNodeId, parseNodeId } from "../base/ids.ts";
import { VOTER_TARGETS } from "./limits.ts";
import { problemResponse } from "./problem.ts";
import { parsedBy, parseWith, readBody } from "./request.ts";
import type { AdminService } from "./service.ts";

const MemberPath = v.object({
  id: parsedBy(parseNodeId, "a node id: 14 lower-case hexadecimal digits"),
});

/** Body of `PUT /voters`. */
export const VotersBody = v.strictObject({ target: v.picklist(VOTER_TARGETS) });

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

  const orders = {
    promote: (id: string) => service.promoteMember(id),
    demote: (id: string) => service.demoteMember(id),
  };
  for (const [verb, order] of Object.entries(orders)) {
    app.post(`/members/:id/${verb}`, async (c) => {
      const path = parseWith(MemberPath, c.req.param(), "path");
      if (!path.ok) return problemResponse(path.error);
      const result = await order(formatNodeId(path.value.id));
      return result.ok ? c.json(result.value) : problemResponse(result.error);
    });
  }

  app.get("/voters", (c) => c.json(service.voters()));

  app.put("/voters", async (c) => {
    const body = await readBody(c.req.raw, VotersBody);
    if (!body.ok) return problemResponse(body.error);
    const result = await service.setVoters(body.value.target);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  return app;
}
