/**
 * `GET /`: what this port is, for a person who opens it.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import type { AdminService } from "./service.ts";

/** The route of the first page. */
export function homeRoutes(service: AdminService): Hono {
  const app = new Hono();
  app.get("/", (c) =>
    c.text(
      [
        `overlay ${service.version}: the admin API of this node.`,
        "",
        "GET  /status     this node, its cluster, its peers",
        "GET  /config     network config; PUT to change it",
        "GET  /leases     who holds which subnet",
        "GET  /members    the nodes of the cluster",
        "GET  /tokens     join tokens, without their secrets; POST for a new one",
        "GET  /healthz    the process answers",
        "GET  /readyz     the node does its job, or why not",
        "GET  /kv         keys and values; /watch for their changes, POST /txn to change several",
        "GET  /metrics    for Prometheus",
        "GET  /openapi.json  all of it, for programs",
        "",
        "Changes need the local socket, or the admin token as a bearer token. Try: overlay status",
        "",
      ].join("\n"),
    ),
  );
  return app;
}
