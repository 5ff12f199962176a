/**
 * `GET /reservations`, `PUT` and `DELETE /reservations/10.0.53.0-24`: subnets kept for somebody.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { parseAddress } from "../base/address.ts";
import { err, ok, type Result } from "../base/result.ts";
import { SubnetPath } from "./leases.ts";
import { problemResponse, type RequestProblem } from "./problem.ts";
import { parsedBy, parseWith, readBody } from "./request.ts";
import type { AdminService, ReservationOwnerRequest } from "./service.ts";

const NODE_LENGTH_MAX = 64;

/** An address of an underlay. */
export const PublicIp = parsedBy(parseAddress, 'an address such as "192.0.2.1"');

/** Body of `PUT /reservations/<subnet>`: one of the two. */
export const ReserveBody = v.strictObject({
  /** Id of a node, or name of a member. */
  node: v.optional(v.pipe(v.string(), v.nonEmpty(), v.maxLength(NODE_LENGTH_MAX))),
  /** The node that first comes from this address gets the subnet, and keeps it. */
  publicIp: v.optional(PublicIp),
});

/** The routes of the reservations. */
export function reservationRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.get("/reservations", (c) => c.json(service.reservations()));

  app.put("/reservations/:subnet", async (c) => {
    const path = parseWith(SubnetPath, c.req.param(), "path");
    if (!path.ok) return problemResponse(path.error);
    const body = await readBody(c.req.raw, ReserveBody);
    if (!body.ok) return problemResponse(body.error);
    const owner = parseOwner(body.value);
    if (!owner.ok) return problemResponse(owner.error);
    const result = await service.reserve(path.value.subnet, owner.value);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  app.delete("/reservations/:subnet", async (c) => {
    const path = parseWith(SubnetPath, c.req.param(), "path");
    if (!path.ok) return problemResponse(path.error);
    const result = await service.unreserve(path.value.subnet);
    return result.ok ? c.json(result.value) : problemResponse(result.error);
  });

  return app;
}

function parseOwner({
  node,
  publicIp,
}: v.InferOutput<typeof ReserveBody>): Result<ReservationOwnerRequest, RequestProblem> {
  if (node !== undefined && publicIp === undefined) return ok({ node });
  if (publicIp !== undefined && node === undefined) return ok({ publicIp });
  const detail = 'Cannot read the body of the request: give either "node" or "publicIp"';
  const errors = [{ path: "", message: 'Expected either "node" or "publicIp"' }];
  return err({ kind: "invalid_request", detail, errors });
}
