/**
 * `GET /watch` on a real store: what a client gets, when it comes back, and when it is slow.
 *
 * The property at the end holds etcd's nine watch validators (filter, ordered, unique, atomic,
 * bookmarkable, resumable, isCreate, reliable, prevKV) against a plain list of what was written.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";

import fc from "fast-check";
import { decodeRevision } from "../base/ids.ts";
import { createSilentLog } from "../base/log.ts";
import { compact } from "../control/kv/compact.ts";
import { HISTORY_REVISIONS_MAX, WATCH_STEP_REVISIONS_MAX } from "../control/kv/limits.ts";
import { type Operation, txn } from "../control/kv/txn.ts";
import { createTestApp, type TestApp } from "./app.fake.ts";
import { StreamDecoder, type StreamEvent } from "./event-stream.ts";
import { FakeKv } from "./kv-api.fake.ts";
import type { ItemView } from "./kv-api.ts";
import { itemView } from "./kv-item.ts";
import { WATCH_IDLE_MS, WATCHES_MAX } from "./limits.ts";
import { createFakeService } from "./service.fake.ts";

const text = (value: string) => new TextEncoder().encode(value);
const put = (key: string, value = "x"): Operation => ({ kind: "put", key, value: text(value) });
const remove = (key: string): Operation => ({ kind: "delete", key });

interface Seen {
  readonly name: string;
  readonly id: number;
  readonly data: Record<string, unknown>;
}

/** A client that reads chunk by chunk, as it likes. */
class Client {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new StreamDecoder(10_000_000);
  readonly seen: Seen[] = [];
  ended = false;

  constructor(response: Response) {
    this.#reader = response.body!.getReader();
  }

  /** One chunk; the events in it. `cutAt` takes only the first so many bytes of it. */
  async read(cutAt = Number.POSITIVE_INFINITY): Promise<Seen[]> {
    const { done, value } = await this.#reader.read();
    this.ended = done;
    const events = done ? [] : this.#decoder.push(value.subarray(0, cutAt))!;
    const seen = events.map(toSeen);
    this.seen.push(...seen);
    return seen;
  }

  /** Reads until it has been told of `revision` in a bookmark or an event with that id. */
  async readTo(revision: number): Promise<void> {
    while ((this.seen.at(-1)?.id ?? -1) < revision) await this.read();
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}

function toSeen({ name, data, lastId }: StreamEvent): Seen {
  return { name, id: Number(lastId), data: JSON.parse(data) };
}

class World {
  readonly kv = new FakeKv();
  readonly closing = new AbortController();
  readonly app: TestApp;

  constructor() {
    const { signal: closing } = this.closing;
    const options = { access: "socket", adminToken: "", log: createSilentLog(), closing } as const;
    this.app = createTestApp(createFakeService({ kv: this.kv }), options);
  }

  write(...success: Operation[]): void {
    this.kv.apply(txn({ success }));
  }

  async ask(query = "", headers: Record<string, string> = {}): Promise<Response> {
    return await this.app.request(`/watch${query}`, { headers });
  }

  async watch(query = "", headers: Record<string, string> = {}): Promise<Client> {
    const response = await this.ask(query, headers);
    expect([response.status, response.headers.get("content-type")]).toEqual([
      200,
      "text/event-stream",
    ]);
    return new Client(response);
  }
}

const names = (seen: readonly Seen[]) =>
  seen.map(({ name, id, data }) => `${name} ${id} ${data["key"] ?? data["revision"]}`);

describe("GET /watch", () => {
  test("begins now, with a bookmark, and tells what comes", async () => {
    const world = new World();
    world.write(put("/a"));
    const client = await world.watch();
    expect(names(await client.read())).toEqual(["bookmark 1 1"]);
    world.write(put("/a", "2"));
    world.write(remove("/a"));
    await client.readTo(3);
    expect(client.seen.slice(1)).toEqual([
      {
        name: "put",
        id: 2,
        data: { key: "/a", value: "2", createRevision: 1, modRevision: 2, version: 2 },
      },
      { name: "delete", id: 3, data: { key: "/a", revision: 3 } },
    ]);
  });

  test("since goes on after a revision; Last-Event-ID is from later and wins", async () => {
    const world = new World();
    for (const key of ["/a/1", "/b", "/a/2", "/a/3"]) world.write(put(key));
    const rows: [query: string, header: string | undefined, expected: string[]][] = [
      ["?prefix=/a/&since=0", undefined, ["put 1 /a/1", "put 3 /a/2", "put 4 /a/3"]],
      ["?prefix=a/&since=1", undefined, ["put 3 /a/2", "put 4 /a/3"]],
      ["?prefix=/a/&since=1", "3", ["put 4 /a/3"]],
      ["?prefix=/a/&since=4", undefined, ["bookmark 4 4"]],
      ["?prefix=/a/", "0", ["put 1 /a/1", "put 3 /a/2", "put 4 /a/3"]],
      ["?prefix=/a/&since=1", "", ["put 3 /a/2", "put 4 /a/3"]],
    ];
    for (const [query, header, expected] of rows) {
      const client = await world.watch(
        query,
        header === undefined ? {} : { "last-event-id": header },
      );
      expect([query, header, names(await client.read())]).toEqual([query, header, expected]);
      await client.cancel();
    }
  });

  test("an id ends its revision: what was cut in the middle comes again, whole", async () => {
    const world = new World();
    world.write(put("/a"));
    world.write(put("/b"), put("/c"), remove("/a"));
    const client = await world.watch("?since=0");
    await client.read();
    expect(names(client.seen)).toEqual(["put 1 /a", "put 1 /b", "put 1 /c", "delete 2 /a"]);
    const cut = await world.watch("?since=0");
    await cut.read(300);
    const lastId = String(cut.seen.at(-1)!.id);
    const resumed = await world.watch("?since=0", { "last-event-id": lastId });
    // A new connection has no id of its own before the first one.
    expect([lastId, names(await resumed.read())]).toEqual([
      "1",
      ["put 0 /b", "put 0 /c", "delete 2 /a"],
    ]);
  });

  test("previous=true tells what was there", async () => {
    const world = new World();
    const client = await world.watch("?previous=true&since=0");
    world.write(put("/a", "1"));
    world.write(put("/a", "2"));
    world.write(remove("/a"));
    await client.readTo(3);
    const changes = client.seen.filter(({ name }) => name !== "bookmark");
    expect(changes.map(({ data }) => (data["previous"] as ItemView | null)?.value ?? null)).toEqual(
      [null, "1", "2"],
    );
  });

  test("a revision that is compacted: 410 with the oldest one, and that one works", async () => {
    const world = new World();
    for (let n = 0; n < 5; n++) world.write(put("/a"));
    world.kv.apply(compact(decodeRevision(3)));
    const response = await world.ask("?since=2");
    expect([response.status, await response.json()]).toMatchObject([
      410,
      { type: "urn:overlay:compacted", oldestRevision: 3 },
    ]);
    const client = await world.watch("?since=3");
    expect(names(await client.read())).toEqual(["put 4 /a", "put 5 /a"]);
  });

  test("a revision that is still to come: refused, after asking the cluster", async () => {
    const world = new World();
    world.write(put("/a"));
    const response = await world.ask("?since=2");
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { type: "urn:overlay:future_revision", revision: 1 },
    ]);
    expect(world.kv.reads).toEqual(["serializable", "linearizable"]);
  });

  test("a node that is behind waits, and gives no bookmark until it is there", async () => {
    const world = new World();
    world.write(put("/a"));
    const read = world.kv.read.bind(world.kv);
    world.kv.read = async (consistency) => {
      if (consistency === "linearizable") {
        const reader = { ...world.kv.machine.reader, revision: decodeRevision(2) };
        return { ok: true, value: { reader, history: world.kv.machine.history } };
      }
      return await read(consistency);
    };
    const client = await world.watch("?since=2");
    expect(await client.read()).toEqual([]);
    world.write(put("/b"));
    world.write(put("/c"));
    await client.readTo(3);
    expect(names(client.seen)).toEqual(["put 3 /c"]);
  });

  for (const query of [
    "since=-1",
    "since=x",
    "since=1e3",
    "previous=1",
    "prefx=/a",
    "since=1&since=2",
  ]) {
    test(`?${query} is refused`, async () => {
      expect(await (await new World().ask(`?${query}`)).json()).toMatchObject({
        type: "urn:overlay:invalid_request",
      });
    });
  }

  test("a Last-Event-ID that is no revision is refused", async () => {
    const response = await new World().ask("", { "last-event-id": "abc" });
    expect(await response.json()).toMatchObject({ type: "urn:overlay:invalid_request" });
  });

  test("HEAD begins nothing", async () => {
    const world = new World();
    const response = await world.app.request("/watch", { method: "HEAD" });
    expect([response.status, world.kv.watches.count]).toEqual([200, 0]);
  });
});

describe("the life of a watch", () => {
  test("an idle one says now and then how far it is", async () => {
    const world = new World();
    const client = await world.watch("?prefix=/a/");
    await client.read();
    const pending = client.read();
    world.write(put("/b"));
    await world.kv.clock.advance(WATCH_IDLE_MS);
    expect(names(await pending)).toEqual(["bookmark 1 1"]);
    const again = client.read();
    await world.kv.clock.advance(WATCH_IDLE_MS);
    expect(names(await again)).toEqual(["bookmark 1 1"]);
  });

  test("a client that does not read holds nothing up, and is told when it is too late", async () => {
    const world = new World();
    const slow = await world.watch("?since=0");
    const quick = await world.watch("?since=0");
    for (let n = 1; n <= HISTORY_REVISIONS_MAX; n++) {
      world.write(put(`/${n}`));
      if (n % 500 === 0) await quick.readTo(n);
    }
    expect(world.kv.watches.count).toBe(2);
    await slow.read();
    expect(slow.seen.length).toBeLessThanOrEqual(WATCH_STEP_REVISIONS_MAX);
    for (let n = 1; n <= HISTORY_REVISIONS_MAX; n++) world.write(put(`/${n}`));
    const [told] = await slow.read();
    expect(told).toMatchObject({
      name: "compacted",
      data: { type: "urn:overlay:compacted", oldestRevision: HISTORY_REVISIONS_MAX },
    });
    expect(await slow.read()).toEqual([]);
    expect(slow.ended).toBe(true);
    expect(world.kv.watches.count).toBe(1);
  });

  test("ends when the client goes, when the listener closes, and when the store does", async () => {
    const world = new World();
    const [first, second, third] = [await world.watch(), await world.watch(), await world.watch()];
    for (const client of [first, second, third]) await client.read();
    await first.cancel();
    expect(world.kv.watches.count).toBe(2);
    const pending = second.read();
    world.closing.abort();
    await pending;
    expect([second.ended, world.kv.watches.count]).toEqual([true, 0]);
    const other = new World();
    const client = await other.watch();
    await client.read();
    const last = client.read();
    other.kv.watches.close();
    await last;
    expect(client.ended).toBe(true);
    expect(await (await other.ask()).json()).toMatchObject({ type: "urn:overlay:overloaded" });
  });

  test("one too many is refused, and there is room when one ends", async () => {
    const world = new World();
    const clients: Client[] = [];
    for (let n = 0; n < WATCHES_MAX; n++) clients.push(await world.watch());
    const refused = await world.ask();
    expect([refused.status, await refused.json()]).toMatchObject([
      503,
      { type: "urn:overlay:overloaded", detail: expect.stringContaining(`${WATCHES_MAX} watches`) },
    ]);
    await clients[0]!.cancel();
    await (await world.watch()).cancel();
  });
});

/** What was written, kept as plainly as can be. */
class Journal {
  /** Events by revision, as a client is to be told of them. */
  readonly byRevision: { key: string; item: ItemView | null; previous: ItemView | null }[][] = [[]];
  readonly #items = new Map<string, ItemView>();
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  write(operations: readonly Operation[]): void {
    const before = this.byRevision.length - 1;
    this.#world.write(...operations);
    const { reader } = this.#world.kv.machine;
    if (reader.revision === before) return;
    const events = [];
    for (const key of new Set(operations.flatMap((each) => ("key" in each ? [each.key] : [])))) {
      const pair = reader.get(key);
      const item = pair === undefined ? null : itemView(pair);
      const previous = this.#items.get(key) ?? null;
      if (item?.modRevision === previous?.modRevision) continue;
      events.push({ key, item, previous });
      if (item === null) this.#items.delete(key);
      else this.#items.set(key, item);
    }
    this.byRevision.push(events);
  }

  get revision(): number {
    return this.byRevision.length - 1;
  }
}

/** Checks a client's whole story, over all its connections, as it is told. */
class Validator {
  readonly #journal: Journal;
  readonly #prefix: string;
  /** Revisions up to it were told of completely, or cannot be told any more. */
  complete: number;
  /** Events of the revision that is being told. */
  #partial: Seen[] = [];
  eventCount = 0;
  bookmarkCount = 0;

  constructor(journal: Journal, prefix: string, since: number) {
    this.#journal = journal;
    this.#prefix = prefix;
    this.complete = since;
  }

  /** The connection broke: what was told of an incomplete revision counts for nothing. */
  broke(): void {
    this.#partial = [];
  }

  take(seen: Seen): void {
    if (seen.name === "bookmark") {
      this.bookmarkCount += 1;
      const at = Number(seen.data["revision"]);
      // Bookmarkable: all up to it was told, and it has happened.
      expect(this.#partial).toEqual([]);
      expect(at).toBeLessThanOrEqual(this.#journal.revision);
      this.#nothingMissed(at);
      this.complete = at;
      return;
    }
    // Filter.
    expect(String(seen.data["key"])).toStartWith(this.#prefix);
    this.eventCount += 1;
    this.#partial.push(seen);
    const revision = revisionOf(seen);
    // Ordered and unique.
    expect(revision).toBeGreaterThan(this.complete);
    if (seen.id !== revision) return;
    // Atomic: the id comes with the last event, and then all events are there.
    this.#nothingMissed(revision - 1);
    const wanted = this.#matching(revision);
    expect(this.#partial.map(revisionOf)).toEqual(wanted.map(() => revision));
    const told = new Map(this.#partial.map((each) => [each.data["key"], each]));
    expect([...told.keys()].sort()).toEqual(wanted.map(({ key }) => key).sort());
    for (const { key, item, previous } of wanted) {
      const { name, data } = told.get(key)!;
      expect(name).toBe(item === null ? "delete" : "put");
      // prevKV.
      const { previous: before, ...rest } = data;
      expect(before).toEqual(previous);
      if (item === null) continue;
      expect(rest).toEqual({ ...item });
      // isCreate. Deleted and put in one transaction, a key is created with something before it.
      const isCreate = data["createRevision"] === data["modRevision"];
      expect(data["version"] === 1).toBe(isCreate);
      if (previous === null) expect(isCreate).toBe(true);
      else if (!isCreate) expect(data["version"]).toBe(previous.version + 1);
    }
    this.#partial = [];
    this.complete = revision;
  }

  /** Reliable: no revision with matching events lies between. */
  #nothingMissed(upTo: number): void {
    for (let at = this.complete + 1; at <= upTo; at++) expect(this.#matching(at)).toEqual([]);
  }

  #matching(revision: number) {
    return this.#journal.byRevision[revision]!.filter(({ key }) => key.startsWith(this.#prefix));
  }
}

function revisionOf({ name, data }: Seen): number {
  return Number(name === "put" ? data["modRevision"] : data["revision"]);
}

const keys = fc.constantFrom("/a/1", "/a/2", "/a/3", "/b/1", "/b/2");
const operation = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(keys, fc.string()).map(([key, value]) => put(key, value)) },
  { weight: 1, arbitrary: keys.map(remove) },
);
type Action =
  | { readonly kind: "write"; readonly operations: Operation[] }
  | { readonly kind: "read"; readonly client: number; readonly cutAt: number | undefined }
  | { readonly kind: "idle" }
  | { readonly kind: "compact"; readonly back: number };
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .array(operation, { minLength: 1, maxLength: 4 })
      .map((operations): Action => ({ kind: "write", operations })),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("read" as const),
      client: fc.nat(2),
      cutAt: fc.option(fc.nat(400), { nil: undefined, freq: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "idle" as const }) },
  { weight: 1, arbitrary: fc.nat(20).map((back): Action => ({ kind: "compact", back })) },
);

/** A client that comes back wherever it was, as a browser would. */
class Returning {
  readonly #world: World;
  readonly #journal: Journal;
  readonly #prefix: string;
  readonly validator: Validator;
  #client: Client | undefined;
  compactedCount = 0;

  constructor(world: World, journal: Journal, prefix: string) {
    this.#world = world;
    this.#journal = journal;
    this.#prefix = prefix;
    this.validator = new Validator(journal, prefix, 0);
  }

  /** Reads one chunk if there is something to be had; `cutAt`: and loses the connection in it. */
  async read(cutAt: number | undefined): Promise<void> {
    this.#client ??= await this.#connect();
    const client = this.#client;
    if (client === undefined) return;
    const before = client.seen.length;
    await client.read(cutAt);
    for (const seen of client.seen.slice(before)) {
      if (seen.name === "compacted") return await this.#startOver();
      this.validator.take(seen);
    }
    if (cutAt !== undefined) {
      await client.cancel();
      this.#client = undefined;
      this.validator.broke();
    }
  }

  /** Whether a read now would not wait. */
  get isBehind(): boolean {
    return this.#client === undefined || this.validator.complete < this.#lastMatching();
  }

  #lastMatching(): number {
    return this.#journal.byRevision.findLastIndex((events) =>
      events.some(({ key }) => key.startsWith(this.#prefix)),
    );
  }

  async #connect(): Promise<Client | undefined> {
    const query = `?previous=true&since=0&prefix=${this.#prefix}`;
    const response = await this.#world.ask(query, {
      "last-event-id": String(this.validator.complete),
    });
    if (response.status === 200) return new Client(response);
    expect(response.status).toBe(410);
    await this.#startOver();
    return undefined;
  }

  /** List, then watch from there. */
  async #startOver(): Promise<void> {
    this.compactedCount += 1;
    this.#client = undefined;
    this.validator.broke();
    this.validator.complete = this.#journal.revision;
  }
}

test("any writes, cuts, returns and compactions: the nine validators hold", async () => {
  const totals = { events: 0, bookmarks: 0, compacted: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(action, { minLength: 20, maxLength: 120, size: "max" }),
      async (run) => {
        const world = new World();
        const journal = new Journal(world);
        const clients = ["/a/", "/", "/b/1"].map((prefix) => new Returning(world, journal, prefix));
        for (const each of run) {
          if (each.kind === "write") journal.write(each.operations);
          else if (each.kind === "idle") await world.kv.clock.advance(WATCH_IDLE_MS);
          else if (each.kind === "compact") {
            const at = Math.max(0, journal.revision - each.back);
            world.kv.apply(compact(decodeRevision(at)));
          } else if (clients[each.client]!.isBehind) await clients[each.client]!.read(each.cutAt);
        }
        for (const client of clients) {
          while (client.isBehind) await client.read(undefined);
          totals.events += client.validator.eventCount;
          totals.bookmarks += client.validator.bookmarkCount;
          totals.compacted += client.compactedCount;
        }
      },
    ),
    { seed: 42, numRuns: 150 },
  );
  // The runs reach what they are about.
  expect(totals.events).toBeGreaterThan(1_000);
  expect(totals.bookmarks).toBeGreaterThan(100);
  expect(totals.compacted).toBeGreaterThan(20);
}, 60_000);
