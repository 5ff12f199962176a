/**
 * `GET /ca` and `POST /ca/rotate`: the CAs of the cluster and the certificates of its nodes, and
 * the change of the CA. Keys are in no answer.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { CA_KEEP_SECONDS_DEFAULT, CA_KEEP_SECONDS_MAX, CA_KEEP_SECONDS_MIN } from "./limits.ts";
import { problemResponse } from "./problem.ts";
import { readBody } from "./request.ts";
import type { AdminService } from "./service.ts";

/** Body of `POST /ca/rotate`. */
export const RotateCaBody = v.strictObject({
  /** How long the present CA is trusted for nodes that are off. */
  keepSeconds: v.optional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(CA_KEEP_SECONDS_MIN),
      v.maxValue(CA_KEEP_SECONDS_MAX),
    ),
    CA_KEEP_SECONDS_DEFAULT,
  ),
});

/** The routes of the CA. */
export function authorityRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.get("/ca", (c) => c.json(service.authority()));

  app.post("/ca/rotate", async (c) => {
    const body = await readBody(c.req.raw, RotateCaBody);
    if (!body.ok) return problemResponse(body.error);
    const result = await service.rotateCa(body.value.keepSeconds);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  return app;
}
