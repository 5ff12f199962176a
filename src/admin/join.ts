/**
 * `POST /join` and `POST /leave`: which cluster this node is in. On the local socket only
 * (`access.ts`).
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { PEER_TEXT_LENGTH_MAX, TOKEN_TEXT_LENGTH_MAX } from "./limits.ts";
import { problemResponse } from "./problem.ts";
import { readBody } from "./request.ts";
import type { AdminService } from "./service.ts";

const PEER_PATTERN = /^[A-Za-z0-9.:[\]_-]+$/;

/** Body of `POST /join`. */
export const JoinBody = v.strictObject({
  /** Host, or host and port. */
  peer: v.pipe(
    v.string(),
    v.maxLength(PEER_TEXT_LENGTH_MAX),
    v.regex(PEER_PATTERN, "Expected a host, or a host and a port"),
  ),
  /** What it says is checked by the cluster, which knows its form. */
  token: v.pipe(
    v.string(),
    v.nonEmpty("Expected the token that `overlay token` printed, and got nothing"),
    v.maxLength(TOKEN_TEXT_LENGTH_MAX),
  ),
  reset: v.optional(v.boolean(), false),
});

/** Body of `POST /leave`: nothing yet. */
export const LeaveBody = v.strictObject({});

/** The routes of joining and leaving. */
export function joinRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.post("/join", async (c) => {
    const body = await readBody(c.req.raw, JoinBody);
    if (!body.ok) return problemResponse(body.error);
    const result = await service.join(body.value);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  app.post("/leave", async (c) => {
    const body = await readBody(c.req.raw, LeaveBody);
    if (!body.ok) return problemResponse(body.error);
    const result = await service.leave();
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  return app;
}
