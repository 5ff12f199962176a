/**
 * The API without a socket: every route with every failure that it can answer, request parsing,
 * and what is not a route.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";

import { type AssertionError, assert } from "../base/assert.ts";
import { HostError } from "../base/host-error.ts";
import { createSilentLog } from "../base/log.ts";
import { err, ok } from "../base/result.ts";
import type { JoinFailure, LeaveFailure } from "../control/cluster/types.ts";
import { createTestApp, type TestApp } from "./app.fake.ts";
import { REQUEST_SIZE_BYTES_MAX, REQUESTS_INFLIGHT_MAX } from "./limits.ts";
import type { ProblemKind } from "./problem.ts";
import {
  createFakeService,
  FAKE_LEASE,
  FAKE_MEMBERS,
  FAKE_PLAN,
  FAKE_RESERVATION,
  FAKE_STATUS,
  FAKE_VOTERS,
} from "./service.fake.ts";
import type {
  AdminService,
  ClusterFailure,
  CreateTokenRequest,
  JoinRequest,
  MemberFailure,
  NotFound,
  PutConfigFailure,
  PutConfigRequest,
  ReserveFailure,
} from "./service.ts";

function openApp(overrides: Partial<AdminService> = {}): TestApp {
  const options = { access: "socket", adminToken: "", log: createSilentLog() } as const;
  return createTestApp(createFakeService(overrides), options);
}

/** The body of a problem, after checking that it is one of `kind`. */
async function readProblem(
  response: Response,
  kind: ProblemKind,
): Promise<Record<string, unknown>> {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const body: Record<string, unknown> = await response.json();
  expect(body).toMatchObject({ type: `urn:overlay:${kind}`, status: response.status });
  expect(body["title"]).toBeString();
  expect(body["detail"]).toBeString();
  return body;
}

const put = (body: string, headers: Record<string, string> = {}) => ({
  method: "PUT",
  body,
  headers,
});
const post = (body: string) => ({ method: "POST", body });

const CLUSTER_FAILURES: readonly [ClusterFailure, number][] = [
  [{ kind: "no_leader", detail: "d" }, 503],
  [{ kind: "no_quorum", detail: "d" }, 503],
  [{ kind: "timeout", detail: "d" }, 504],
  [{ kind: "overloaded", detail: "d" }, 503],
];
const FIND_FAILURES: readonly [NotFound | ClusterFailure, number][] = [
  ...CLUSTER_FAILURES,
  [{ kind: "not_found", detail: "d" }, 404],
];
const PUT_FAILURES: readonly [PutConfigFailure, number][] = [
  ...CLUSTER_FAILURES,
  [{ kind: "invalid_config", detail: "d", errors: [{ path: "Network", message: "m" }] }, 400],
  [{ kind: "revision_mismatch", detail: "d", revision: 14 }, 412],
  [{ kind: "would_renumber", detail: "d", plan: FAKE_PLAN }, 409],
];
const MEMBER_FAILURES: readonly [MemberFailure, number][] = [
  ...FIND_FAILURES,
  [{ kind: "member_refused", detail: "d" }, 409],
];
const JOIN_FAILURES: readonly [JoinFailure, number][] = [
  ...CLUSTER_FAILURES,
  [{ kind: "invalid_token", detail: "d" }, 403],
  [{ kind: "pin_mismatch", detail: "d" }, 502],
  [{ kind: "peer_unreachable", detail: "d" }, 502],
  [{ kind: "peer_not_overlay", detail: "d" }, 502],
  [{ kind: "already_member", detail: "d" }, 409],
  [{ kind: "join_refused", detail: "d" }, 409],
];
const LEAVE_FAILURES: readonly [LeaveFailure, number][] = [
  ...CLUSTER_FAILURES,
  [{ kind: "last_member", detail: "d" }, 409],
];

const RESERVE_FAILURES: readonly [ReserveFailure, number][] = [
  ...FIND_FAILURES,
  [{ kind: "no_config", detail: "d" }, 404],
  [{ kind: "reservation_refused", detail: "d", errors: [] }, 409],
];

interface FailureRow {
  readonly request: string;
  readonly init: RequestInit;
  readonly status: number;
  readonly failure: { readonly kind: ProblemKind; readonly detail: string };
  readonly overrides: Partial<AdminService>;
}

function rows<Failure extends { kind: ProblemKind; detail: string }>(
  request: string,
  init: RequestInit,
  failures: readonly [Failure, number][],
  fail: (failure: Failure) => Partial<AdminService>,
): FailureRow[] {
  return failures.map(([failure, status]) => {
    return { request, init, status, failure, overrides: fail(failure) };
  });
}

const FAILURE_ROWS: readonly FailureRow[] = [
  ...rows("/config", {}, CLUSTER_FAILURES, (error) => ({ getConfig: async () => err(error) })),
  ...rows("/config", put("{}"), PUT_FAILURES, (error) => ({ putConfig: async () => err(error) })),
  ...rows("/leases/10.0.53.0-24", { method: "DELETE" }, FIND_FAILURES, (error) => ({
    releaseLease: async () => err(error),
  })),
  ...rows("/reservations/10.0.60.0-24", put('{"node":"web1"}'), RESERVE_FAILURES, (error) => ({
    reserve: async () => err(error),
  })),
  ...rows("/reservations/10.0.60.0-24", { method: "DELETE" }, FIND_FAILURES, (error) => ({
    unreserve: async () => err(error),
  })),
  ...rows("/import", post('{"config":{},"reservations":[]}'), PUT_FAILURES, (error) => ({
    importNetwork: async () => err(error),
  })),
  ...rows("/members/0b0b0b0b0b0b0b", { method: "DELETE" }, MEMBER_FAILURES, (error) => ({
    removeMember: async () => err(error),
  })),
  ...rows("/members/0b0b0b0b0b0b0b/promote", post(""), MEMBER_FAILURES, (error) => ({
    promoteMember: async () => err(error),
  })),
  ...rows("/members/0b0b0b0b0b0b0b/demote", post(""), MEMBER_FAILURES, (error) => ({
    demoteMember: async () => err(error),
  })),
  ...rows("/voters", put('{"target":5}'), MEMBER_FAILURES, (error) => ({
    setVoters: async () => err(error),
  })),
  ...rows("/tokens", post(""), CLUSTER_FAILURES, (error) => ({
    createToken: async () => err(error),
  })),
  ...rows("/tokens/tok1", { method: "DELETE" }, FIND_FAILURES, (error) => ({
    revokeToken: async () => err(error),
  })),
  ...rows("/join", post('{"peer":"h","token":"t"}'), JOIN_FAILURES, (error) => ({
    join: async () => err(error),
  })),
  ...rows("/leave", post(""), LEAVE_FAILURES, (error) => ({ leave: async () => err(error) })),
];

describe("failures", () => {
  for (const { request, init, status, failure, overrides } of FAILURE_ROWS) {
    test(`${init.method ?? "GET"} ${request}: ${failure.kind} is ${status}`, async () => {
      const response = await openApp(overrides).request(request, init);
      expect(response.status).toBe(status);
      const { kind, ...members } = failure;
      expect(await readProblem(response, kind)).toMatchObject(members);
      expect(response.headers.get("retry-after")).toBe(status === 503 ? "1" : null);
    });
  }
});

const ANSWERS: readonly { request: string; init?: RequestInit; status?: number; body: unknown }[] =
  [
    { request: "/status", body: FAKE_STATUS },
    { request: "/config", body: { revision: 12, config: { Network: "10.0.0.0/16" } } },
    {
      request: "/config",
      init: put("{}"),
      body: { revision: 13, config: { Network: "10.0.0.0/16" }, plan: FAKE_PLAN },
    },
    { request: "/leases", body: [FAKE_LEASE] },
    { request: "/leases/10.0.53.0-24", init: { method: "DELETE" }, body: FAKE_LEASE },
    { request: "/reservations", body: [] },
    {
      request: "/reservations/10.0.60.0-24",
      init: put('{"publicIp":"192.0.2.9"}'),
      body: FAKE_RESERVATION,
    },
    {
      request: "/reservations/10.0.60.0-24",
      init: { method: "DELETE" },
      body: FAKE_RESERVATION,
    },
    {
      request: "/import",
      init: post('{"config":{},"reservations":[]}'),
      body: {
        ...{ revision: 13, config: { Network: "10.0.0.0/16" }, plan: FAKE_PLAN },
        reservations: [FAKE_RESERVATION],
      },
    },
    { request: "/members", body: FAKE_MEMBERS },
    { request: "/voters", body: { target: 3, voters: FAKE_VOTERS } },
    { request: "/members/0b0b0b0b0b0b0b", init: { method: "DELETE" }, body: FAKE_MEMBERS[1] },
    {
      request: "/tokens",
      init: post(""),
      status: 201,
      body: {
        id: "tok1",
        token: "OVL1.SECRET",
        expiresAt: "2026-11-23T10:00:00.000Z",
        joinCommand: "overlay join 192.0.2.1 --token OVL1.SECRET",
        installCommand: "curl … | sh -s -- join 192.0.2.1 --token OVL1.SECRET",
      },
    },
    {
      request: "/join",
      init: post('{"peer":"192.0.2.9:8286","token":"t"}'),
      body: {
        clusterId: "00112233445566778899aabbccddeeff",
        nodeId: "0a1b2c3d4e5f60",
        peer: "192.0.2.9:8286",
      },
    },
    {
      request: "/leave",
      init: post("{}"),
      body: { clusterId: "00112233445566778899aabbccddeeff", nodeId: "0a1b2c3d4e5f60" },
    },
    { request: "/readyz", body: { ready: true, reasons: [] } },
  ];

describe("answers", () => {
  for (const { request, init = {}, status = 200, body } of ANSWERS) {
    test(`${init.method ?? "GET"} ${request}`, async () => {
      const response = await openApp().request(request, init);
      expect(response.status).toBe(status);
      expect(response.headers.get("content-type")).toBe("application/json");
      expect(response.headers.get("cache-control")).toBe("no-store");
      expect(await response.json()).toEqual(body);
    });
  }

  test("GET /healthz is plain text, GET / points at the API", async () => {
    const health = await openApp().request("/healthz");
    expect([health.status, await health.text()]).toEqual([200, "ok\n"]);
    expect(await (await openApp().request("/")).text()).toContain("/status");
  });

  test("GET /readyz: not ready is 503 with the reasons", async () => {
    const readiness = () => ({ ready: false, reasons: ["no lease"] });
    const response = await openApp({ readiness }).request("/readyz");
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ ready: false, reasons: ["no lease"] });
  });

  test("GET /config: 404 no_config without one, an ETag with one", async () => {
    const without = await openApp({ getConfig: async () => ok(undefined) }).request("/config");
    expect(without.status).toBe(404);
    await readProblem(without, "no_config");
    expect((await openApp().request("/config")).headers.get("etag")).toBe('"12"');
    expect((await openApp().request("/config", put("{}"))).headers.get("etag")).toBe('"13"');
  });
});

describe("PUT /config", () => {
  async function sent(path: string, init: RequestInit): Promise<PutConfigRequest | Response> {
    let seen: PutConfigRequest | undefined;
    const putConfig: AdminService["putConfig"] = async (request) => {
      seen = request;
      return ok({ revision: 1, config: {}, plan: FAKE_PLAN });
    };
    const response = await openApp({ putConfig }).request(path, init);
    return seen ?? response;
  }

  test("hands body, query and If-Match on", async () => {
    expect(
      await sent("/config?dryRun=true&renumber=false", put('{"a":[1]}', { "if-match": '"12"' })),
    ).toEqual({ body: { a: [1] }, expectedRevision: 12, dryRun: true, renumber: false });
    expect(await sent("/config", put("[]"))).toEqual({
      body: [],
      expectedRevision: undefined,
      dryRun: false,
      renumber: false,
    });
  });

  for (const type of [
    "application/json; charset=utf-8",
    "application/merge-patch+json",
    "application/x-www-form-urlencoded",
    "text/plain",
  ]) {
    test(`takes a body called ${type}`, async () => {
      expect(await sent("/config", put("{}", { "content-type": type }))).toMatchObject({
        body: {},
      });
    });
  }

  const REFUSED: readonly {
    why: string;
    path?: string;
    init: RequestInit;
    kind: ProblemKind;
    status?: number;
    says: string;
  }[] = [
    {
      why: "broken JSON",
      init: put('{"Network"\n  10}'),
      kind: "invalid_json",
      says: 'line 2, column 3: expected ":", found "1"',
    },
    { why: "no body", init: put(""), kind: "invalid_json", says: "empty" },
    {
      why: "bytes that are not UTF-8",
      init: { method: "PUT", body: new Uint8Array([0x22, 0xff, 0x22]) },
      kind: "invalid_json",
      says: "UTF-8",
    },
    {
      why: "a body one byte too large",
      init: put(" ".repeat(REQUEST_SIZE_BYTES_MAX + 1)),
      kind: "payload_too_large",
      status: 413,
      says: "1572864 bytes",
    },
    {
      why: "a length that promises too much",
      init: put("{}", { "content-length": "1572865" }),
      kind: "payload_too_large",
      status: 413,
      says: "1572864 bytes",
    },
    {
      why: "a stream that does not end",
      init: {
        method: "PUT",
        body: new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(65_536)) }),
      },
      kind: "payload_too_large",
      status: 413,
      says: "1572864 bytes",
    },
    {
      why: "YAML",
      init: put("Network: 10.0.0.0/16", { "content-type": "application/yaml" }),
      kind: "unsupported_media_type",
      status: 415,
      says: "application/yaml",
    },
    {
      why: "a compressed body",
      init: put("{}", { "content-encoding": "gzip" }),
      kind: "unsupported_media_type",
      status: 415,
      says: "gzip",
    },
    ...['W/"12"', "12", '"x"', '"1", "2"', "*", '"-1"', '"99999999999999999"', '"012"', ""].map(
      (value) => ({
        why: `If-Match: ${value}`,
        init: put("{}", { "if-match": value }),
        kind: "invalid_request" as const,
        says: "If-Match",
      }),
    ),
    ...["dryRun=1", "dryRun=TRUE", "dryRun", "renumber=yes", "dryrun=true", "force=true"].map(
      (query) => ({
        why: `?${query}`,
        path: `/config?${query}`,
        init: put("{}"),
        kind: "invalid_request" as const,
        says: query.split("=", 1)[0]!,
      }),
    ),
    {
      why: "?dryRun twice",
      path: "/config?dryRun=true&dryRun=false",
      init: put("{}"),
      kind: "invalid_request",
      says: "more than once",
    },
  ];
  for (const { why, path = "/config", init, kind, status = 400, says } of REFUSED) {
    test(`refuses ${why}`, async () => {
      const response = await sent(path, init);
      if (!(response instanceof Response)) throw new Error("the service was asked");
      expect(response.status).toBe(status);
      expect((await readProblem(response, kind))["detail"]).toContain(says);
    });
  }

  test("invalid_json carries line and column as numbers", async () => {
    const response = await openApp().request("/config", put("{\n}x"));
    expect(await readProblem(response, "invalid_json")).toMatchObject({ line: 2, column: 2 });
  });

  test("a body of exactly the limit is read", async () => {
    const body = `"${"x".repeat(REQUEST_SIZE_BYTES_MAX - 2)}"`;
    expect((await openApp().request("/config", put(body))).status).toBe(200);
  });

  test("a body that breaks off is an answer, not a fault of the agent", async () => {
    const body = new ReadableStream({ start: (c) => c.error(new Error("reset")) });
    const response = await openApp().request("/config", { method: "PUT", body });
    await readProblem(response, "invalid_request");
  });
});

const BAD_BODIES: readonly { request: string; body: string; path: string; says: string }[] = [
  { request: "/tokens", body: "[]", path: "", says: "Expected Object" },
  { request: "/tokens", body: '{"lifeSeconds":59}', path: "lifeSeconds", says: "60" },
  { request: "/tokens", body: '{"lifeSeconds":1e9}', path: "lifeSeconds", says: "31536000" },
  { request: "/tokens", body: '{"lifeSeconds":60.5}', path: "lifeSeconds", says: "integer" },
  { request: "/tokens", body: '{"usesMax":0}', path: "usesMax", says: "1" },
  { request: "/tokens", body: '{"uses":1}', path: "uses", says: "Unknown name" },
  { request: "/join", body: "{}", path: "peer", says: "Missing" },
  { request: "/join", body: '{"peer":"h"}', path: "token", says: "Missing" },
  { request: "/join", body: '{"peer":"a b","token":"t"}', path: "peer", says: "host" },
  { request: "/join", body: '{"peer":"h","token":""}', path: "token", says: "got nothing" },
  { request: "/join", body: '{"peer":"h","token":1}', path: "token", says: "string" },
  { request: "/join", body: '{"peer":"h","token":"t","reset":1}', path: "reset", says: "boolean" },
  { request: "/leave", body: '{"force":true}', path: "force", says: "Unknown name" },
];

describe("bodies", () => {
  for (const { request, body, path, says } of BAD_BODIES) {
    test(`POST ${request} ${body} names "${path}"`, async () => {
      const response = await openApp().request(request, post(body));
      expect(response.status).toBe(400);
      const { errors } = await readProblem(response, "invalid_request");
      expect(errors).toEqual(
        expect.arrayContaining([{ path, message: expect.stringContaining(says) }]),
      );
    });
  }

  test("POST /tokens: defaults, and what is given", async () => {
    const seen: CreateTokenRequest[] = [];
    const createToken: AdminService["createToken"] = async (request) => {
      seen.push(request);
      return err({ kind: "timeout", detail: "d" });
    };
    const app = openApp({ createToken });
    await app.request("/tokens", post(""));
    await app.request("/tokens", post('{"lifeSeconds":60,"usesMax":3}'));
    expect(seen).toEqual([
      { lifeSeconds: 86_400, usesMax: undefined },
      { lifeSeconds: 60, usesMax: 3 },
    ]);
  });

  test("POST /join: reset is false unless asked for", async () => {
    const seen: JoinRequest[] = [];
    const join: AdminService["join"] = async (request) => {
      seen.push(request);
      return err({ kind: "timeout", detail: "d" });
    };
    const app = openApp({ join });
    await app.request("/join", post('{"peer":"[2001:db8::1]:8286","token":"t"}'));
    await app.request("/join", post('{"peer":"h","token":"t","reset":true}'));
    expect(seen).toEqual([
      { peer: "[2001:db8::1]:8286", token: "t", reset: false },
      { peer: "h", token: "t", reset: true },
    ]);
  });
});

describe("paths", () => {
  test("PUT /reservations: a node or an address, and nothing else", async () => {
    const seen: unknown[] = [];
    const reserve: AdminService["reserve"] = async (...request) => {
      seen.push(request);
      return ok(FAKE_RESERVATION);
    };
    const app = openApp({ reserve });
    const ask = (body: object) =>
      app.request("/reservations/10.0.60.7-24", put(JSON.stringify(body)));
    expect((await ask({ node: "web1" })).status).toBe(200);
    expect((await ask({ publicIp: "192.0.2.9" })).status).toBe(200);
    expect(seen).toEqual([
      ["10.0.60.0/24", { node: "web1" }],
      ["10.0.60.0/24", { publicIp: "192.0.2.9" }],
    ]);
    for (const body of [{}, { node: "" }, { publicIp: "web1" }, { node: "a", publicIp: "::1" }]) {
      expect((await ask(body)).status).toBe(400);
    }
  });

  test("POST /import: the config as it is, the rest parsed; If-Match guards it", async () => {
    const seen: unknown[] = [];
    const importNetwork: AdminService["importNetwork"] = async (request) => {
      seen.push(request);
      return await createFakeService().importNetwork(request);
    };
    const app = openApp({ importNetwork });
    const body = { config: { Odd: 1 }, reservations: [{ subnet: "10.0.7.0-24", publicIp: "::1" }] };
    const init = post(JSON.stringify(body));
    const headers = { "content-type": "application/json", "if-match": '"0"' };
    expect((await app.request("/import", { ...init, headers })).status).toBe(200);
    const reservations = [{ subnet: "10.0.7.0/24", publicIp: "::1" }];
    expect(seen).toEqual([{ config: { Odd: 1 }, reservations, expectedRevision: 0 }]);
    for (const wrong of [
      {},
      { config: {} },
      { ...body, reservations: [{ subnet: "10.0.7.0/24" }] },
    ]) {
      expect((await app.request("/import", post(JSON.stringify(wrong)))).status).toBe(400);
    }
  });

  test("DELETE /leases: the subnet arrives canonical, with - or %2F", async () => {
    const seen: string[] = [];
    const releaseLease: AdminService["releaseLease"] = async (subnet) => {
      seen.push(subnet);
      return ok(FAKE_LEASE);
    };
    const app = openApp({ releaseLease });
    for (const text of ["10.0.53.0-24", "10.0.53.0%2F24", "10.0.53.7-24", "fd00:0::-64"]) {
      expect((await app.request(`/leases/${text}`, { method: "DELETE" })).status).toBe(200);
    }
    expect(seen).toEqual(["10.0.53.0/24", "10.0.53.0/24", "10.0.53.0/24", "fd00::/64"]);
  });

  for (const path of [
    "/leases/10.0.53.0",
    "/leases/10.0.53.0-33",
    "/leases/%zz",
    "/members/web1",
    "/members/00000000000000",
    "/tokens/a%20b",
  ]) {
    test(`DELETE ${path} is refused`, async () => {
      const response = await openApp().request(path, { method: "DELETE" });
      expect(response.status).toBe(400);
      await readProblem(response, "invalid_request");
    });
  }

  test("an unknown path is 404, a known one with another method 405 with Allow", async () => {
    await readProblem(await openApp().request("/nope"), "not_found");
    await readProblem(await openApp().request("/config/"), "not_found");
    for (const [request, method, allow] of [
      ["/config", "POST", "GET, PUT, HEAD"],
      ["/config", "OPTIONS", "GET, PUT, HEAD"],
      ["/status", "DELETE", "GET, HEAD"],
      ["/join", "GET", "POST"],
      ["/leases/10.0.53.0-24", "PATCH", "DELETE"],
    ] as const) {
      const response = await openApp().request(request, { method });
      expect(response.status).toBe(405);
      expect(response.headers.get("allow")).toBe(allow);
      await readProblem(response, "method_not_allowed");
    }
  });

  test("HEAD answers like GET, without a body", async () => {
    const response = await openApp().request("/config", { method: "HEAD" });
    expect([response.status, response.headers.get("etag")]).toEqual([200, '"12"']);
    expect(await response.text()).toBe("");
  });
});

describe("limits and faults", () => {
  test("one request too many in work is 503 overloaded, and there is room again later", async () => {
    const gate = Promise.withResolvers<void>();
    const getConfig: AdminService["getConfig"] = async () => {
      await gate.promise;
      return ok(undefined);
    };
    const app = openApp({ getConfig });
    const waiting = Array.from({ length: REQUESTS_INFLIGHT_MAX }, () => app.request("/config"));
    await readProblem(await app.request("/healthz"), "overloaded");
    gate.resolve();
    await Promise.all(waiting);
    expect((await app.request("/healthz")).status).toBe(200);
  });

  test("a handler that throws is 500 without its message; a failed assertion is told", async () => {
    const bugs: AssertionError[] = [];
    const lines: string[] = [];
    const log = { ...createSilentLog(), error: (message: string) => lines.push(message) };
    const service = createFakeService({
      status: () => {
        throw new Error("secret");
      },
      members: () => {
        assert(false, "broken");
        return [];
      },
    });
    const onBug = (error: AssertionError) => bugs.push(error);
    const app = createTestApp(service, { access: "socket", adminToken: "", log, onBug });
    const thrown = await app.request("/status");
    expect(thrown.status).toBe(500);
    expect(JSON.stringify(await readProblem(thrown, "internal_error"))).not.toContain("secret");
    expect(bugs).toEqual([]);
    await readProblem(await app.request("/members"), "internal_error");
    expect(bugs.map((bug) => bug.message)).toEqual(["broken"]);
    expect(lines).toEqual(["request failed", "request failed"]);
  });

  test("what the machine did not allow is told in its own words", async () => {
    const leave = () => {
      const cause = { errno: "ENOSPC", reason: "no space left on device" };
      throw new HostError({ operation: "write", object: "/d/node.json", ...cause });
    };
    const response = await openApp({ leave }).request("/leave", post("{}"));
    expect(response.status).toBe(500);
    const { detail } = await readProblem(response, "internal_error");
    expect(detail).toStartWith("Cannot write /d/node.json: no space left on device");
  });
});
