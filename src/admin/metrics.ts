/**
 * `GET /metrics`: counters and gauges for Prometheus.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import { formatMetrics, METRICS_MEDIA_TYPE } from "./metrics-text.ts";
import type { AdminService, Metric } from "./service.ts";

/** The route of the metrics. `overlay_build_info` is added to what the service knows. */
export function metricsRoutes(service: AdminService): Hono {
  const buildInfo: Metric = {
    name: "build_info",
    kind: "gauge",
    help: "Always 1; the version of the agent is in the label.",
    samples: [{ labels: { version: service.version }, value: 1 }],
  };
  const app = new Hono();
  app.get("/metrics", (c) =>
    c.body(formatMetrics([buildInfo, ...service.metrics()]), 200, {
      "content-type": METRICS_MEDIA_TYPE,
    }),
  );
  return app;
}
