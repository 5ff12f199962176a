/**
 * `POST /import`: a network from elsewhere, with who has which subnet there, in one revision.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { IfMatchHeader } from "./config.ts";
import { parseSubnetSegment } from "./leases.ts";
import { IMPORT_RESERVATIONS_MAX } from "./limits.ts";
import { problemResponse } from "./problem.ts";
import { parsedBy, parseWith, readBody } from "./request.ts";
import { PublicIp } from "./reservations.ts";
import type { AdminService } from "./service.ts";

/** Body of `POST /import`. */
export const ImportBody = v.strictObject({
  config: v.record(v.string(), v.unknown()),
  reservations: v.pipe(
    v.array(
      v.strictObject({
        subnet: parsedBy(parseSubnetSegment, 'a subnet such as "10.0.53.0/24"'),
        publicIp: PublicIp,
      }),
    ),
    v.maxLength(IMPORT_RESERVATIONS_MAX),
  ),
});

/** The route of the import. */
export function importRoutes(service: AdminService): Hono {
  const app = new Hono();
  app.post("/import", async (c) => {
    const given = { "If-Match": c.req.header("if-match") };
    const expected = parseWith(IfMatchHeader, given, "header");
    if (!expected.ok) return problemResponse(expected.error);
    const body = await readBody(c.req.raw, ImportBody);
    if (!body.ok) return problemResponse(body.error);
    const expectedRevision = expected.value["If-Match"];
    const result = await service.importNetwork({ ...body.value, expectedRevision });
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });
  return app;
}
