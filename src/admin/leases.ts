/**
 * `GET /leases` and `DELETE /leases/10.0.53.0-24`: who holds which subnet.
 *
 * In a path a subnet is written as flannel writes it in keys, with "-" for "/"; "%2F" works too.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { type Prefix, parsePrefix } from "../base/address.ts";
import { problemResponse } from "./problem.ts";
import { parsedBy, parseWith } from "./request.ts";
import type { AdminService } from "./service.ts";

/** Path of a subnet's routes. */
export const SubnetPath = v.object({
  subnet: parsedBy(parseSubnetSegment, 'a subnet such as "10.0.53.0-24"'),
});

/** The routes of the leases. */
export function leaseRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.get("/leases", (c) => c.json(service.leases()));

  app.delete("/leases/:subnet", async (c) => {
    const path = parseWith(SubnetPath, c.req.param(), "path");
    if (!path.ok) return problemResponse(path.error);
    const result = await service.releaseLease(path.value.subnet);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  return app;
}

/** The subnet that `text` writes, with "-" or "/". */
export function parseSubnetSegment(text: string): Prefix | undefined {
  return parsePrefix(text.replace(/-([0-9]+)$/, "/$1"));
}
