/**
 * `/kv`, `/txn` and `/compact` without a socket, on a real store: every answer, every condition,
 * every limit.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";

import fc from "fast-check";
import { createSilentLog } from "../base/log.ts";
import { err } from "../base/result.ts";
import {
  KEY_SIZE_MAX_BYTES,
  KEY_TTL_SECONDS_MAX,
  RANGE_KEYS_MAX,
  TXN_OPERATIONS_MAX,
  VALUE_SIZE_MAX_BYTES,
} from "../control/kv/limits.ts";
import { systemTxn, type TxnOutcome } from "../control/kv/txn.ts";
import { createTestApp, type TestApp } from "./app.fake.ts";
import { FakeKv } from "./kv-api.fake.ts";
import type { ValueView } from "./kv-api.ts";
import { keyOfPath, parseValueView, pathOfKey, valueView } from "./kv-item.ts";
import { PROBLEM_CLASSES, type ProblemKind } from "./problem.ts";
import { createFakeService } from "./service.fake.ts";
import type { ClusterFailure } from "./service.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const put = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) => ({
  method: "PUT",
  body,
  headers,
});
const post = (body: unknown) => ({ method: "POST", body: JSON.stringify(body) });

/** The app, its store, and one request after the other. */
class World {
  readonly kv = new FakeKv();
  readonly app: TestApp;

  constructor() {
    const options = { access: "socket", adminToken: "", log: createSilentLog() } as const;
    this.app = createTestApp(createFakeService({ kv: this.kv }), options);
  }

  async ask(path: string, init: RequestInit = {}): Promise<Response> {
    return await this.app.request(path, init);
  }

  /** The JSON of an answer that must be good. */
  async get<T = Record<string, unknown>>(path: string, init: RequestInit = {}): Promise<T> {
    const response = await this.ask(path, init);
    const text = await response.text();
    expect(`${response.status} ${text}`).toStartWith("200 ");
    return JSON.parse(text) as T;
  }

  /** The problem that an answer must be. */
  async refused(kind: ProblemKind, path: string, init: RequestInit = {}) {
    const response = await this.ask(path, init);
    const body: Record<string, unknown> = await response.json();
    expect(body).toMatchObject({ type: `urn:overlay:${kind}`, status: response.status });
    expect(response.status).toBe(PROBLEM_CLASSES[kind].status);
    expect(String(body["detail"])).toMatch(/^Cannot .*[^.]$/s);
    return body;
  }

  /** "/a" was made at revision 1 and changed at 3; "/b" made at 2; "/c" at 4 for 30 seconds. */
  static async filled(): Promise<World> {
    const world = new World();
    await world.get("/kv/a", put("one"));
    await world.get("/kv/b", put("b"));
    await world.get("/kv/a", put("two"));
    await world.get("/kv/c?ttl=30", put("c"));
    return world;
  }
}

describe("keys in paths", () => {
  const rows: [path: string, key: string | undefined][] = [
    ["/kv/a", "/a"],
    ["/kv/a/b", "/a/b"],
    ["/kv//a/b", "/a/b"],
    ["/kv/%2Fa%2Fb", "/a/b"],
    ["/kv/a/", "/a/"],
    ["/kv///a", "//a"],
    ["/kv/%20%C3%BC%25", "/ ü%"],
    ["/kv/%2Fa%2F..%2Fb", "/a/../b"],
    ["/kv/%ff", undefined],
    ["/kv/%zz", undefined],
  ];
  for (const [path, key] of rows) {
    test(`${path} is ${key === undefined ? "none" : `"${key}"`}`, () => {
      expect(keyOfPath(path)).toBe(key);
    });
  }

  test("any key survives the way through a URL", () => {
    const keys = fc.string({ unit: "grapheme", minLength: 1 }).map((text) => `/${text}`);
    fc.assert(
      fc.property(keys, (key) => {
        const url = new URL(pathOfKey(key), "http://localhost");
        expect(keyOfPath(url.pathname)).toBe(key);
      }),
    );
  });
});

describe("values in JSON", () => {
  test("text is text, bytes are base64, and both come back", () => {
    const rows: [Uint8Array, ValueView][] = [
      [bytes(""), ""],
      [bytes("ü \0 \ufeff"), "ü \0 \ufeff"],
      [bytes("\ufefftext"), "\ufefftext"],
      [new Uint8Array([0xff, 0xfe]), { base64: "//4=" }],
    ];
    for (const [value, view] of rows) {
      expect(valueView(value)).toEqual(view);
      expect(parseValueView(view)).toEqual(value);
    }
    for (const bad of ["\ud800", { base64: "a" }, { base64: "_-A=" }, { base64: "AA==\n" }]) {
      expect(parseValueView(bad)).toBeUndefined();
    }
    fc.assert(
      fc.property(fc.uint8Array(), (value) => {
        expect(new Uint8Array(parseValueView(valueView(value))!)).toEqual(value);
      }),
    );
  });
});

describe("GET /kv/<key>", () => {
  test("the value is the body, byte for byte; revisions are in headers", async () => {
    const world = await World.filled();
    const response = await world.ask("/kv/a");
    expect(await response.text()).toBe("two");
    expect(Object.fromEntries(response.headers)).toMatchObject({
      etag: '"3"',
      "x-overlay-revision": "4",
      "content-type": "application/octet-stream",
      "cache-control": "no-store",
    });
    const value = new Uint8Array([0, 255, 10, 13, 0]);
    await world.get("/kv/bytes", put(value));
    expect(new Uint8Array(await (await world.ask("/kv/bytes")).arrayBuffer())).toEqual(value);
  });

  test("is linearizable unless told otherwise", async () => {
    const world = await World.filled();
    await world.ask("/kv/a");
    await world.ask("/kv/a?consistency=linearizable");
    await world.ask("/kv/a?consistency=serializable");
    await world.ask("/kv?consistency=serializable");
    expect(world.kv.reads).toEqual([
      ...(["linearizable", "linearizable", "serializable", "serializable"] as const),
    ]);
  });

  test("a key that is not there is 404, with the revision of the store", async () => {
    const world = await World.filled();
    await world.refused("not_found", "/kv/none");
    expect((await world.ask("/kv/none")).headers.get("x-overlay-revision")).toBe("4");
  });

  test("the past", async () => {
    const world = await World.filled();
    const past = await world.ask("/kv/a?revision=2");
    expect([await past.text(), past.headers.get("etag")]).toEqual(["one", '"1"']);
    await world.refused("not_found", "/kv/b?revision=1");
    expect(await world.refused("future_revision", "/kv/a?revision=5")).toMatchObject({
      revision: 4,
    });
    await world.get("/compact", post({ revision: 3 }));
    expect(await world.refused("compacted", "/kv/a?revision=2")).toMatchObject({
      oldestRevision: 3,
    });
    expect(await (await world.ask("/kv/a?revision=3")).text()).toBe("two");
  });

  test("If-None-Match: 304 when it is known", async () => {
    const world = await World.filled();
    for (const [tag, status] of [
      ['"3"', 304],
      ['W/"3"', 304],
      ['"1", "3"', 304],
      ["*", 304],
      ['"4"', 200],
    ] as const) {
      const response = await world.ask("/kv/a", { headers: { "if-none-match": tag } });
      expect([response.status, response.headers.get("etag")]).toEqual([status, '"3"']);
    }
  });

  test("the system's keys can be read", async () => {
    const world = new World();
    const operation = { kind: "put", key: "/overlay/network/config", value: bytes("{}") } as const;
    world.kv.apply(systemTxn({ success: [operation] }));
    expect(await (await world.ask("/kv/overlay/network/config")).text()).toBe("{}");
  });
});

describe("PUT and DELETE /kv/<key>", () => {
  test("answer the revision", async () => {
    const world = new World();
    const made = await world.ask("/kv/a", put("1"));
    expect([made.headers.get("etag"), await made.json()]).toEqual(['"1"', { revision: 1 }]);
    expect(await world.get("/kv/a", put(""))).toEqual({ revision: 2 });
    expect(await world.get("/kv/a", { method: "DELETE" })).toEqual({ revision: 3 });
    await world.refused("not_found", "/kv/a", { method: "DELETE" });
    expect(Number(world.kv.machine.reader.revision)).toBe(3);
  });

  test("?ttl gives the key a time to live, a put without takes it away", async () => {
    const world = new World();
    await world.get("/kv/a?ttl=30", put("1"));
    expect([...world.kv.machine.ttls.values()]).toMatchObject([{ seconds: 30 }]);
    await world.get("/kv/a", put("1"));
    expect(world.kv.machine.ttls.size).toBe(0);
  });

  const conditions: { header: Record<string, string>; key: string; status: number; why: string }[] =
    [
      { header: { "if-match": '"3"' }, key: "/a", status: 200, why: "it is at that revision" },
      { header: { "if-match": '"1"' }, key: "/a", status: 412, why: "it moved on" },
      { header: { "if-match": '"4"' }, key: "/a", status: 412, why: "another key's revision" },
      { header: { "if-match": '"1"' }, key: "/none", status: 412, why: "it is not there" },
      { header: { "if-match": "*" }, key: "/a", status: 200, why: "it is there" },
      { header: { "if-match": "*" }, key: "/none", status: 412, why: "it is not there" },
      { header: { "if-match": '"0"' }, key: "/none", status: 200, why: "0: must not be there" },
      { header: { "if-match": '"0"' }, key: "/a", status: 412, why: "0: but it is" },
      { header: { "if-none-match": "*" }, key: "/none", status: 200, why: "it is not there" },
      { header: { "if-none-match": "*" }, key: "/a", status: 412, why: "it is there" },
      { header: { "if-match": "3" }, key: "/a", status: 400, why: "no quotes" },
      { header: { "if-match": '"3", "4"' }, key: "/a", status: 400, why: "two of them" },
      { header: { "if-match": 'W/"3"' }, key: "/a", status: 400, why: "a weak one" },
      { header: { "if-none-match": '"3"' }, key: "/a", status: 400, why: "only * for a write" },
    ];
  for (const { header, key, status, why } of conditions) {
    test(`${JSON.stringify(header)} on ${key}: ${status}, ${why}`, async () => {
      for (const method of ["PUT", "DELETE"]) {
        const world = await World.filled();
        const init = { method, headers: header, ...(method === "PUT" && { body: "new" }) };
        const response = await world.ask(`/kv${key}`, init);
        // Deleting what must not be there finds nothing to delete.
        const isMoot = method === "DELETE" && key === "/none" && status === 200;
        expect(response.status).toBe(isMoot ? 404 : status);
        if (status === 412) {
          const revision = Number(world.kv.machine.reader.get(key)?.modRevision ?? 0);
          expect(await response.json()).toMatchObject({
            type: "urn:overlay:revision_mismatch",
            revision,
          });
        }
        expect(Number(world.kv.machine.reader.revision)).toBe(status === 200 && !isMoot ? 5 : 4);
      }
    });
  }

  test("the system's keys are not to be written", async () => {
    const world = new World();
    for (const path of ["/kv/overlay/x", "/kv//overlay/x", "/kv/%2Foverlay%2Fx", "/kv/overlay/"]) {
      await world.refused("reserved_key", path, put("1"));
      await world.refused("reserved_key", path, { method: "DELETE" });
    }
    await world.get("/kv/overlay", put("1"));
  });

  test("a value of 1 MiB is taken, one byte more is refused with the limit", async () => {
    const world = new World();
    await world.get("/kv/a", put(new Uint8Array(VALUE_SIZE_MAX_BYTES)));
    const limit = { limitBytes: VALUE_SIZE_MAX_BYTES };
    const large = new Uint8Array(VALUE_SIZE_MAX_BYTES + 1);
    for (const init of [
      put(large),
      put("x", { "content-length": String(large.length) }),
      { method: "PUT", body: new Blob([large]).stream() },
    ]) {
      const problem = await world.refused("value_too_large", "/kv/a", init);
      expect(problem).toMatchObject(limit);
      expect(problem["detail"]).toContain("1048576 bytes (1 MiB)");
    }
    const chunks = { method: "PUT", body: new Blob([large.subarray(1)]).stream() };
    await world.get("/kv/a", chunks);
  });

  for (const [path, kind, says] of [
    [`/kv/${"k".repeat(KEY_SIZE_MAX_BYTES)}`, "key_too_large", "4096 bytes"],
    ["/kv/a?ttl=0", "invalid_ttl", "1 and 31536000 seconds"],
    [`/kv/a?ttl=${KEY_TTL_SECONDS_MAX + 1}`, "invalid_ttl", "31536000"],
    ["/kv/a?ttl=-1", "invalid_request", "ttl"],
    ["/kv/a?ttl=1.5", "invalid_request", "ttl"],
    ["/kv/a?ttl=", "invalid_request", "ttl"],
    ["/kv/a?tll=30", "invalid_request", "tll"],
    ["/kv/%ff", "invalid_request", "path"],
  ] as const) {
    test(`PUT ${path.slice(0, 30)}: ${kind}`, async () => {
      expect((await new World().refused(kind, path, put("1")))["detail"]).toContain(says);
    });
  }

  test("whatever the body is called it is the value, but not when it is compressed", async () => {
    const world = new World();
    for (const type of ["application/yaml", "image/png", "multipart/form-data; boundary=x"]) {
      await world.get("/kv/a", put("1", { "content-type": type }));
    }
    await world.refused(
      "unsupported_media_type",
      "/kv/a",
      put("1", { "content-encoding": "gzip" }),
    );
  });
});

describe("GET /kv", () => {
  const keysOf = (list: { readonly items: readonly { readonly key: string }[] }) =>
    list.items.map(({ key }) => key);

  test("items with everything about them", async () => {
    const world = await World.filled();
    await world.get("/kv/d", put(new Uint8Array([255])));
    expect(await world.get("/kv")).toEqual({
      revision: 5,
      items: [
        { key: "/a", value: "two", createRevision: 1, modRevision: 3, version: 2 },
        { key: "/b", value: "b", createRevision: 2, modRevision: 2, version: 1 },
        { key: "/c", value: "c", createRevision: 4, modRevision: 4, version: 1, ttlSeconds: 30 },
        { key: "/d", value: { base64: "/w==" }, createRevision: 5, modRevision: 5, version: 1 },
      ],
      more: false,
    });
  });

  test("prefix, limit, after and revision", async () => {
    const world = new World();
    for (const key of ["/a/1", "/a/2", "/a/3", "/b"]) await world.get(`/kv${key}`, put("x"));
    const rows: [query: string, keys: string[], more: boolean][] = [
      ["prefix=/a/", ["/a/1", "/a/2", "/a/3"], false],
      ["prefix=a/", ["/a/1", "/a/2", "/a/3"], false],
      ["prefix=/none", [], false],
      ["prefix=", ["/a/1", "/a/2", "/a/3", "/b"], false],
      ["prefix=/a/&limit=2", ["/a/1", "/a/2"], true],
      ["prefix=/a/&limit=3", ["/a/1", "/a/2", "/a/3"], false],
      ["prefix=/a/&limit=2&after=/a/2", ["/a/3"], false],
      ["after=/a/3", ["/b"], false],
      ["revision=2", ["/a/1", "/a/2"], false],
      ["revision=0", [], false],
      ["revision=3&after=/a/1&limit=1", ["/a/2"], true],
    ];
    for (const [query, keys, more] of rows) {
      const list = await world.get<{ items: { key: string }[]; more: boolean }>(`/kv?${query}`);
      expect([query, keysOf(list), list.more]).toEqual([query, keys, more]);
    }
  });

  test("pages of a revision are the whole of it", async () => {
    const world = new World();
    for (let n = 0; n < 50; n++) await world.get(`/kv/p/${n % 30}`, put(String(n)));
    const whole = await world.get<{ revision: number; items: { key: string }[] }>("/kv?prefix=/p/");
    const paged: { key: string }[] = [];
    for (let more = true; more; ) {
      const after = paged.at(-1)?.key;
      const query = `prefix=/p/&limit=7&revision=${whole.revision}${after ? `&after=${after}` : ""}`;
      const page = await world.get<{ items: { key: string }[]; more: boolean }>(`/kv?${query}`);
      paged.push(...page.items);
      await world.get(`/kv/p/${paged.length}`, put("changed meanwhile"));
      more = page.more;
    }
    expect(paged).toEqual(whole.items);
  });

  test("an answer is bounded by bytes and by keys", async () => {
    const world = new World();
    for (const key of ["/1", "/2", "/3"]) {
      await world.get(`/kv${key}`, put(new Uint8Array(VALUE_SIZE_MAX_BYTES)));
    }
    const list = await world.get<{ items: { key: string }[]; more: boolean }>("/kv");
    expect([keysOf(list), list.more]).toEqual([["/1"], true]);
    expect((await world.ask(`/kv?limit=${RANGE_KEYS_MAX * 2}`)).status).toBe(200);
  });

  for (const query of ["limit=0", "limit=x", "revision=-1", "consistency=strong", "prefx=/a"]) {
    test(`?${query} is refused`, async () => {
      await new World().refused("invalid_request", `/kv?${query}`);
    });
  }
});

describe("POST /txn", () => {
  test("does the one list or the other, and tells what came of each operation", async () => {
    const world = await World.filled();
    const body = {
      compare: [
        { key: "/a", target: "value", op: "=", value: "two" },
        { key: "b", target: "version", op: "<", value: 2 },
        { key: "/none", target: "modRevision", op: "=", value: 0 },
      ],
      success: [
        { op: "put", key: "/d", value: { base64: "/w==" }, ttl: 60 },
        { op: "renew", key: "/c", ttl: 90 },
        { op: "renew", key: "/a" },
        { op: "get", key: "/d" },
        { op: "get", key: "/none" },
        { op: "range", prefix: "/", limit: 1 },
        { op: "delete", key: "/b" },
        { op: "deletePrefix", prefix: "/a" },
      ],
      failure: [{ op: "range", prefix: "" }],
    };
    const d = { key: "/d", value: { base64: "/w==" }, createRevision: 5, modRevision: 5 };
    expect(await world.get("/txn", post(body))).toEqual({
      succeeded: true,
      revision: 5,
      results: [
        { op: "put" },
        { op: "renew", ttlSeconds: 90 },
        { op: "renew", ttlSeconds: null },
        { op: "get", item: { ...d, version: 1, ttlSeconds: 60 } },
        { op: "get", item: null },
        {
          op: "range",
          items: [{ key: "/a", value: "two", createRevision: 1, modRevision: 3, version: 2 }],
          more: true,
        },
        { op: "delete", deleted: 1 },
        { op: "deletePrefix", deleted: 1 },
      ],
    });
    const again = await world.get<{ results: { items: unknown[] }[] }>("/txn", post(body));
    expect(again).toMatchObject({ succeeded: false, revision: 5 });
    expect(again.results[0]?.items).toHaveLength(2);
  });

  test("nothing at all is done, and succeeds", async () => {
    expect(await new World().get("/txn", post({}))).toEqual({
      succeeded: true,
      revision: 0,
      results: [],
    });
  });

  const bad: [body: unknown, path: string][] = [
    [{ success: [{ op: "put", key: "/a" }] }, "success.0.value"],
    [{ success: [{ op: "put", key: "/a", value: 1 }] }, "success.0.value"],
    [{ success: [{ op: "put", key: "/a", value: { base64: "a" } }] }, "success.0.value"],
    [{ success: [{ op: "put", key: "/a", value: "\ud800" }] }, "success.0.value"],
    [{ success: [{ op: "put", key: "/a", value: "", ttl: -1 }] }, "success.0.ttl"],
    [{ success: [{ op: "put", key: "/a", value: "", lease: 1 }] }, "success.0.lease"],
    [{ success: [{ op: "increment", key: "/a" }] }, "success.0.op"],
    [{ success: [{ op: "range", prefix: "/", limit: 0 }] }, "success.0.limit"],
    [{ compare: [{ key: "/a", target: "value", op: "=", value: 1 }] }, "compare.0.value"],
    [{ compare: [{ key: "/a", target: "version", op: "=", value: "1" }] }, "compare.0.value"],
    [{ compare: [{ key: "/a", target: "version", op: "==", value: 1 }] }, "compare.0.op"],
    [{ compare: [{ key: "/a", target: "lease", op: "=", value: 1 }] }, "compare.0.target"],
    [{ on_success: [] }, "on_success"],
  ];
  for (const [body, path] of bad) {
    test(`${JSON.stringify(body)}: names ${path}`, async () => {
      const { errors } = await new World().refused("invalid_request", "/txn", post(body));
      expect(errors).toContainEqual({ path, message: expect.any(String) });
    });
  }

  const operations = (count: number) =>
    Array.from({ length: count }, () => ({ op: "put", key: "/a", value: "x" }));
  const half = "x".repeat(VALUE_SIZE_MAX_BYTES / 2 - 8);
  const limits: [body: object, kind: ProblemKind, says: string][] = [
    [{ success: operations(TXN_OPERATIONS_MAX + 1) }, "too_many_operations", "limit is 128"],
    [{ success: [{ op: "put", key: "/overlay/x", value: "" }] }, "reserved_key", "/overlay/"],
    [{ failure: [{ op: "deletePrefix", prefix: "" }] }, "reserved_key", "/overlay/"],
    [{ success: [{ op: "get", key: "" }] }, "invalid_key", "not empty"],
    [{ success: [{ op: "get", key: "\ud800" }] }, "invalid_key", "Unicode"],
    [{ success: [{ op: "get", key: "k".repeat(5000) }] }, "key_too_large", "4096 bytes"],
    [{ success: [{ op: "renew", key: "/a", ttl: 0 }] }, "invalid_ttl", "1 and 31536000"],
    [
      { success: [{ op: "put", key: "/a", value: "x".repeat(VALUE_SIZE_MAX_BYTES + 1) }] },
      "value_too_large",
      "1048576 bytes",
    ],
    [
      { success: [1, 2, 3].map((n) => ({ op: "put", key: `/${n}`, value: half })) },
      "payload_too_large",
      "1572864 bytes",
    ],
  ];
  for (const [body, kind, says] of limits) {
    test(`${JSON.stringify(body).slice(0, 60)}: ${kind}`, async () => {
      const world = new World();
      expect((await world.refused(kind, "/txn", post(body)))["detail"]).toContain(says);
      expect(Number(world.kv.machine.appliedIndex)).toBe(0);
    });
  }

  test("128 operations are done, and an answer that is too large undoes them", async () => {
    const world = new World();
    await world.get("/txn", post({ success: operations(TXN_OPERATIONS_MAX) }));
    for (const key of ["/1", "/2", "/3"]) {
      await world.get(`/kv${key}`, put(new Uint8Array(VALUE_SIZE_MAX_BYTES)));
    }
    const success = [...operations(1), ...["/1", "/2", "/3"].map((key) => ({ op: "get", key }))];
    const problem = await world.refused("response_too_large", "/txn", post({ success }));
    expect(problem["detail"]).toContain("2097152 bytes");
    expect(Number(world.kv.machine.reader.get("/a")?.modRevision)).toBe(1);
  });
});

describe("POST /compact", () => {
  test("answers the revision of the last compaction", async () => {
    const world = await World.filled();
    expect(await world.get("/compact", post({ revision: 3 }))).toEqual({ revision: 3 });
    expect(await world.get("/compact", post({ revision: 1 }))).toEqual({ revision: 3 });
    expect(await world.refused("future_revision", "/compact", post({ revision: 5 }))).toMatchObject(
      {
        revision: 4,
      },
    );
    await world.refused("invalid_request", "/compact", post({}));
    await world.refused("invalid_request", "/compact", post({ revision: "3" }));
  });
});

describe("when the cluster does not answer", () => {
  const failures: ClusterFailure[] = [
    { kind: "no_leader", detail: "d" },
    { kind: "no_quorum", detail: "d" },
    { kind: "timeout", detail: "d" },
    { kind: "overloaded", detail: "d" },
  ];
  const requests: [path: string, init: RequestInit][] = [
    ["/kv/a", {}],
    ["/kv", {}],
    ["/kv/a", put("1")],
    ["/kv/a", { method: "DELETE" }],
    ["/txn", post({})],
    ["/compact", post({ revision: 1 })],
    ["/watch?since=9", {}],
  ];
  for (const failure of failures) {
    test(`${failure.kind} is told as such on every route`, async () => {
      const world = new World();
      const { kv } = world;
      const fail = async () => err(failure);
      Object.assign(kv, { txn: fail, compact: fail });
      const read = kv.read.bind(kv);
      kv.read = async (consistency) =>
        consistency === "serializable" ? await read(consistency) : err(failure);
      for (const [path, init] of requests) {
        const response = await world.ask(path, init);
        expect(await response.json()).toMatchObject({ type: `urn:overlay:${failure.kind}` });
        expect(response.headers.get("retry-after")).toBe(failure.kind === "timeout" ? null : "1");
      }
      expect((await world.ask("/kv/a?consistency=serializable")).status).toBe(404);
    });
  }

  const outcomes: [kind: string, problem: ProblemKind][] = [
    ["malformed_command", "overloaded"],
    ["request_forgotten", "timeout"],
  ];
  for (const [kind, problem] of outcomes) {
    test(`the outcome ${kind} is the problem ${problem}`, async () => {
      const world = new World();
      world.kv.apply = <Outcome>() => ({ kind }) as TxnOutcome as Outcome;
      await world.refused(problem, "/kv/a", put("1"));
      await world.refused(problem, "/compact", post({ revision: 0 }));
    });
  }
});

test("paths around the routes are told apart", async () => {
  const world = new World();
  await world.refused("not_found", "/kv/");
  expect(await world.refused("method_not_allowed", "/kv", { method: "PUT" })).toMatchObject({
    allow: ["GET", "HEAD"],
  });
  expect(await world.refused("method_not_allowed", "/kv/a/b", { method: "POST" })).toMatchObject({
    allow: ["GET", "PUT", "DELETE", "HEAD"],
  });
  await world.refused("method_not_allowed", "/txn");
});
