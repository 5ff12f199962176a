/**
 * Log lines: levels, both formats, and values that try to break out of their line.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { createLog, type LogFormat, type LogLevel } from "./log.ts";

function collect(level: LogLevel, format: LogFormat) {
  const lines: string[] = [];
  const log = createLog({ level, format, wallMs: () => 0, write: (line) => lines.push(line) });
  return { log, lines };
}

test("log: lines under the level are not written", () => {
  const { log, lines } = collect("warn", "text");
  log.info("quiet");
  log.warn("loud");
  expect(lines).toEqual(["1970-01-01T00:00:00.000Z warn  loud"]);
});

test("log: a value with a line break stays on its line", () => {
  const { log, lines } = collect("info", "text");
  log.info("joined", { name: "a\nb", port: 8285, none: undefined });
  expect(lines[0]).toBe('1970-01-01T00:00:00.000Z info  joined name="a\\nb" port=8285');
});

test("log: JSON lines carry bound fields", () => {
  const { log, lines } = collect("debug", "json");
  log.with({ node: "n1" }).debug("tick", { term: 3 });
  expect(JSON.parse(lines[0]!)).toEqual({
    time: "1970-01-01T00:00:00.000Z",
    level: "debug",
    message: "tick",
    node: "n1",
    term: 3,
  });
});
