/**
 * `GET /healthz` (the process answers) and `GET /readyz` (the node does its job, or why not).
 *
 * @module
 */
import { Hono } from "@hono/hono";
import { RETRY_AFTER_SECONDS } from "./limits.ts";
import type { AdminService } from "./service.ts";

/** The routes that supervisors and load balancers ask. */
export function healthRoutes(service: AdminService): Hono {
  const app = new Hono();

  app.get("/healthz", (c) => c.text("ok\n"));

  app.get("/readyz", (c) => {
    const { ready, reasons } = service.readiness();
    if (ready) return c.json({ ready, reasons });
    return c.json({ ready, reasons }, 503, { "retry-after": String(RETRY_AFTER_SECONDS) });
  });

  return app;
}
