/**
 * Where broken JSON breaks, and that the two grammars never disagree.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseJson } from "./json-text.ts";

const FAULTS = [
  { text: "", at: "1:1", expected: "a value", found: "end of text" },
  { text: "nope", at: "1:1", expected: "a value", found: '"n"' },
  { text: '{"a":1', at: "1:7", expected: '"," or "}"', found: "end of text" },
  { text: '{"a" 1}', at: "1:6", expected: '":"', found: '"1"' },
  { text: '{"a":01}', at: "1:7", expected: '"," or "}"', found: '"1"' },
  { text: '{\n  "Network": "10.0.0.0/16",\n}', at: "3:1", expected: "a key in double quotes" },
  { text: "{'a':1}", at: "1:2", expected: 'a key in double quotes or "}"', found: '"\'"' },
  { text: "[1,]", at: "1:4", expected: "a value", found: '"]"' },
  { text: "[,1]", at: "1:2", expected: 'a value or "]"', found: '","' },
  { text: '{"a":1}x', at: "1:8", expected: "end of text", found: '"x"' },
  { text: '{"a":"b\nc"}', at: "1:8", expected: "the rest of a string", found: '"\\n"' },
  { text: '{"a":"\\x"}', at: "1:7", expected: "the rest of a string" },
  { text: '["abc', at: "1:6", expected: "the rest of a string", found: "end of text" },
  { text: "[1}", at: "1:3", expected: '"," or "]"', found: '"}"' },
  { text: "{]", at: "1:2", expected: 'a key in double quotes or "}"', found: '"]"' },
  { text: "\u00a01", at: "1:1", expected: "a value", found: '"\u00a0"' },
  { text: "[1.]", at: "1:3", expected: '"," or "]"', found: '"."' },
];

describe("parseJson", () => {
  for (const { text, at, expected, found } of FAULTS) {
    test(`${JSON.stringify(text)} fails at ${at}`, () => {
      const result = parseJson(text);
      if (result.ok) throw new Error("parsed");
      expect(`${result.error.line}:${result.error.column}`).toBe(at);
      expect(result.error.expected).toBe(expected);
      if (found !== undefined) expect(result.error.found).toBe(found);
    });
  }

  test("what JSON.stringify writes comes back", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(parseJson(text)).toEqual({ ok: true, value: JSON.parse(text) });
      }),
    );
  });

  test("a mutated text parses or gets a fault inside it, as the runtime's parser decides", () => {
    const mutation = fc.tuple(
      fc.jsonValue(),
      fc.nat(),
      fc.constantFrom(...'{}[],:"\\ 0.-en\u0001'),
    );
    fc.assert(
      fc.property(mutation, ([value, position, char]) => {
        const text = JSON.stringify(value);
        const cut = position % (text.length + 1);
        for (const broken of [text.slice(0, cut) + char + text.slice(cut), text.slice(0, cut)]) {
          const result = parseJson(broken);
          if (!result.ok) expect(result.error.column).toBeLessThanOrEqual(broken.length + 1);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("deep nesting of a whole request does not use the call stack", () => {
    const result = parseJson("[".repeat(1_572_864));
    expect(result.ok ? 0 : result.error.column).toBe(1_572_865);
  });
});
