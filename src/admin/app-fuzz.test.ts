/**
 * Whatever is asked, the answer is one of the API: no fault, and every refusal a problem.
 *
 * @module
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { createSilentLog } from "../base/log.ts";
import { createTestApp } from "./app.fake.ts";
import { PROBLEM_CLASSES } from "./problem.ts";
import { createFakeService } from "./service.fake.ts";

const TOKEN = "0123456789abcdef";
const log = createSilentLog();

const segment = fc.oneof(
  fc.constantFrom(
    "config",
    "leases",
    "members",
    "tokens",
    "join",
    "leave",
    "10.0.53.0-24",
    "..",
    "",
  ),
  fc.constantFrom("%2e", "%zz", "%00", "%ff", "10.0.53.0%2F24", "0b0b0b0b0b0b0b", ":id", "*"),
  fc.webSegment(),
);
const path = fc.oneof(
  fc.constantFrom("config", "leases/10.0.53.0-24", "members/web1", "tokens", "join", "leave"),
  fc.constantFrom("kv", "kv/a", "kv//a", "kv/%2Foverlay%2Fx", "kv/%ff", "txn", "compact", "watch"),
  fc.array(segment, { maxLength: 3 }).map((segments) => segments.join("/")),
);
const query = fc.oneof(
  fc.constant(""),
  fc.constantFrom("?dryRun=true", "?dryRun=", "?renumber=1&dryRun", "?%zz", "?a=1&a=2"),
  fc.constantFrom("?ttl=30", "?ttl=0", "?revision=9", "?prefix=/a", "?since=0", "?limit=1"),
  fc.webQueryParameters().map((text) => `?${text}`),
);
const header = fc.stringMatching(/^[\t\x20-\x7e]{0,40}$/);
const json = fc.oneof(
  fc.constantFrom('{"peer":"h","token":"t"}', '{"lifeSeconds":60}', '{"__proto__":1}', "null", "1"),
  fc.constantFrom('{"success":[{"op":"put","key":"a","value":"x"}]}', '{"revision":0}'),
  fc.json(),
);
const body = fc.oneof(json, fc.string(), fc.uint8Array({ maxLength: 64 }));

const request = fc.record({
  method: fc.constantFrom("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "PROPFIND"),
  path,
  query,
  host: fc.oneof({ weight: 5, arbitrary: fc.constant("localhost") }, header),
  authorization: fc.oneof({ weight: 3, arbitrary: fc.constant(`Bearer ${TOKEN}`) }, header),
  ifMatch: fc.option(fc.oneof(fc.constant('"12"'), header)),
  type: fc.option(fc.oneof(fc.constant("application/json"), header)),
  origin: fc.option(header, { freq: 1 }),
  body,
});

test.each(["socket", "tcp"] as const)(
  "over %s: no request brings down or confuses it",
  async (access) => {
    const app = createTestApp(createFakeService(), { access, adminToken: TOKEN, log });
    const known = new Set(Object.values(PROBLEM_CLASSES).map(({ status }) => status));
    const answered = new Set<number>();
    await fc.assert(
      fc.asyncProperty(request, async (one) => {
        const { method, host, authorization } = one;
        const url = `http://localhost/${one.path}${one.query}`;
        const headers = new Headers({ host, authorization });
        if (one.ifMatch !== null) headers.set("if-match", one.ifMatch);
        if (one.type !== null) headers.set("content-type", one.type);
        if (one.origin !== null) headers.set("origin", one.origin);
        const hasBody = method !== "GET" && method !== "HEAD";
        const init = { method, headers, ...(hasBody ? { body: one.body } : {}) };
        const response = await app.request(new Request(url, init));
        answered.add(response.status);
        expect(response.status).not.toBe(500);
        if (response.status < 400) return;
        expect(known).toContain(response.status);
        expect(response.headers.get("content-type")).toBe("application/problem+json");
        if (method !== "HEAD")
          expect(await response.json()).toMatchObject({ status: response.status });
      }),
      { numRuns: 3_000 },
    );
    // The requests above reach deep enough to mean something.
    for (const status of [200, 400, 404]) expect(answered).toContain(status);
  },
);
