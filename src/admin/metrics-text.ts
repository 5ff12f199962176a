/**
 * Metrics as text: the Prometheus exposition format, version 0.0.4.
 *
 * Source: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format". One family is
 *
 *     # HELP overlay_<name> <help, "\" and line feed escaped>
 *     # TYPE overlay_<name> counter|gauge
 *     overlay_<name>{<label>="<value, "\", line feed and double quote escaped>",…} <number>
 *
 * Pure. Names come from our own code, so a bad one is a bug; label values may be anything.
 *
 * @module
 */
import { assert } from "../base/assert.ts";
import type { Metric, MetricSample } from "./service.ts";

/** The media type of `formatMetrics`. */
export const METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const PREFIX = "overlay_";
const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** All of `metrics`, each name once, in the order given. */
export function formatMetrics(metrics: readonly Metric[]): string {
  const seen = new Set<string>();
  let text = "";
  for (const metric of metrics) {
    const name = PREFIX + metric.name;
    assert(METRIC_NAME.test(name), "metric name outside the format");
    assert(!seen.has(name), "metric name given twice");
    seen.add(name);
    text += `# HELP ${name} ${escapeHelp(metric.help)}\n# TYPE ${name} ${metric.kind}\n`;
    for (const sample of metric.samples) text += formatSample(name, sample);
  }
  return text;
}

function formatSample(name: string, sample: MetricSample): string {
  const labels = Object.entries(sample.labels).map(([label, value]) => {
    assert(LABEL_NAME.test(label), "label name outside the format");
    return `${label}="${escapeLabel(value)}"`;
  });
  const braces = labels.length === 0 ? "" : `{${labels.join(",")}}`;
  return `${name}${braces} ${formatValue(sample.value)}\n`;
}

/** As Go's ParseFloat reads it. */
function formatValue(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  return String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
