/**
 * `GET /status`: this node, its cluster, its lease, its data plane and its peers, in one answer.
 *
 * Always from local knowledge: it answers without a quorum too, and says so.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import type { AdminService } from "./service.ts";

/** The route of the status. */
export function statusRoutes(service: AdminService): Hono {
  const app = new Hono();
  app.get("/status", (c) => c.json(service.status()));
  return app;
}
