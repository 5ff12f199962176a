/**
 * `GET /tokens`, `POST /tokens` and `DELETE /tokens/<id>`: the tokens that let nodes join.
 *
 * A list never holds a secret: the token itself is in the answer to its creation, once.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import {
  TOKEN_LIFE_SECONDS_DEFAULT,
  TOKEN_LIFE_SECONDS_MAX,
  TOKEN_LIFE_SECONDS_MIN,
  TOKEN_USES_MAX,
} from "./limits.ts";
import { problemResponse } from "./problem.ts";
import { parseWith, readBody } from "./request.ts";
import type { AdminService } from "./service.ts";

/** Body of `POST /tokens`. */
export const CreateTokenBody = v.strictObject({
  lifeSeconds: v.optional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(TOKEN_LIFE_SECONDS_MIN),
      v.maxValue(TOKEN_LIFE_SECONDS_MAX),
    ),
    TOKEN_LIFE_SECONDS_DEFAULT,
  ),
  /** Absent: as often as wanted until it expires. */
  usesMax: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(TOKEN_USES_MAX))),
});

const TokenPath = v.object({
  id: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,64}$/, "Expected a token id")),
});

/** The routes of the join tokens. */
export function tokenRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.get("/tokens", (c) => c.json(service.tokens()));

  app.post("/tokens", async (c) => {
    const body = await readBody(c.req.raw, CreateTokenBody);
    if (!body.ok) return problemResponse(body.error);
    const { lifeSeconds, usesMax } = body.value;
    const result = await service.createToken({ lifeSeconds, usesMax });
    return result.ok ? c.json(result.value, 201) : problemResponse(result.error);
  });

  app.delete("/tokens/:id", async (c) => {
    const path = parseWith(TokenPath, c.req.param(), "path");
    if (!path.ok) return problemResponse(path.error);
    const result = await service.revokeToken(path.value.id);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  return app;
}
