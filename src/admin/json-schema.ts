/**
 * valibot's schemas as JSON Schema (2020-12), for the API's own description.
 *
 * Describes what may be sent, so a pipe is described up to its first transformation. Knows the
 * kinds of schema that this API uses and asserts on any other: a description with holes would not
 * be noticed. Pure.
 *
 * @module
 */
import type * as v from "valibot";
import { assert } from "../base/assert.ts";
import { isRecord } from "../control/kv/plain.ts";

/** A JSON Schema, or a part of one. */
export type JsonSchema = Readonly<Record<string, unknown>>;

type Fields = Readonly<Record<string, unknown>>;

/** `schema` as JSON Schema. */
export function jsonSchemaOf(schema: v.GenericSchema): JsonSchema {
  return describe(schema);
}

function describe(schema: unknown): JsonSchema {
  assert(isRecord(schema), "a schema is an object");
  return "pipe" in schema ? describePipe(schema["pipe"]) : describeOne(schema);
}

function describePipe(pipe: unknown): JsonSchema {
  const [first, ...actions] = listOf(pipe);
  let described = describe(first);
  for (const action of actions) {
    assert(isRecord(action), "an action is an object");
    if (action["kind"] !== "validation") break;
    described = { ...described, ...describeAction(action) };
  }
  return described;
}

function describeAction({ type, requirement }: Fields): JsonSchema {
  switch (type) {
    case "regex":
      assert(requirement instanceof RegExp, "a pattern is a regular expression");
      return { pattern: requirement.source };
    case "integer":
    case "safe_integer":
      return { type: "integer" };
    case "min_value":
      return { minimum: requirement };
    case "max_value":
      return { maximum: requirement };
    case "max_length":
      return { maxLength: requirement };
    case "non_empty":
      return { minLength: 1 };
    default:
      return unknownKind(type);
  }
}

function describeOne(schema: Fields): JsonSchema {
  const { type } = schema;
  switch (type) {
    case "string":
    case "number":
    case "boolean":
      return { type };
    case "unknown":
      return {};
    case "literal":
      return { const: schema["literal"] };
    case "picklist":
      return { enum: schema["options"] };
    case "array":
      return { type: "array", items: describe(schema["item"]) };
    case "record":
      return { type: "object", additionalProperties: describe(schema["value"]) };
    case "nullable":
      return { anyOf: [describe(schema["wrapped"]), { type: "null" }] };
    case "optional":
      return describeOptional(schema);
    case "union":
    case "variant":
      return { anyOf: listOf(schema["options"]).map(describe) };
    case "object":
    case "loose_object":
    case "strict_object":
      return describeObject(schema);
    default:
      return unknownKind(type);
  }
}

function describeOptional(schema: Fields): JsonSchema {
  const described = describe(schema["wrapped"]);
  const { default: value } = schema;
  return value === undefined ? described : { ...described, default: value };
}

function describeObject({ type, entries }: Fields): JsonSchema {
  assert(isRecord(entries), "an object has entries");
  const properties: Record<string, JsonSchema> = {};
  const required: string[] = [];
  for (const [name, entry] of Object.entries(entries)) {
    properties[name] = describe(entry);
    if (isRecord(entry) && entry["type"] !== "optional") required.push(name);
  }
  return {
    type: "object",
    properties,
    ...(required.length > 0 && { required }),
    ...(type === "strict_object" && { additionalProperties: false }),
  };
}

function listOf(value: unknown): readonly unknown[] {
  assert(Array.isArray(value), "options and pipes are lists");
  return value;
}

function unknownKind(type: unknown): never {
  assert(false, `no JSON Schema is known for "${String(type)}"`);
}
