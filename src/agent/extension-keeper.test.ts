/**
 * The keeper with programs that the test plays, a clock that stands still and a real file.
 *
 * @module
 */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { parseAddress, parsePrefix } from "../base/address.ts";
import { decodeNodeId } from "../base/ids.ts";
import { createSilentLog } from "../base/log.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { BackendConfig } from "../control/network/backend-config.ts";
import type { BackendPeer } from "../dataplane/backends/backend.ts";
import { ExtensionKeeper } from "./extension-keeper.ts";
import { decodeExtensionRecord, readExtensionRecord } from "./extension-record.ts";

const CONFIG: BackendConfig = {
  kind: "extension",
  commands: {
    PreStartupCommand: ["pre"],
    PostStartupCommand: ["post"],
    SubnetAddCommand: ["add", "-x"],
    SubnetRemoveCommand: ["remove"],
    ShutdownCommand: ["shutdown"],
  },
};
const UDP: BackendConfig = { kind: "udp", port: 8285, encryption: "none" };
const PLACE = {
  network: parsePrefix("10.0.0.0/16")!,
  subnet: parsePrefix("10.0.53.0/24")!,
  address: parseAddress("192.168.1.5")!,
};

const folder = mkdtempSync(join(tmpdir(), "overlay-extension-keeper-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "extension.json");
beforeEach(() => rmSync(path, { force: true }));

function peer(number: number, data: string | null = `key${number}`): BackendPeer {
  return {
    node: decodeNodeId(number),
    subnet: parsePrefix(`10.0.${number}.0/24`)!,
    address: parseAddress(`192.168.1.${number}`)!,
    backend: { kind: "other", type: "extension", data },
  };
}

/** One life of the agent. `answer` plays the programs; by default all succeed. */
async function live(
  answer: (call: string) => Result<string, string> | Promise<Result<string, string>> = () => ok(""),
) {
  const clock = new ManualClock();
  const log = createSilentLog();
  const calls: string[] = [];
  const keeper = new ExtensionKeeper({
    ...{ path, clock, log, recalled: await readExtensionRecord(path, log) },
    async run(command, { env, input }) {
      const subject = env["SUBNET"] ?? "";
      const call = [...command, subject, input.trim()].filter((word) => word !== "").join(" ");
      calls.push(call);
      const done = await answer(call);
      return done.ok && done.value === "" && call === "pre" ? ok("mine") : done;
    },
  });
  const follow = (peers: readonly BackendPeer[], config = CONFIG) =>
    keeper.follow({ config, peers, lingering: [] });
  return { keeper, clock, follow, calls: () => calls.splice(0).sort() };
}

/** Prepares as the network agent does: asks again when the node has something new to say. */
async function prepare({ keeper }: { readonly keeper: ExtensionKeeper }, config = CONFIG) {
  const wasAsked = await keeper.prepare(keeper.own(config), PLACE);
  return wasAsked ? 1 : (await keeper.prepare(keeper.own(config), PLACE)) ? 2 : 3;
}

test("extension keeper: starts once, adds and removes peers, ends with the shutdown", async () => {
  const life = await live();
  expect(await prepare(life)).toBe(2);
  expect(await prepare(life)).toBe(1);
  expect(life.keeper.own(CONFIG)).toMatchObject({ data: "mine" });
  expect(life.calls()).toEqual(["post 10.0.53.0/24", "pre"]);
  life.follow([peer(7), peer(8), peer(9, null)]);
  await life.keeper.settled();
  expect(life.calls()).toEqual(["add -x 10.0.7.0/24 key7", "add -x 10.0.8.0/24 key8"]);
  life.follow([peer(7), peer(8, "other")]);
  await life.keeper.settled();
  expect(life.calls()).toEqual(["add -x 10.0.8.0/24 other", "remove 10.0.8.0/24 key8"]);
  // A peer that is behind is reached by the programs still.
  life.follow([peer(8, "other")], UDP);
  await life.keeper.settled();
  expect(life.calls()).toEqual(["remove 10.0.7.0/24 key7"]);
  life.follow([], UDP);
  await life.keeper.settled();
  expect(life.calls()).toEqual(["remove 10.0.8.0/24 other", "shutdown 10.0.53.0/24"]);
  expect(life.keeper.network).toBeUndefined();
  expect(readFileSync(path, "utf8")).toBe('{"version":1,"peers":[]}');
});

test("extension keeper: a next life starts anew, and removes who went meanwhile", async () => {
  const first = await live();
  await prepare(first);
  first.follow([peer(7), peer(8)]);
  await first.keeper.settled();
  await first.keeper.close();
  const second = await live();
  // What it said before is said until the program has said something else.
  expect(second.keeper.own(CONFIG)).toMatchObject({ data: "mine" });
  expect(second.keeper.network).toBe(PLACE.network);
  expect(await prepare(second)).toBe(1);
  second.follow([peer(8)]);
  await second.keeper.settled();
  expect(second.calls()).toEqual([
    ...["add -x 10.0.8.0/24 key8", "post 10.0.53.0/24", "pre", "remove 10.0.7.0/24 key7"],
  ]);
});

test("extension keeper: killed while a program adds a peer, it removes that peer", async () => {
  const hung = Promise.withResolvers<Result<string, string>>();
  const begun = Promise.withResolvers<void>();
  const first = await live((call) => {
    if (!call.startsWith("add")) return ok("");
    begun.resolve();
    return hung.promise;
  });
  await prepare(first);
  first.follow([peer(7)]);
  await begun.promise;
  // No close: the next life finds what the disk has.
  const second = await live();
  second.follow([], UDP);
  await second.keeper.settled();
  expect(second.calls()).toEqual(["remove 10.0.7.0/24 key7", "shutdown 10.0.53.0/24"]);
  hung.resolve(err("killed"));
});

test("extension keeper: what fails is told and tried again, ever more seldom", async () => {
  let isBroken = true;
  const life = await live((call) =>
    isBroken && call.startsWith("add") ? err("exit code 2: no such link") : ok(""),
  );
  await prepare(life);
  life.calls();
  life.follow([peer(7)]);
  await life.keeper.settled();
  const text = "Cannot run SubnetAddCommand for 10.0.7.0/24: exit code 2: no such link";
  expect(life.keeper.failures()).toEqual([`${text}; trying again in 1 s`]);
  for (const seconds of [1, 2, 4]) {
    life.follow([peer(7)]);
    await life.keeper.settled();
    expect(life.calls()).toHaveLength(1);
    await life.clock.advance(seconds * 1000);
    await life.keeper.settled();
  }
  expect(life.keeper.failures()).toEqual([`${text}; trying again in 8 s`]);
  life.calls();
  // Something else is tried at once.
  life.follow([peer(7, "new")]);
  await life.keeper.settled();
  expect(life.calls()).toEqual(["add -x 10.0.7.0/24 new", "remove 10.0.7.0/24 key7"]);
  isBroken = false;
  await life.clock.advance(1000);
  await life.keeper.settled();
  expect(life.keeper.failures()).toEqual([]);
});

test("extension keeper: a startup program that fails keeps the node where it was", async () => {
  let broken = "pre";
  const life = await live((call) => (call.startsWith(broken) ? err("exit code 1") : ok("")));
  await expect(prepare(life)).rejects.toThrow("Cannot run PreStartupCommand: exit code 1");
  broken = "post";
  await expect(prepare(life)).rejects.toThrow("Cannot run PostStartupCommand: exit code 1");
  broken = "none";
  await prepare(life);
  expect(life.calls()).toEqual(["post 10.0.53.0/24", "post 10.0.53.0/24", "pre", "pre"]);
});

test("extension keeper: who comes back during the shutdown waits for it, and starts anew", async () => {
  const end = Promise.withResolvers<Result<string, string>>();
  const begun = Promise.withResolvers<void>();
  const life = await live((call) => {
    if (!call.startsWith("shutdown")) return ok("");
    begun.resolve();
    return end.promise;
  });
  await prepare(life);
  life.follow([], UDP);
  await begun.promise;
  life.calls();
  const again = prepare(life);
  await Promise.resolve();
  expect(life.calls()).toEqual([]);
  end.resolve(ok(""));
  await again;
  life.follow([]);
  await life.keeper.settled();
  expect(life.calls()).toEqual(["post 10.0.53.0/24", "pre"]);
  expect(life.keeper.network).toBe(PLACE.network);
});

test("extension keeper: what no lease has room for is refused", async () => {
  const life = await live((call) => ok(call === "pre" ? "x".repeat(17_000) : ""));
  await expect(prepare(life)).rejects.toThrow(
    "it printed 17002 bytes, and a lease has room for 16384",
  );
});

test("extension keeper: leaving takes all away, and waits for it", async () => {
  const life = await live();
  await prepare(life);
  life.follow([peer(7)]);
  await life.keeper.remove();
  expect(life.keeper.network).toBeUndefined();
  expect(life.calls().filter((call) => /remove|shutdown/.test(call))).toEqual([
    ...["remove 10.0.7.0/24 key7", "shutdown 10.0.53.0/24"],
  ]);
});

test("extension record: what is none is not believed", () => {
  for (const text of ["", "{}", '{"version":2,"peers":[]}', '{"version":1,"start":1,"peers":[]}']) {
    expect(decodeExtensionRecord(text)).toBeUndefined();
  }
  const strange = '{"version":1,"peers":[{"subnet":"10.0.7.0/24","address":"x","data":""},7]}';
  expect(decodeExtensionRecord(strange)).toEqual({ start: undefined, peers: [] });
});
