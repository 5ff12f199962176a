/**
 * `GET /openapi.json`: the API's own description (OpenAPI 3.1), made out of the schemas that the
 * routes and the client use.
 *
 * A test compares it with the router: a route that is missing here does not pass.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import type * as v from "valibot";
import { OPERATIONS, type Operation } from "./api-operations.ts";
import { type JsonSchema, jsonSchemaOf } from "./json-schema.ts";
import { PROBLEM_CLASSES } from "./problem.ts";
import type { AdminService } from "./service.ts";

const PROBLEM_TYPE = "application/problem+json";
const PROBLEM_REF = { $ref: "#/components/schemas/Problem" };
const WRITES = new Set<Operation["method"]>(["put", "post", "delete"]);

/** The route of the description. */
export function openApiRoutes(service: AdminService): Hono {
  const app = new Hono();
  let text: string | undefined;
  app.get("/openapi.json", (c) => {
    text ??= JSON.stringify(describeApi(service.version));
    return c.body(text, 200, { "content-type": "application/json" });
  });
  return app;
}

/** The description of this version's API. */
export function describeApi(version: string): Readonly<Record<string, unknown>> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of OPERATIONS) {
    const path = paths[operation.path] ?? {};
    paths[operation.path] = path;
    path[operation.method] = describeOperation(operation);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "overlay",
      version,
      description:
        "The admin API of one node, on its Unix socket and its loopback port. Any node answers; " +
        "writes are passed to the leader. Over TCP whatever changes state needs the admin token.",
    },
    servers: [{ url: "http://127.0.0.1:8287" }],
    paths,
    components: {
      schemas: { Problem: describeProblem() },
      securitySchemes: { adminToken: { type: "http", scheme: "bearer" } },
    },
  };
}

function describeOperation(operation: Operation): Readonly<Record<string, unknown>> {
  const { method, path, summary, body, answer, status = 200, socketOnly = false } = operation;
  const parameters = describeParameters(operation);
  return {
    operationId: operationId(method, path),
    summary: socketOnly ? `${summary} (on the local socket only)` : summary,
    ...(parameters.length > 0 && { parameters }),
    ...(body !== undefined && { requestBody: { required: true, content: describeContent(body) } }),
    ...(WRITES.has(method) && !socketOnly && { security: [{ adminToken: [] }, {}] }),
    responses: {
      [status]: { description: "Done", content: describeContent(answer) },
      default: {
        description: "A problem (RFC 9457)",
        content: { [PROBLEM_TYPE]: { schema: PROBLEM_REF } },
      },
    },
  };
}

/** "get /leases/{subnet}" is "getLeasesSubnet". */
function operationId(method: string, path: string): string {
  const words = path.split(/[^A-Za-z]+/).filter((word) => word !== "");
  return method + words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join("");
}

function describeParameters({ path, query, headers }: Operation): readonly JsonSchema[] {
  const named = Array.from(path.matchAll(/\{([a-z]+)\}/g), ([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  return [...named, ...entriesOf("query", query), ...entriesOf("header", headers)];
}

function entriesOf(place: "query" | "header", schema: v.GenericSchema | undefined): JsonSchema[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = jsonSchemaOf(schema);
  const names = new Set(Array.isArray(required) ? required : []);
  return Object.entries(properties ?? {}).map(([name, described]) => ({
    name,
    in: place,
    required: names.has(name),
    schema: described,
  }));
}

function describeContent(content: v.GenericSchema | string): JsonSchema {
  if (typeof content === "string") return { [content]: {} };
  return { "application/json": { schema: jsonSchemaOf(content) } };
}

function describeProblem(): JsonSchema {
  const kinds = Object.keys(PROBLEM_CLASSES).sort();
  return {
    type: "object",
    properties: {
      type: { type: "string", enum: kinds.map((kind) => `urn:overlay:${kind}`) },
      title: { type: "string" },
      status: { type: "integer" },
      detail: { type: "string" },
    },
    required: ["type", "title", "status", "detail"],
    additionalProperties: true,
  };
}
