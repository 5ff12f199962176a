/**
 * `POST /ping`: asks peers whether they answer, over the path that packets take.
 *
 * Nothing is changed by it, but it sends packets: over TCP it needs the token like a write.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { PEER_TEXT_LENGTH_MAX } from "./limits.ts";
import { problemResponse } from "./problem.ts";
import { readBody } from "./request.ts";
import type { AdminService } from "./service.ts";

const TIMEOUT_MS_MIN = 10;
const TIMEOUT_MS_MAX = 10_000;
const TIMEOUT_MS_DEFAULT = 1000;
/** Longest pause before asking. */
const DELAY_MS_MAX = 60_000;

/** Body of `POST /ping`. */
export const PingBody = v.strictObject({
  /** A peer's name, id, or address (of its endpoint, or any of its subnet); "all" for every one. */
  target: v.pipe(v.string(), v.nonEmpty(), v.maxLength(PEER_TEXT_LENGTH_MAX)),
  /** "underlay": the packet loops ask each other. "overlay": an echo request through the TUNs. */
  through: v.optional(v.picklist(["underlay", "overlay"]), "underlay"),
  timeoutMs: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(TIMEOUT_MS_MIN), v.maxValue(TIMEOUT_MS_MAX)),
    TIMEOUT_MS_DEFAULT,
  ),
  /** Wait so long first. */
  delayMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(DELAY_MS_MAX)), 0),
  /** Look for a larger path MTU than the one that was found. */
  raiseMtu: v.optional(v.boolean(), false),
});

/** The route of asking peers. */
export function pingRoutes(service: AdminService): Hono {
  const app = new Hono();
  app.post("/ping", async (c) => {
    const body = await readBody(c.req.raw, PingBody);
    if (!body.ok) return problemResponse(body.error);
    const result = await service.ping(body.value);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });
  return app;
}
