/**
 * The short way and the long way give the same answers.
 *
 * The slow twin is the router itself: the same requests, in the same order, to two stores of their
 * own, one asked each way. Everything that a client can see is compared.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { assert } from "../base/assert.ts";
import { createSilentLog } from "../base/log.ts";
import { VALUE_SIZE_MAX_BYTES } from "../control/kv/limits.ts";
import { type AdminApp, createAdminApp } from "./app.ts";
import { Gate } from "./gate.ts";
import { hotRoutes } from "./hot-routes.ts";
import { FakeKv } from "./kv-api.fake.ts";
import { REQUESTS_INFLIGHT_MAX } from "./limits.ts";
import { problemResponse } from "./problem.ts";
import { createFakeService } from "./service.fake.ts";
import type { AdminService } from "./service.ts";

const TOKEN = "0123456789abcdef";
const log = createSilentLog();

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer> | undefined;
}

function render({ method, path, headers, body }: Asked): Request {
  const hasBody = body !== undefined && method !== "GET" && method !== "HEAD";
  return new Request(`http://localhost${path}`, { method, headers, ...(hasBody ? { body } : {}) });
}

/** Everything of an answer that a client sees. */
async function seen(answer: Response | Promise<Response>) {
  const response = await answer;
  const body = Buffer.from(await response.arrayBuffer()).toString("latin1");
  const headers = Object.fromEntries([...response.headers].sort());
  return { status: response.status, headers, body };
}

function open(access: "socket" | "tcp", overrides: Partial<AdminService> = {}): AdminApp {
  const service = createFakeService({ kv: new FakeKv(), ...overrides });
  return createAdminApp(service, { access, adminToken: TOKEN, log, onBug: () => undefined });
}

/** Asks both ways, and compares. */
async function askBoth(ways: { readonly short: AdminApp; readonly long: AdminApp }, asked: Asked) {
  const short = await seen(ways.short.fetch(render(asked)));
  const long = await seen(ways.long.router.fetch(render(asked)));
  expect({ asked, ...short }).toEqual({ asked, ...long });
  return short;
}

/** Whether the short way takes a request of this kind at all. */
function isHot(method: string, path: string): boolean {
  const gate = new Gate({ access: "socket", adminToken: "" });
  const answerFault = () => problemResponse({ kind: "internal_error", detail: "" });
  const hot = hotRoutes(createFakeService(), { gate, answerFault });
  const answer = hot(render({ method, path, headers: {} }));
  answer?.catch(() => undefined);
  return answer !== undefined;
}

const key = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("/kv/a", "/kv/b/c", "/kv//a", "/kv/%2Fa", "/kv/%C3%BC") },
  fc.constantFrom("/kv/%0A", "/kv/a%0Db", "/kv/%ff", "/kv/%", "/kv/../kv/a", "/kv/a/../../b"),
  fc.constantFrom("/kv/overlay/x", "/kv/%2Foverlay%2Fx", "/kv/", "/kv", "/kv/?a", "/%6bv/a"),
  fc.constantFrom("/txn", "/txn/", "/kva", "/KV/a", "//kv/a", "/kv/a#b", "/kv/a?#b", "/kv/\\a"),
  fc.string({ unit: "grapheme" }).map((text) => `/kv/${encodeURIComponent(text.toWellFormed())}`),
  fc.webSegment().map((text) => `/kv/${text}`),
);
const query = fc.oneof(
  { weight: 5, arbitrary: fc.constant("") },
  fc.constantFrom("?consistency=serializable", "?consistency=x", "?revision=1", "?revision=9999"),
  fc.constantFrom("?ttl=30", "?ttl=0", "?ttl=1&ttl=2", "?tll=1", "?ttl=%33", "?", "?&", "?%zz"),
  fc.webQueryParameters().map((text) => `?${text}`),
);
const text = fc.stringMatching(/^[\x21-\x7e]{0,20}$/);
const optional = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.option(arbitrary, { freq: 3, nil: undefined });
const bearer = `Bearer ${TOKEN}`;
const headers = fc
  .record({
    host: fc.oneof({ weight: 8, arbitrary: fc.constant("localhost") }, text),
    authorization: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom(bearer, `bearer  ${TOKEN} `) },
      fc.constantFrom(`Bearer ${TOKEN}0`, `Bearer ${TOKEN.slice(1)}`, "Bearer \u00e9", ""),
    ),
    origin: optional(fc.oneof(fc.constantFrom("http://localhost:1", "http://x.example"), text)),
    "if-match": optional(fc.constantFrom('"1"', '"2"', "*", '"0"', "x", 'W/"1"')),
    "if-none-match": optional(fc.constantFrom("*", '"1"', 'W/"2", "1"', "x")),
    "content-type": optional(fc.constantFrom("application/json", "text/html")),
    "content-encoding": optional(fc.constantFrom("identity", "gzip")),
    "content-length": optional(fc.constantFrom("3", "x", String(VALUE_SIZE_MAX_BYTES + 1))),
  })
  .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)))
  .map((all) => all as Record<string, string>);
const body = fc.oneof(
  fc.constantFrom("one", "", '{"success":[{"op":"put","key":"a","value":"x"}]}', "{", "[]"),
  fc.constantFrom('{"compare":[{"key":"a","target":"version","op":">","value":0}]}', '{"x":1}'),
  fc.uint8Array({ maxLength: 40 }),
);
const method = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("GET", "PUT", "DELETE", "POST") },
  fc.constantFrom("HEAD", "PATCH", "OPTIONS", "PROPFIND"),
);
const asked: fc.Arbitrary<Asked> = fc
  .record({ method, key, query, headers, body: optional(body) })
  .map(({ key, query, ...rest }) => ({ ...rest, path: `${key}${query}` }));

describe("hot routes", () => {
  test.each(["socket", "tcp"] as const)("over %s: both ways answer alike", async (access) => {
    const answered = new Set<number>();
    await fc.assert(
      fc.asyncProperty(fc.array(asked, { minLength: 10, maxLength: 30 }), async (requests) => {
        const ways = { short: open(access), long: open(access) };
        for (const one of requests) answered.add((await askBoth(ways, one)).status);
      }),
      { numRuns: 40 },
    );
    // The requests reach deep enough to mean something.
    for (const status of [200, 400, 404, 405]) expect(answered).toContain(status);
  });

  test("each kind of answer, one after the other", async () => {
    const ways = { short: open("tcp"), long: open("tcp") };
    const good = { host: "localhost", authorization: bearer };
    const put = '{"success":[{"op":"put","key":"a","value":"x"}]}';
    for (const [status, method, path, headers, body] of [
      [200, "PUT", "/kv/a", {}, "one"],
      [200, "GET", "/kv/a", {}],
      [304, "GET", "/kv/a", { "if-none-match": '"1"' }],
      [412, "PUT", "/kv/a", { "if-match": '"7"' }, "two"],
      [412, "DELETE", "/kv/a", { "if-none-match": "*" }],
      [200, "DELETE", "/kv/a", { "if-match": '"1"' }],
      [404, "DELETE", "/kv/a", {}],
      [404, "GET", "/kv/a", {}],
      [403, "PUT", "/kv/overlay/x", {}, ""],
      [400, "PUT", "/kv/%ff", {}, ""],
      [415, "PUT", "/kv/a", { "content-encoding": "gzip" }, ""],
      [413, "PUT", "/kv/a", { "content-length": String(VALUE_SIZE_MAX_BYTES + 1) }, "x"],
      [401, "PUT", "/kv/a", { authorization: "Bearer x" }, ""],
      [421, "GET", "/kv/a", { host: "x.example" }],
      [403, "PUT", "/kv/a", { origin: "http://x.example" }, ""],
      [200, "PUT", "/kv/%0A", {}, "line end"],
      [200, "GET", "/kv/%0A", {}],
      [200, "POST", "/txn", {}, put],
      [400, "POST", "/txn", {}, "{"],
      [415, "POST", "/txn", { "content-type": "text/html" }, put],
      [401, "POST", "/txn", { authorization: "" }, put],
    ] as const) {
      const answer = await askBoth(ways, { method, path, headers: { ...good, ...headers }, body });
      expect([method, path, answer.status]).toEqual([method, path, status]);
    }
  });

  test("values and requests at and over their limits", async () => {
    const ways = { short: open("tcp"), long: open("tcp") };
    const headers = { host: "localhost", authorization: bearer };
    for (const [size, status] of [
      [VALUE_SIZE_MAX_BYTES, 200],
      [VALUE_SIZE_MAX_BYTES + 1, 413],
    ] as const) {
      const request = { method: "PUT", path: "/kv/a", headers, body: new Uint8Array(size) };
      expect(await askBoth(ways, request)).toMatchObject({ status });
    }
    await askBoth(ways, { method: "GET", path: "/kv/a", headers });
  });

  test("a fault of a handler is one answer, and the next request is taken", async () => {
    const kv = new FakeKv();
    for (const fault of [new Error("broken"), () => assert(false, "a bug")]) {
      const read = async () => {
        if (fault instanceof Error) throw fault;
        return fault();
      };
      const broken = { kv: Object.assign(Object.create(kv) as FakeKv, { read }) };
      const ways = { short: open("socket", broken), long: open("socket", broken) };
      for (let i = 0; i < 3; i++) {
        const answer = await askBoth(ways, { method: "GET", path: "/kv/a", headers: {} });
        expect(answer.status).toBe(500);
      }
    }
  });

  test("both ways count together against the limit of requests in work", async () => {
    const kv = new FakeKv();
    const released = Promise.withResolvers<void>();
    const slow: AdminService["kv"]["read"] = async (consistency) => {
      await released.promise;
      return await FakeKv.prototype.read.call(kv, consistency);
    };
    const app = open("socket", { kv: Object.assign(kv, { read: slow }) });
    const get = () => render({ method: "GET", path: "/kv/a", headers: {} });
    const waiting = Array.from({ length: REQUESTS_INFLIGHT_MAX }, (_, i) =>
      Promise.resolve(i % 2 === 0 ? app.fetch(get()) : app.router.fetch(get())),
    );
    const refused = [await seen(app.fetch(get())), await seen(app.router.fetch(get()))];
    expect(refused.map(({ status }) => status)).toEqual([503, 503]);
    expect(refused[0]).toEqual(refused[1]!);
    released.resolve();
    for (const response of await Promise.all(waiting)) expect(response.status).toBe(404);
    expect((await app.fetch(get())).status).toBe(404);
  });

  test("what is hot goes the short way, and nothing else does", () => {
    for (const [method, path] of [
      ["GET", "/kv/a"],
      ["PUT", "/kv/a/b?ttl=3"],
      ["DELETE", "/kv/%2Fa"],
      ["POST", "/txn"],
    ] as const) {
      expect([method, path, isHot(method, path)]).toEqual([method, path, true]);
    }
    for (const [method, path] of [
      ["HEAD", "/kv/a"],
      ["POST", "/kv/a"],
      ["PATCH", "/kv/a"],
      ["GET", "/kv"],
      ["GET", "/kv/"],
      ["GET", "/kv?prefix=/a"],
      ["GET", "/txn"],
      ["POST", "/txn/a"],
      ["GET", "/status?/kv/a"],
    ] as const) {
      expect([method, path, isHot(method, path)]).toEqual([method, path, false]);
    }
  });
});
