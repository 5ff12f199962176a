/**
 * The API's description: every route is in it, and nothing else.
 *
 * @module
 */
import { expect, test } from "bun:test";
import * as v from "valibot";
import { createSilentLog } from "../base/log.ts";
import { OPERATIONS } from "./api-operations.ts";
import { createTestApp } from "./app.fake.ts";
import { FakeKv } from "./kv-api.fake.ts";
import { describeApi } from "./openapi.ts";
import { createFakeService } from "./service.fake.ts";

const options = { access: "socket", adminToken: "", log: createSilentLog() } as const;
const app = createTestApp(createFakeService({ kv: new FakeKv() }), options);

test("GET /openapi.json: one operation for each route, and no other", () => {
  const routed = app.router.routes
    .filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => {
      const template = path.replaceAll(/:([a-z]+)(\{.+\})?/g, "{$1}");
      return `${method.toLowerCase()} ${template}`;
    });
  const described = OPERATIONS.map(({ method, path }) => `${method} ${path}`);
  expect(described.toSorted()).toEqual(routed.toSorted());
});

test("GET /openapi.json: is served, as JSON of OpenAPI 3.1", async () => {
  const response = await app.request("/openapi.json");
  expect([response.status, response.headers.get("content-type")]).toEqual([
    200,
    "application/json",
  ]);
  const body = await response.json();
  expect(body).toEqual(JSON.parse(JSON.stringify(describeApi("1.2.3"))));
  expect(body).toMatchObject({ openapi: "3.1.0", info: { title: "overlay", version: "1.2.3" } });
});

test("describeApi: operations have names of their own, and each reference leads somewhere", () => {
  const api = JSON.stringify(describeApi("1"));
  const ids = Array.from(api.matchAll(/"operationId":"([^"]+)"/g), ([, id]) => id);
  expect(new Set(ids).size).toBe(OPERATIONS.length);
  for (const [, reference] of api.matchAll(/"\$ref":"([^"]+)"/g)) {
    expect(reference).toBe("#/components/schemas/Problem");
  }
});

test("describeApi: queries, headers and bodies are those that the routes read", () => {
  const { paths } = describeApi("1") as { paths: Record<string, Record<string, unknown>> };
  expect(paths["/kv/{key}"]?.["put"]).toMatchObject({
    parameters: [
      { name: "key", in: "path", required: true },
      { name: "ttl", in: "query", required: false, schema: { type: "string" } },
      { name: "If-Match", in: "header", required: false },
      { name: "If-None-Match", in: "header", schema: { const: "*" } },
    ],
    requestBody: { content: { "application/octet-stream": {} } },
    security: [{ adminToken: [] }, {}],
  });
  expect(paths["/tokens"]?.["post"]).toMatchObject({ responses: { 201: {}, default: {} } });
  expect(paths["/status"]?.["get"]).not.toHaveProperty("security");
});

test("OPERATIONS: what a reading route answers is what its schema says", async () => {
  await app.request("/kv/a", { method: "PUT", body: "one" });
  for (const { method, path, answer } of OPERATIONS) {
    if (method !== "get" || path === "/watch" || typeof answer === "string") continue;
    const response = await app.request(path);
    expect([path, response.status]).toEqual([path, 200]);
    const parsed = v.safeParse(answer, await response.json());
    expect([path, parsed.issues]).toEqual([path, undefined]);
  }
});
