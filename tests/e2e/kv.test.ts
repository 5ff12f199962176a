/**
 * The store from outside, on three nodes: any of them takes and gives, and what was promised holds
 * while leaders are killed.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { formCluster, waitSettled } from "../lab/cluster.ts";
import { type ApiAnswer, type Host, OVERLAY_PATH } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { labGroup, labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";
import { checkPartitions, type Model, type Operation } from "../sim/linearizability.ts";
import { KvWatcher } from "./kv-watcher.ts";

const THREE = { hosts: 3, docker: false, timeoutMs: 120_000 } as const;
/** Not done, or nobody knows: to be repeated, or looked at. */
const NOT_NOW: readonly number[] = [503, 504];

interface Item {
  readonly key: string;
  readonly value: string;
  readonly modRevision: number;
}

async function put(
  host: Host,
  key: string,
  value: BodyInit,
  headers: Record<string, string> = {},
): Promise<ApiAnswer> {
  return await host.api(`/kv${key}`, { method: "PUT", body: value, headers });
}

/** Puts until it is taken; each attempt may have been. */
async function mustPut(host: Host, key: string, value: string): Promise<number> {
  const answer = await waitFor(
    async () => {
      const each = await put(host, key, value);
      return !NOT_NOW.includes(each.status) && each;
    },
    { timeoutMs: 20_000, describe: `${host.name} to take ${key}` },
  );
  expect([answer.status, answer.text]).toEqual([200, expect.any(String)]);
  return answer.json<{ revision: number }>().revision;
}

async function list(host: Host, prefix: string): Promise<Item[]> {
  const answer = await host.api(`/kv?prefix=${prefix}`);
  expect(answer.status).toBe(200);
  return answer.json<{ items: Item[] }>().items;
}

async function txn(host: Host, body: unknown): Promise<ApiAnswer> {
  return await host.api("/txn", { method: "POST", body: JSON.stringify(body) });
}

labGroup("three nodes", { ...THREE, prepare: formCluster }, (test) => {
  test("what one takes every other gives, at once and byte for byte", async (lab) => {
    const value = new Uint8Array(70_000).map((_, i) => i % 251);
    for (const [i, writer] of lab.hosts.entries()) {
      const written = await put(writer, `/bytes/${i}`, value);
      const { revision } = written.json<{ revision: number }>();
      for (const reader of lab.hosts) {
        const answer = await fetch(`http://localhost/kv/bytes/${i}`, { unix: reader.socket });
        expect(new Uint8Array(await answer.arrayBuffer())).toEqual(value);
        expect(answer.headers.get("etag")).toBe(`"${revision}"`);
        expect(Number(answer.headers.get("x-overlay-revision"))).toBeGreaterThanOrEqual(revision);
      }
    }
  });

  test("of writers that saw the same revision one wins", async (lab) => {
    const made = await put(lab.host(0), "/cas", "0", { "if-none-match": "*" });
    let etag = made.headers.get("etag")!;
    for (let round = 1; round <= 10; round++) {
      const answers = await Promise.all(
        lab.hosts.map((host) => put(host, "/cas", `${host.name} ${round}`, { "if-match": etag })),
      );
      const won = answers.filter(({ status }) => status === 200);
      expect([won.length, answers.filter(({ status }) => status === 412).length]).toEqual([1, 2]);
      etag = won[0]!.headers.get("etag")!;
      const winner = lab.hosts[answers.indexOf(won[0]!)]!;
      const read = await lab.host(round % 3).api("/kv/cas");
      expect([read.headers.get("etag"), read.text]).toEqual([etag, `${winner.name} ${round}`]);
    }
  });

  test("a transaction moves something, wholly or not at all", async (lab) => {
    await put(lab.host(0), "/from", "coin");
    const move = {
      compare: [{ key: "/from", target: "value", op: "=", value: "coin" }],
      success: [
        { op: "delete", key: "/from" },
        { op: "put", key: "/to", value: "coin" },
      ],
      failure: [{ op: "get", key: "/to" }],
    };
    const answers = await Promise.all(lab.hosts.map((host) => txn(host, move)));
    const views = answers.map((each) => each.json<{ succeeded: boolean; revision: number }>());
    expect(views.filter(({ succeeded }) => succeeded)).toHaveLength(1);
    expect((await lab.host(2).api("/kv/from")).status).toBe(404);
    expect((await lab.host(1).api("/kv/to")).text).toBe("coin");
  });

  test("a key with a time to live goes, unless it is renewed", async (lab) => {
    await put(lab.host(0), "/short?ttl=1", "x");
    await put(lab.host(0), "/kept?ttl=5", "x");
    const renew = { success: [{ op: "renew", key: "/kept" }] };
    await waitFor(
      async () => {
        expect((await txn(lab.host(1), renew)).text).toContain('"ttlSeconds":5');
        return (await lab.host(2).api("/kv/short")).status === 404;
      },
      { describe: "the key to go" },
    );
    expect((await lab.host(2).api("/kv/kept")).status).toBe(200);
    await waitFor(async () => (await lab.host(2).api("/kv/kept")).status === 404, {
      describe: "the other key to go, when nobody renews it",
    });
  });

  test("limits, the system's keys and the port are guarded", async (lab) => {
    const host = lab.host(1);
    const refusals: [answer: ApiAnswer, status: number, kind: string][] = [
      [await put(host, "/large", new Uint8Array(1_048_577)), 413, "value_too_large"],
      [await put(host, "/overlay/x", "1"), 403, "reserved_key"],
      [await put(host, "/a?ttl=0", "1"), 400, "invalid_ttl"],
      [await put(host, `/${"k".repeat(4096)}`, "1"), 400, "key_too_large"],
      [await host.api("/kv?revision=999999999"), 400, "future_revision"],
    ];
    for (const [answer, status, kind] of refusals) {
      expect(answer.status).toBe(status);
      expect(answer.json<{ type: string }>().type).toBe(`urn:overlay:${kind}`);
    }
    await put(host, "/a", new Uint8Array(1_048_576));
    const port = "http://127.0.0.1:8287/kv/open";
    const anonymous = await host.curl(["-o", "/dev/null", "-w", "%{http_code}", "-T", "-", port]);
    expect(anonymous.stdout).toBe("401");
    expect((await host.curl([`${port}?consistency=serializable`])).stdout).toContain("not_found");
  });

  test("compaction is everywhere", async (lab) => {
    const revision = await mustPut(lab.host(0), "/compacted", "1");
    await mustPut(lab.host(0), "/compacted", "2");
    const body = JSON.stringify({ revision });
    expect((await lab.host(1).api("/compact", { method: "POST", body })).status).toBe(200);
    for (const host of lab.hosts) {
      // A linearizable read first: it has applied the compaction then.
      expect((await host.api("/kv/compacted")).text).toBe("2");
      const old = await host.api(`/watch?since=${revision - 1}`);
      expect([old.status, old.json<{ oldestRevision: number }>().oldestRevision]).toEqual([
        410,
        revision,
      ]);
      expect((await host.api(`/kv/compacted?revision=${revision - 1}`)).status).toBe(410);
      expect((await host.api(`/kv/compacted?revision=${revision}`)).text).toBe("1");
    }
  });

  test("the command line: put here, get there, watch", async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    await a.mustCli(["kv", "put", "/cli/color", "blue"]);
    expect(await b.mustCli(["kv", "get", "/cli/color"])).toBe("blue");
    expect(await b.mustCli(["kv", "list", "--keys", "/cli/"])).toBe("/cli/color\n");
    const { item } = JSON.parse(await b.mustCli(["kv", "get", "/cli/color", "--json"]));
    const since = String(item.modRevision - 1);
    const watched = await b.mustCli(["kv", "watch", "/cli/", "--since", since, "--count", "1"]);
    expect(watched).toMatch(/^\d+ put \/cli\/color = blue\n$/);
    const { code, stderr } = await b.cli(["kv", "get", "/cli/none"]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("there is no such key")]);
    await b.mustCli(["kv", "delete", "/cli/color"]);
    expect((await a.cli(["kv", "get", "/cli/color"])).code).toBe(1);
  });
});

describe("kill -9", () => {
  labTest("a watch goes on over it: no gap, no repeat, in order", THREE, async (lab) => {
    await formCluster(lab);
    // Nodes that joined know nothing of what was before that.
    const since = await mustPut(lab.host(0), "/w/0", "0");
    const watchers = lab.hosts.map((_, i) => {
      const order = [...lab.hosts.slice(i), ...lab.hosts.slice(0, i)];
      return new KvWatcher(order, "/w/", since);
    });
    try {
      let count = 1;
      let last = 0;
      const write = async (host: Host, more: number) => {
        for (const end = count + more; count < end; count++) {
          last = await mustPut(host, `/w/${count}`, `${count}`);
          if (count % 5 === 0) await host.api(`/kv/w/${count}`, { method: "DELETE" });
        }
      };
      await write(lab.host(0), 40);
      for (let round = 0; round < 2; round++) {
        const leader = await waitSettled(lab.hosts);
        const other = lab.hosts.find((host) => host !== leader)!;
        const killed = leader.agent.kill();
        await write(other, 40);
        await killed;
        await leader.startHealthyAgent();
        await write(leader, 20);
      }
      await waitFor(() => watchers.every(({ bookmark }) => bookmark >= last), {
        timeoutMs: 30_000,
        describe: "every watcher to have a bookmark after the last write",
        details: () => watchers.map(({ bookmark }) => `${bookmark} of ${last}`).join(", "),
      });
      const [first, ...rest] = watchers.map(({ changes }) => changes);
      const revisions = first!.map(({ revision }) => revision);
      expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
      for (const each of rest) expect(each).toEqual(first!);
      checkComplete(first!, await list(lab.host(0), "/w/"), count);
      const connections = watchers.map(({ connectionCount }) => connectionCount);
      expect(Math.max(...connections)).toBeGreaterThan(1);
    } finally {
      await Promise.all(watchers.map((watcher) => watcher.stop()));
    }
  });

  labTest("all three: every key, and what was compacted, is as before", THREE, async (lab) => {
    await formCluster(lab);
    for (let n = 0; n < 30; n++) await mustPut(lab.host(n % 3), `/k/${n % 10}`, `${n}`);
    const before = await list(lab.host(0), "/k/");
    const revision = before.at(-1)!.modRevision;
    const body = JSON.stringify({ revision });
    expect((await lab.host(0).api("/compact", { method: "POST", body })).status).toBe(200);
    await Promise.all(lab.hosts.map((host) => host.agent.kill()));
    await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
    await waitSettled(lab.hosts);
    for (const host of lab.hosts) {
      expect(await list(host, "/k/")).toEqual(before);
      expect((await host.api(`/kv?revision=${revision - 1}`)).status).toBe(410);
    }
  });

  labTest("replicas compare their states, and agree over a restart", THREE, async (lab) => {
    await formCluster(lab);
    await writeMany(lab.host(0), 1_200);
    await waitAgreed(lab.hosts, 1_000);
    await lab.host(2).agent.kill();
    await writeMany(lab.host(0), 2_000);
    await lab.host(2).startHealthyAgent();
    await waitSettled(lab.hosts);
    await writeMany(lab.host(2), 1_000);
    await waitAgreed(lab.hosts, 4_000);
  });

  labTest("puts, gets and compare-and-swaps of many clients are linearizable", THREE, mixedLoad);
});

/** Puts, `WRITER_COUNT` at a time, on few keys, some of them for a while only. */
async function writeMany(host: Host, count: number): Promise<void> {
  let left = count;
  const writers = Array.from({ length: WRITER_COUNT }, async () => {
    while (left > 0) {
      const n = left--;
      await mustPut(host, n % 10 === 0 ? `/many/${n % 50}?ttl=2` : `/many/${n % 50}`, `${n}`);
    }
  });
  await Promise.all(writers);
}

/** Waits until every one of `hosts` has heard from a majority that it has the right state. */
async function waitAgreed(hosts: readonly Host[], index: number): Promise<void> {
  const agreedOf = async (host: Host) =>
    Number(/^overlay_store_agreed_index (\d+)$/m.exec((await host.api("/metrics")).text)?.[1]);
  let last: number[] = [];
  await waitFor(
    async () => {
      last = await Promise.all(hosts.map(agreedOf));
      return last.every((each) => each >= index);
    },
    { describe: `agreement about entry ${index}`, details: () => last.join(", ") },
  );
}

describe("docs/STORE.md", () => {
  labTest("its examples run as they stand", { hosts: 1, docker: false }, async (lab) => {
    const host = lab.host(0);
    await host.startHealthyAgent();
    const page = readFileSync(join(import.meta.dir, "../../docs/STORE.md"), "utf8");
    const blocks = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1]!);
    expect(blocks.length).toBeGreaterThan(3);
    const overlay = `overlay() { '${OVERLAY_PATH}' "$@" --socket '${host.socket}'; }\n`;
    for (const block of blocks) {
      const script = block.replaceAll("/run/overlay/overlay.sock", host.socket);
      await host.mustRun(["sh", "-ec", overlay + script]);
    }
    expect((await host.api("/kv/app/leader")).text).toBe("web1");
  });
});

/** Every key that was ever written came up exactly as often as it was changed. */
function checkComplete(
  changes: readonly { kind: string; key: string; revision: number }[],
  items: readonly Item[],
  count: number,
): void {
  const present = new Map(items.map((item) => [item.key, item.modRevision]));
  for (let n = 1; n < count; n++) {
    const key = `/w/${n}`;
    const told = changes.filter((change) => change.key === key);
    expect(told[0]?.kind).toBe("put");
    const last = told.at(-1)!;
    expect([key, last.kind === "put" ? last.revision : undefined]).toEqual([key, present.get(key)]);
  }
}

const WRITER_COUNT = 32;
const CLIENT_COUNT = 6;
const KEYS = ["/x", "/y"] as const;

type Input =
  | { readonly kind: "get"; readonly key: string }
  | { readonly kind: "put"; readonly key: string; readonly value: string }
  /** Only if the key is at `revision`, which is one that was seen; 0: not there. */
  | {
      readonly kind: "cas";
      readonly key: string;
      readonly value: string;
      readonly revision: number;
    };
/** `unknown`: it may have happened or not; `refused`: it has not. */
type Output =
  | { readonly kind: "unknown" }
  | { readonly kind: "value"; readonly value: string | undefined; readonly revision: number }
  | { readonly kind: "written"; readonly revision: number }
  | { readonly kind: "mismatch" };
/** Of one key. `revision` is undefined after a write whose answer is not known. */
interface State {
  readonly value: string | undefined;
  readonly revision: number | undefined;
}

const REGISTER: Model<State, Input, Output> = {
  initial: { value: undefined, revision: 0 },
  step(state, input, output) {
    switch (output.kind) {
      case "value": {
        if (output.value !== state.value) return undefined;
        const known = state.revision ?? output.revision;
        return known === output.revision ? { ...state, revision: known } : undefined;
      }
      case "mismatch":
        return input.kind === "cas" && state.revision !== input.revision ? state : undefined;
      case "written":
      case "unknown": {
        if (input.kind === "get") return state;
        const isMatch =
          input.kind === "put" || (state.revision ?? input.revision) === input.revision;
        if (!isMatch) return output.kind === "unknown" ? state : undefined;
        const revision = output.kind === "written" ? output.revision : undefined;
        return { value: input.value, revision };
      }
    }
  },
  describeState: ({ value, revision }) => `${value} ${revision}`,
};

async function ask(host: Host, input: Input): Promise<Output> {
  try {
    if (input.kind === "get") {
      const answer = await host.api(`/kv${input.key}`);
      if (NOT_NOW.includes(answer.status)) return { kind: "unknown" };
      if (answer.status === 404) return { kind: "value", value: undefined, revision: 0 };
      const revision = Number(answer.headers.get("etag")!.slice(1, -1));
      return { kind: "value", value: answer.text, revision };
    }
    const match = input.kind === "cas" ? { "if-match": `"${input.revision}"` } : {};
    const answer = await put(host, input.key, input.value, match as Record<string, string>);
    if (answer.status === 412) return { kind: "mismatch" };
    if (answer.status !== 200) return { kind: "unknown" };
    return { kind: "written", revision: answer.json<{ revision: number }>().revision };
  } catch {
    return { kind: "unknown" }; // The node was killed while it worked on it.
  }
}

/** Clients on all nodes, a leader killed and started again, and the history checked. */
async function mixedLoad(lab: Lab): Promise<void> {
  await formCluster(lab);
  const history: Operation<Input, Output>[] = [];
  let isOver = false;
  const clients = Array.from({ length: CLIENT_COUNT }, async (_, client) => {
    const seen = new Map<string, number>(KEYS.map((key) => [key, 0]));
    for (let n = 0; !isOver; n++) {
      const key = KEYS[n % KEYS.length]!;
      const value = `${client}.${n}`;
      const inputs: Input[] = [
        { kind: "get", key },
        { kind: "put", key, value },
        { kind: "cas", key, value, revision: seen.get(key)! },
      ];
      const input = inputs[(n + client) % inputs.length]!;
      const callTime = performance.now();
      const output = await ask(lab.host((client + n) % lab.hosts.length), input);
      const returnTime = output.kind === "unknown" ? Number.POSITIVE_INFINITY : performance.now();
      if (output.kind === "value" || output.kind === "written") seen.set(key, output.revision);
      // A read without an answer says nothing.
      if (output.kind === "unknown" && input.kind === "get") continue;
      history.push({ input, output, callTime, returnTime });
      if (output.kind !== "unknown") continue;
      // Not another one at once: each may take effect at any time, which the check has to try.
      const next = lab.host((client + n + 1) % lab.hosts.length);
      await waitFor(async () => (await next.api("/healthz")).status === 200, {
        describe: "the next node to answer",
      });
    }
  });
  for (let round = 0; round < 2; round++) {
    const written = history.length;
    await waitFor(() => history.length > written + 200, { describe: "the clients to get on" });
    const leader = await waitSettled(lab.hosts);
    await leader.agent.kill();
    const before = history.filter(({ output }) => output.kind === "written").length;
    await waitFor(
      () => history.filter(({ output }) => output.kind === "written").length > before + 30,
      { timeoutMs: 30_000, describe: "the others to take writes" },
    );
    await leader.startHealthyAgent();
  }
  isOver = true;
  await Promise.all(clients);
  const revisions = history.flatMap(({ output }) =>
    output.kind === "written" ? [output.revision] : [],
  );
  expect(new Set(revisions).size).toBe(revisions.length);
  expect(history.some(({ output }) => output.kind === "mismatch")).toBe(true);
  const verdict = checkPartitions(REGISTER, history, (input) => input.key);
  expect(verdict.kind).toBe("linearizable");
}
