/**
 * `GET /recovery`: what this node would go on with alone; `POST /recovery`: does it, which makes a
 * new cluster. Doing it is for the local socket only (`access.ts`).
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { problemResponse } from "./problem.ts";
import { readBody } from "./request.ts";
import type { AdminService } from "./service.ts";

const CLUSTER_ID_PATTERN = /^[0-9a-f]{32}$/;

/** Body of `POST /recovery`: which cluster is given up, so that nobody recovers another one. */
export const RecoveryBody = v.strictObject({
  clusterId: v.pipe(v.string(), v.regex(CLUSTER_ID_PATTERN)),
});

/** The routes of recovery. */
export function recoveryRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.get("/recovery", (c) => c.json(service.recovery()));

  app.post("/recovery", async (c) => {
    const body = await readBody(c.req.raw, RecoveryBody);
    if (!body.ok) return problemResponse(body.error);
    const result = await service.recover(body.value.clusterId);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  return app;
}
