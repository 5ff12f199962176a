/**
 * Trust between real agents: who is in between, who knocks on the cluster port, who was removed,
 * what leaves a node, and a change of the CA while everything goes on.
 *
 * @module
 */
import { expect } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join as joinPath } from "node:path";
import {
  decodeIndex,
  decodeTerm,
  type NodeId,
  parseClusterId,
  parseNodeId,
} from "../../src/base/ids.ts";
import { decodeRecord, type PlainRecord } from "../../src/control/cluster/codec/codec.ts";
import {
  encodePeerFrame,
  FRAME_SIZE_MAX_BYTES,
  FrameSplitter,
} from "../../src/control/cluster/codec/frame.ts";
import { messageToRecord } from "../../src/control/cluster/codec/message-codec.ts";
import { realClock, realRandom } from "../../src/control/cluster/real-node.fake.ts";
import { createRequest, signRequest } from "../../src/control/cluster/trust/pki.ts";
import {
  type CreatedToken,
  createToken,
  join,
  mustPutConfig,
  NETWORK_CONFIG,
  statusOf,
  waitReaches,
  waitSettled,
} from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { labGroup } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";
import {
  contentOf,
  filesBelow,
  findSecrets,
  keyFilesOf,
  keySecrets,
  tokenSecrets,
} from "../support/secrets.ts";
import { startIntruder } from "./intruder.ts";
import { expectRefusal } from "./messages.ts";

const CLUSTER_PORT = 8286;
const SWITCH = "192.168.77.1";
const CALLER = joinPath(import.meta.dir, "caller-program.ts");
const DEBUG = { args: ["--log-level", "debug"] } as const;
/** What is promised of a removal. */
const REVOKED_WITHIN_MS = 1_000;
/** Above any term that a cluster gets to in a test. */
const HIGH_TERM = decodeTerm(1_000_000);

interface CallerKeys {
  readonly key: string;
  readonly certificate: string;
}

interface MemberView {
  readonly id: string;
  readonly name: string;
  readonly role: string;
}

interface AuthorityView {
  readonly authorities: readonly { readonly pin: string }[];
  readonly waiting: readonly { readonly name: string }[];
}

/** The text of a file of `host` in its cluster: "node.key". */
function pkiFile(host: Host, name: string): string {
  const path = filesBelow(host.dataDir).find((each) => each.endsWith(`/${name}`));
  return path === undefined ? "" : readFileSync(path, "utf8");
}

function keysOf(host: Host): CallerKeys {
  return { key: pkiFile(host, "node.key"), certificate: pkiFile(host, "node.crt") };
}

function nodeIdOf(text: string): NodeId {
  const id = parseNodeId(text);
  if (id === undefined) throw new Error(`"${text}" is no node id`);
  return id;
}

/**
 * What a voter would send to `target` to depose its leader, then a call for the CA's key: as one
 * who says that it is node `from` of the same cluster.
 */
async function claims(target: Host, from: NodeId): Promise<Uint8Array> {
  const { node, cluster } = await statusOf(target);
  const to = nodeIdOf(node.id);
  const ends = { cluster: { clusterId: parseClusterId(cluster.id)!, generation: 1 }, from, to };
  const last = { term: HIGH_TERM, index: decodeIndex(1_000_000) };
  const head = { kind: "vote_request", from, to, term: HIGH_TERM } as const;
  const vote = messageToRecord({ ...head, round: "vote", last, transfer: true });
  return Buffer.concat([
    encodePeerFrame(ends, { k: "hello", u: "main" }),
    encodePeerFrame(ends, { k: "raft", m: vote }),
    encodePeerFrame(ends, { k: "call", i: 1, m: "ca_key", b: {} }),
  ]);
}

/** Calls `target` from `source`'s network with `keys`, and gives the frames of its answer. */
async function callFrom(
  source: Host,
  target: Host,
  options: { readonly keys?: CallerKeys; readonly as: NodeId },
): Promise<readonly PlainRecord[]> {
  const data = Buffer.from(await claims(target, options.as)).toString("base64");
  const text = await source.mustRun(
    [process.execPath, CALLER, target.address, String(CLUSTER_PORT)],
    { stdin: JSON.stringify({ ...options.keys, data }) },
  );
  const frames = new FrameSplitter(FRAME_SIZE_MAX_BYTES).push(Buffer.from(text, "base64"));
  return (frames ?? []).map((bytes) => decodeRecord(bytes) ?? {});
}

/** How many connections or frames `host` has refused for `reason`, by its metrics. */
async function refusals(host: Host, reason: string): Promise<number> {
  const { text } = await host.api("/metrics");
  const match = new RegExp(`^overlay_cluster_refused_${reason}_total (\\d+)$`, "m").exec(text);
  if (match === null) throw new Error(`No refusals for "${reason}" in the metrics`);
  return Number(match[1]);
}

/** Keys of a node that never was, with a certificate that the real CA made. */
async function strangerKeys(voter: Host, nodeId: NodeId): Promise<CallerKeys> {
  const ca = { certificate: pkiFile(voter, "ca.crt"), key: pkiFile(voter, "ca.key") };
  const { csr, key } = await createRequest(nodeId);
  const signed = await signRequest({ csr, nodeId, ca, clock: realClock, random: realRandom });
  if (!signed.ok) throw new Error(signed.error.detail);
  return { key, certificate: signed.value };
}

/** What may not be in `received`, and how much there must be for that to mean anything. */
function expectNothingLearned(received: string, token: string, hosts: readonly Host[]): void {
  const keys = hosts.flatMap((host) => keySecrets(keyTextOf(host)));
  expect(received.length).toBeGreaterThan(0);
  expect(findSecrets(received, [...tokenSecrets(token), ...keys])).toEqual([]);
}

function keyTextOf(host: Host): string {
  return keyFilesOf(host.dataDir)
    .map((path) => readFileSync(path, "utf8"))
    .join("\n");
}

labGroup(
  "strangers",
  {
    hosts: 6,
    docker: false,
    prepare: async (lab) => {
      await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
      const [seed, ...others] = lab.hosts;
      // One voter and three standbys: the fifth is a spare, the sixth a cluster of its own.
      await seed!.mustCli(["member", "target", "1"]);
      for (const host of others.slice(0, 3)) await join(host, seed!);
    },
  },
  (test) => {
    test("in between, with a certificate that looks like the peer's: refused", async (lab) => {
      const [peer, joiner] = [lab.host(0), lab.host(4)];
      const { token } = await createToken(peer);
      const before = (await statusOf(joiner)).cluster.id;
      await using proxy = await startIntruder(lab.switch, {
        port: CLUSTER_PORT,
        mode: "proxy",
        peer: peer.address,
      });
      const finished = await joiner.cli(["join", SWITCH, "--token", token]);
      expectRefusal(finished, [SWITCH, "somebody is in between"]);
      expect(proxy.connections()).toBe(1);
      expect(findSecrets(proxy.received(), tokenSecrets(token))).toEqual([]);
      expect((await statusOf(joiner)).cluster.id).toBe(before);
      // It does pass on what it is told: by one that does not look at the chain.
      const page = await joiner.curl(["-k", `https://${SWITCH}:${CLUSTER_PORT}/install.sh`]);
      expect(page.stdout).toStartWith("#!");
      expect(proxy.received()).toContain("GET /install.sh");
      expect(proxy.received()).toContain(page.stdout.slice(0, 100));
    });

    test("in between, passing on bytes: the node joins, and they say nothing", async (lab) => {
      const [peer, joiner] = [lab.host(0), lab.host(4)];
      const { token } = await createToken(peer);
      await using pipe = await startIntruder(lab.switch, {
        port: CLUSTER_PORT,
        mode: "pipe",
        peer: peer.address,
      });
      await joiner.mustCli(["join", SWITCH, "--token", token]);
      expectNothingLearned(pipe.received(), token, [peer, joiner]);
    });

    test("knocking with the wrong certificate, or none: refused and counted", async (lab) => {
      const [target, spare, foreigner] = [lab.host(0), lab.host(4), lab.host(5)];
      const unknown = nodeIdOf("00000000abcdef");
      const self = nodeIdOf((await statusOf(spare)).node.id);
      const stranger = await strangerKeys(target, unknown);
      const cases = [
        { reason: "without_certificate", as: unknown, answers: [] },
        { reason: "foreign", as: self, keys: keysOf(foreigner), answers: [] },
        { reason: "strangers", as: unknown, keys: stranger, answers: ["stranger"] },
      ];
      const { term } = (await statusOf(target)).cluster;
      for (const { reason, answers, ...caller } of cases) {
        const before = await refusals(target, reason);
        const said = await callFrom(foreigner, target, caller);
        expect({ reason, said: said.map((each) => each["k"]) }).toEqual({ reason, said: answers });
        expect({ reason, count: await refusals(target, reason) }).toEqual({
          reason,
          count: before + 1,
        });
      }
      expect((await statusOf(target)).cluster.term).toBe(term);
    });

    test("a spare that speaks Raft and wants the CA's key: refused and counted", async (lab) => {
      const [target, spare] = [lab.host(0), lab.host(4)];
      const { id } = (await statusOf(spare)).node;
      await waitFor(
        async () => {
          const members = (await target.api("/members")).json<readonly MemberView[]>();
          const settled = members.filter(({ role }) => role === "standby").length === 3;
          return settled && members.find((each) => each.id === id)?.role === "spare";
        },
        { describe: "three standbys and a spare" },
      );
      expect(pkiFile(spare, "ca.key")).toBe("");
      await spare.agent.kill(); // What it would say itself is not what is counted.
      const before = await refusals(target, "roles");
      const { term } = (await statusOf(target)).cluster;
      const caller = { as: nodeIdOf(id), keys: keysOf(spare) };
      const said = await callFrom(spare, target, caller);
      expect(said.map((each) => [each["k"], each["r"]])).toEqual([["answer", "not_entitled"]]);
      expect(await refusals(target, "roles")).toBe(before + 2);
      expect((await statusOf(target)).cluster.term).toBe(term);
    });
  },
);

/** Puts numbers under a key of its own until stopped; one put may be tried twice. */
function startWriter(host: Host): { stop: () => Promise<{ count: number; failed: string[] }> } {
  let isStopped = false;
  let count = 0;
  const failed: string[] = [];
  const put = async () => {
    const answer = await host.api(`/kv/writer/${host.name}`, { method: "PUT", body: `${count}` });
    return answer.status === 200 ? undefined : answer.text;
  };
  const done = (async () => {
    while (!isStopped) {
      const problem = (await put()) === undefined ? undefined : await put();
      if (problem !== undefined) failed.push(problem);
      count += 1;
    }
  })();
  return {
    stop: async () => {
      isStopped = true;
      await done;
      return { count, failed };
    },
  };
}

async function authorityOf(host: Host): Promise<AuthorityView> {
  return JSON.parse(await host.mustCli(["ca", "status", "--json"])) as AuthorityView;
}

/** Waits until all of `hosts` trust one CA, the same. Gives its pin. */
async function waitOneCa(hosts: readonly Host[], not: string): Promise<string> {
  let last = "nothing";
  return await waitFor(
    async () => {
      const views = await Promise.all(hosts.map(authorityOf));
      last = JSON.stringify(views);
      const pins = new Set(views.flatMap((view) => view.authorities.map(({ pin }) => pin)));
      const [pin] = pins;
      const isDone = pins.size === 1 && views.every(({ waiting }) => waiting.length === 0);
      return isDone && pin !== not && pin;
    },
    { describe: "one CA on every node", details: () => last },
  );
}

/** Established connections to or from port 8286 of `address`, in the namespace of `host`. */
async function connectionsWith(host: Host, address: string): Promise<string[]> {
  const filter = `( dport = :${CLUSTER_PORT} or sport = :${CLUSTER_PORT} ) and dst ${address}`;
  const text = await host.mustRun(["ss", "-Htn", "state", "established", filter]);
  return text.split("\n").filter((line) => line !== "");
}

/** All that can be got out of `host` from outside or from its disk, but for the key files. */
async function wordsOf(host: Host): Promise<Map<string, string>> {
  const words = new Map<string, string>();
  const keyFiles = keyFilesOf(host.dataDir);
  for (const path of filesBelow(host.folder)) {
    if (!keyFiles.includes(path)) words.set(path, contentOf(path));
  }
  const pages = ["/metrics", "/status", "/members", "/ca", "/tokens", "/config", "/leases"];
  for (const page of [...pages, "/kv", "/kv?prefix=/", "/openapi.json"]) {
    words.set(page, (await host.api(page)).text);
  }
  const backup = joinPath(host.folder, "backup");
  await host.mustCli(["snapshot", "save", backup]);
  words.set("snapshot save", readFileSync(backup, "latin1"));
  words.set("snapshot inspect", (await host.cli(["snapshot", "inspect", backup])).stdout);
  words.set("debug wal", (await host.cli(["debug", "wal", host.dataDir])).stdout);
  return words;
}

labGroup(
  "a cluster's trust",
  {
    hosts: 4,
    prepare: async (lab) => {
      await Promise.all(lab.hosts.map((host) => host.startHealthyAgent(DEBUG)));
      for (const host of lab.hosts.slice(1, 3)) await join(host, lab.host(0));
      await mustPutConfig(lab.host(0), NETWORK_CONFIG);
    },
  },
  (test) => {
    const secrets = new Set<string>();
    const noteKeys = (lab: Lab) => {
      for (const host of lab.hosts)
        for (const each of keySecrets(keyTextOf(host))) secrets.add(each);
    };
    let oldToken: CreatedToken;

    test("a new CA: nothing is lost, and an old token is good meanwhile", async (lab) => {
      const three = lab.hosts.slice(0, 3);
      const leader = await waitSettled(three);
      const [asleep, other] = three.filter((host) => host !== leader) as [Host, Host];
      const newcomer = lab.host(3);
      noteKeys(lab);
      oldToken = await createToken(leader);
      for (const secret of tokenSecrets(oldToken.token)) secrets.add(secret);
      const source = await leader.addContainer(await leader.waitLease());
      const target = await other.addContainer(await other.waitLease());
      await waitReaches(source, target);
      const old = (await authorityOf(leader)).authorities[0]!.pin;
      const ping = source.startPing(target.address, { intervalSeconds: 0.02 });
      const writers = [leader, other].map(startWriter);
      asleep.agent.stop(); // So that the change is not over before the newcomer comes.
      await other.mustCli(["ca", "rotate"]);
      noteKeys(lab);
      const isUnderWay = async () => (await authorityOf(leader)).authorities.length === 2;
      await waitFor(isUnderWay, { describe: "the old and the new CA" });
      await join(newcomer, leader, oldToken.token);
      expect(await isUnderWay()).toBeTrue();
      asleep.agent.continue();
      const pin = await waitOneCa(lab.hosts, old);
      const written = await Promise.all(writers.map((writer) => writer.stop()));
      expect(written.map(({ failed }) => failed)).toEqual([[], []]);
      for (const { count } of written) expect(count).toBeGreaterThan(10);
      const { received, lost } = await ping.stop();
      expect({ lost, isLong: received > 20 }).toEqual({ lost: [], isLong: true });
      noteKeys(lab);
      const { token } = await createToken(leader);
      expect(token.split(".")[1]).toBe(pin);
    });

    test("a removed member: shut out everywhere within a second, and told", async (lab) => {
      const [a, b, c, gone] = lab.hosts as [Host, Host, Host, Host];
      const members = [a, b, c];
      await waitSettled(lab.hosts);
      const { id } = (await statusOf(gone)).node;
      const keys = keysOf(gone);
      const open = await Promise.all(members.map((host) => connectionsWith(host, gone.address)));
      expect(open.flat().length).toBeGreaterThan(0);
      await a.mustCli(["member", "remove", id]);
      let last: string[] = [];
      await waitFor(
        async () => {
          const left = await Promise.all(
            members.map((host) => connectionsWith(host, gone.address)),
          );
          last = left.flat();
          const { warnings } = await statusOf(gone);
          return last.length === 0 && warnings.some((each) => each.includes("was removed from"));
        },
        {
          timeoutMs: REVOKED_WITHIN_MS,
          describe: "the removed member to be shut out and to say so",
          details: () => last.join("; "),
        },
      );
      await gone.agent.kill();
      for (const host of members) {
        const before = await refusals(host, "removed");
        const said = await callFrom(gone, host, { as: nodeIdOf(id), keys });
        expect(said.map((each) => each["k"])).toEqual(["expelled"]);
        expect(await refusals(host, "removed")).toBeGreaterThan(before);
      }
    });

    test("private keys and tokens are in nothing but the key files", async (lab) => {
      noteKeys(lab);
      const searched = [...secrets];
      // A key each, the first CA's and the second's, and the token.
      expect(searched.length).toBeGreaterThan(6 * 7);
      const said = new Map<string, string>();
      for (const host of lab.hosts.slice(0, 3)) {
        for (const path of keyFilesOf(host.dataDir)) {
          const mode = (statSync(path).mode & 0o777).toString(8);
          expect({ path, mode }).toEqual({ path, mode: "600" });
          expect(findSecrets(readFileSync(path, "latin1"), searched)).not.toEqual([]);
        }
        for (const [where, text] of await wordsOf(host)) said.set(`${host.name} ${where}`, text);
      }
      // What is searched is what it seems to be: certificates are in the log and in the backup.
      for (const part of [".wal", "snapshot save"]) {
        const texts = [...said].filter(([where]) => where.endsWith(part));
        expect(texts.some(([, text]) => text.includes("BEGIN CERTIFICATE"))).toBeTrue();
      }
      for (const [where, text] of said) {
        expect({ where, found: findSecrets(text, searched) }).toEqual({ where, found: [] });
      }
    });
  },
);
