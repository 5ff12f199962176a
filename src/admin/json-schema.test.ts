/**
 * valibot's schemas as JSON Schema: one row for each kind that the API uses.
 *
 * @module
 */
import { expect, test } from "bun:test";
import * as v from "valibot";
import { type JsonSchema, jsonSchemaOf } from "./json-schema.ts";
import { parsedBy } from "./request.ts";

const even = (text: string) => (text.length % 2 === 0 ? text : undefined);
const rows: readonly (readonly [v.GenericSchema, JsonSchema, why: string])[] = [
  [v.string(), { type: "string" }, "text"],
  [v.unknown(), {}, "anything"],
  [v.literal("*"), { const: "*" }, "one value"],
  [v.picklist(["a", "b"]), { enum: ["a", "b"] }, "one of some"],
  [v.array(v.boolean()), { type: "array", items: { type: "boolean" } }, "a list"],
  [
    v.record(v.string(), v.number()),
    { type: "object", additionalProperties: { type: "number" } },
    "a record",
  ],
  [v.nullable(v.string()), { anyOf: [{ type: "string" }, { type: "null" }] }, "or null"],
  [v.optional(v.number(), 7), { type: "number", default: 7 }, "a default"],
  [
    v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(9)),
    { type: "integer", minimum: 1, maximum: 9 },
    "a range",
  ],
  [
    v.pipe(v.string(), v.nonEmpty(), v.maxLength(3), v.regex(/^a+$/)),
    { type: "string", minLength: 1, maxLength: 3, pattern: "^a+$" },
    "rules of text",
  ],
  [
    v.pipe(v.string(), v.regex(/^[0-9]+$/), v.transform(Number), v.maxValue(5)),
    { type: "string", pattern: "^[0-9]+$" },
    "what is sent, not what becomes of it",
  ],
  [parsedBy(even, "an even text"), { type: "string" }, "a parser of the domain"],
  [
    v.strictObject({ a: v.string(), b: v.optional(v.string()) }),
    {
      type: "object",
      properties: { a: { type: "string" }, b: { type: "string" } },
      required: ["a"],
      additionalProperties: false,
    },
    "an object that takes no other names",
  ],
  [v.looseObject({}), { type: "object", properties: {} }, "an object that does"],
  [
    v.variant("op", [
      v.object({ op: v.literal("x") }),
      v.object({ op: v.literal("y"), z: v.union([v.string(), v.number()]) }),
    ]),
    {
      anyOf: [
        { type: "object", properties: { op: { const: "x" } }, required: ["op"] },
        {
          type: "object",
          properties: {
            op: { const: "y" },
            z: { anyOf: [{ type: "string" }, { type: "number" }] },
          },
          required: ["op", "z"],
        },
      ],
    },
    "one of several objects",
  ],
];

for (const [schema, expected, why] of rows) {
  test(`jsonSchemaOf: ${why}`, () => {
    expect(jsonSchemaOf(schema)).toEqual(expected);
  });
}

test("jsonSchemaOf: a kind that it does not know is our bug", () => {
  expect(() => jsonSchemaOf(v.map(v.string(), v.string()))).toThrow("no JSON Schema is known");
  expect(() => jsonSchemaOf(v.pipe(v.string(), v.email()))).toThrow("no JSON Schema is known");
});
