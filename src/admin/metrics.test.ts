/**
 * `/metrics` through a strict little parser of the exposition format.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createSilentLog } from "../base/log.ts";
import { createTestApp } from "./app.fake.ts";
import { formatMetrics } from "./metrics-text.ts";
import { createFakeService } from "./service.fake.ts";
import type { Metric } from "./service.ts";

interface ParsedFamily {
  readonly name: string;
  readonly kind: string;
  readonly help: string;
  readonly samples: { labels: Record<string, string>; value: number }[];
}

/** Reads the format line by line and throws at the first thing that the format does not allow. */
function parseExposition(text: string): ParsedFamily[] {
  if (text !== "" && !text.endsWith("\n")) throw new Error("no line feed at the end");
  const families: ParsedFamily[] = [];
  const lines = text.split("\n").slice(0, -1);
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    const help = /^# HELP ([a-zA-Z_:][\w:]*) ((?:[^\\]|\\\\|\\n)*)$/.exec(line);
    if (help !== null) {
      const type = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge)$/.exec(lines[++at] ?? "");
      if (type === null || type[1] !== help[1]) throw new Error(`TYPE does not follow: ${line}`);
      if (families.some(({ name }) => name === help[1])) throw new Error(`twice: ${help[1]}`);
      families.push({ name: help[1]!, kind: type[2]!, help: unescaped(help[2]!), samples: [] });
      continue;
    }
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([-+0-9.eE]+|NaN|[+-]Inf)$/s.exec(line);
    const family = families.at(-1);
    if (sample === null || family === undefined || family.name !== sample[1])
      throw new Error(`not a sample: ${line}`);
    const value = sample[3]!.replace("Inf", "Infinity");
    family.samples.push({ labels: parseLabels(sample[2] ?? ""), value: Number(value) });
  }
  return families;
}

function parseLabels(text: string): Record<string, string> {
  const labels: [string, string][] = [];
  const pair = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\\\|\\n|\\")*)"(,|$)/y;
  while (pair.lastIndex < text.length) {
    const match = pair.exec(text);
    if (match === null) throw new Error(`not labels: ${text}`);
    labels.push([match[1]!, unescaped(match[2]!)]);
  }
  return Object.fromEntries(labels);
}

function unescaped(text: string): string {
  return text.replaceAll(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char));
}

const text = fc.string({ unit: fc.constantFrom("a", "\\", '"', "\n", "{", "}", ",", " ", "ü") });
const metric = fc.record({
  name: fc.constantFrom("a", "b_total", "c:d", "e1"),
  kind: fc.constantFrom("counter" as const, "gauge" as const),
  help: text,
  samples: fc.array(
    fc.record({
      labels: fc.dictionary(fc.constantFrom("x", "y_z", "_w"), text, { noNullPrototype: true }),
      value: fc.oneof(fc.double(), fc.maxSafeInteger()).map((value) => value + 0), // no -0
    }),
  ),
});

describe("formatMetrics", () => {
  test("whatever is written is read back", () => {
    const metrics = fc.uniqueArray(metric, { selector: ({ name }) => name });
    fc.assert(
      fc.property(metrics, (given: readonly Metric[]) => {
        const expected = given.map((one) => ({ ...one, name: `overlay_${one.name}` }));
        expect<unknown>(parseExposition(formatMetrics(given))).toEqual(expected);
      }),
    );
  });

  test("names outside the format, and twice the same name, are bugs", () => {
    const plain = { name: "a", kind: "gauge", help: "", samples: [] } as const;
    expect(() => formatMetrics([{ ...plain, name: "a-b" }])).toThrow("metric name outside");
    expect(() => formatMetrics([plain, plain])).toThrow("twice");
    const labels = { "a-b": "" };
    expect(() => formatMetrics([{ ...plain, samples: [{ labels, value: 1 }] }])).toThrow("label");
  });
});

test("GET /metrics: build_info and the service's metrics, by the media type of the format", async () => {
  const drops: Metric = {
    name: "drops_total",
    kind: "counter",
    help: "Packets not forwarded.",
    samples: [{ labels: { reason: "no_route" }, value: 3 }],
  };
  const service = createFakeService({ metrics: () => [drops] });
  const options = { access: "tcp", adminToken: "", log: createSilentLog() } as const;
  const headers = { host: "127.0.0.1" };
  const response = await createTestApp(service, options).request("/metrics", { headers });
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(parseExposition(await response.text())).toMatchObject([
    { name: "overlay_build_info", samples: [{ labels: { version: "1.2.3" }, value: 1 }] },
    { name: "overlay_drops_total", kind: "counter", samples: drops.samples },
  ]);
});
