/**
 * Certificates and CAs over the life of a cluster: real TLS on loopback, a clock that jumps.
 */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { findSecrets, keySecrets } from "../../../../tests/support/secrets.ts";
import { createLog } from "../../../base/log.ts";
import type { Clock } from "../../../host/ports.ts";
import { RealNode, realClock, until } from "../real-node.fake.ts";
import { parseBundle, parseCertificate } from "./certificate.ts";
import { NODE_LIFE_MS } from "./pki.ts";
import { parseToken } from "./token.ts";

setDefaultTimeout(30_000);

const DAY_MS = 86_400_000;
/** Tasks that come so seldom run when the time jumps, and not before. */
const SELDOM_MS = 30_000;

/** Goes on as the real one does, but for jumps of the wall time, which wake who looks seldom. */
class JumpingClock implements Clock {
  #aheadMs = 0;
  readonly #seldom = new Set<() => void>();

  nowMs(): number {
    return realClock.nowMs();
  }

  wallMs(): number {
    return realClock.wallMs() + this.#aheadMs;
  }

  after(delayMs: number, task: () => void): () => void {
    return realClock.after(delayMs, task);
  }

  every(intervalMs: number, task: () => void): () => void {
    if (intervalMs < SELDOM_MS) return realClock.every(intervalMs, task);
    this.#seldom.add(task);
    return () => this.#seldom.delete(task);
  }

  jump(ms: number): void {
    this.#aheadMs += ms;
    for (const task of this.#seldom) task();
  }
}

const running: RealNode[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((node) => node.cluster.close()));
});

/** A cluster of `count` members that are in its Raft membership. */
async function startMany(count: number) {
  const clock = new JumpingClock();
  const nodes: RealNode[] = [];
  for (let i = 0; i < count; i++) {
    const node = await RealNode.start(`node-${i}`, undefined, clock);
    running.push(node);
    nodes.push(node);
    if (i === 0) await until(() => node.cluster.members().length === 1);
    else await node.join(nodes[0]!);
    await until(() => nodes.every((each) => rolesOf(each).length === i + 1));
  }
  // Before anything else: each has said which certificate it shows.
  await until(() => nodes.every((node) => node.cluster.trust().waiting.length === 0));
  return { nodes, clock };
}

function rolesOf(node: RealNode): readonly string[] {
  return node.cluster
    .members()
    .map(({ role }) => role)
    .filter((role) => role !== "spare");
}

function leaderOf(nodes: readonly RealNode[]): RealNode {
  return nodes.find((node) => node.cluster.status().role === "leader")!;
}

function fileOf(node: RealNode, name: string): string {
  const path = `pki/${node.identity.clusterId}/${name}`;
  return new TextDecoder().decode(node.files.files.get(path)?.content);
}

function losses(node: RealNode): number {
  const { refused_foreign, refused_expired, refused_roles } = node.cluster.counters();
  return refused_foreign! + refused_expired! + refused_roles!;
}

/** A write that every node sees: connections work in all directions that matter. */
async function expectAlive(nodes: readonly RealNode[]): Promise<void> {
  for (const node of nodes) expect((await node.cluster.readBarrier(5_000)).ok).toBeTrue();
}

describe("renewal", () => {
  test("comes by itself between 50 and 80 % of a certificate's life, and drops nothing", async () => {
    const { nodes, clock } = await startMany(3);
    const before = nodes.map((node) => fileOf(node, "node.crt"));
    clock.jump(0.49 * NODE_LIFE_MS);
    await expectAlive(nodes);
    expect(nodes.map((node) => fileOf(node, "node.crt"))).toEqual(before);
    clock.jump(0.32 * NODE_LIFE_MS);
    await until(() => nodes.every((node, i) => fileOf(node, "node.crt") !== before[i]));
    const keys = nodes.map((node) => fileOf(node, "node.key"));
    expect(keys).toEqual(nodes.map((node) => node.identity.keys.key));
    // The first ones would be over by now: whoever connects anew shows the second.
    clock.jump(0.3 * NODE_LIFE_MS);
    await nodes[2]!.restart();
    await until(() => nodes[2]!.cluster.status().leader !== undefined);
    await expectAlive(nodes);
    expect(nodes.map(losses)).toEqual([0, 0, 0]);
  });

  test("a node that was off for too long is told what to do, and comes back by a token as it was", async () => {
    const { nodes, clock } = await startMany(3);
    const away = nodes.find((node) => node !== leaderOf(nodes))!;
    const others = nodes.filter((node) => node !== away);
    const port = away.cluster.port;
    await away.cluster.close();
    // In two jumps, so that the others renew on the way.
    for (let i = 0; i < 2; i++) {
      const serials = others.map((node) => fileOf(node, "node.crt"));
      clock.jump(0.81 * NODE_LIFE_MS);
      await until(() => others.every((node, k) => fileOf(node, "node.crt") !== serials[k]));
    }
    // With the CA's key it would renew its certificate by itself.
    away.files.files.delete(`pki/${away.identity.clusterId}/ca.key`);
    await away.restart(port);
    expect(away.cluster.trust().isOver).toBeTrue();
    await until(() => others.some((node) => node.cluster.counters()["refused_expired"]! > 0));
    const token = await leaderOf(others).createToken();
    const asked = { only: away.identity.clusterId };
    const joined = await away.request(token, others[0]!.cluster.port, asked);
    if (!joined.ok) throw new Error(joined.error.detail);
    await away.cluster.readmit(joined.value.grant);
    expect(away.cluster.trust().isOver).toBeFalse();
    await expectAlive(nodes);
    expect(away.cluster.status().memberRole).not.toBe("spare");
  });

  test("a cluster that a node is no member of does not take it for another's sake", async () => {
    const { nodes } = await startMany(1);
    const stranger = await RealNode.start("stranger");
    running.push(stranger);
    const token = await nodes[0]!.createToken();
    const asked = { only: stranger.identity.clusterId };
    const result = await stranger.request(token, nodes[0]!.cluster.port, asked);
    expect(!result.ok && result.error.kind).toBe("already_member");
    expect(nodes[0]!.cluster.members().length).toBe(1);
  });
});

describe("a new CA", () => {
  test("takes the place of the old one while everything goes on", async () => {
    const { nodes } = await startMany(3);
    const oldToken = await nodes[0]!.createToken();
    const oldPin = nodes[0]!.cluster.trust().authorities[0]!.pin;
    const far = nodes.find((node) => node !== leaderOf(nodes))!;
    const began = await far.cluster.rotateCa(DAY_MS);
    expect(began).toEqual({ ok: true, value: undefined });
    await until(() => nodes.every((node) => parseBundle(fileOf(node, "ca.crt"))!.length === 1));
    const pins = new Set(nodes.map((node) => node.cluster.trust().authorities[0]!.pin));
    expect(pins.size).toBe(1);
    expect(pins.has(oldPin)).toBeFalse();
    for (const node of nodes) {
      const [ca] = parseBundle(fileOf(node, "ca.crt"))!;
      expect(parseCertificate(fileOf(node, "node.crt"))!.checkIssued(ca!)).toBeTrue();
    }
    await until(() => nodes.every((node) => fileOf(node, "ca.key").includes("PRIVATE KEY")));
    const keys = new Set(nodes.map((node) => fileOf(node, "ca.key")));
    expect(keys.size).toBe(1);
    for (const { files } of nodes) {
      for (const [path, { mode }] of files.files)
        if (path.endsWith(".key")) expect(mode).toBe(0o600);
    }
    expect(nodes.map(losses)).toEqual([0, 0, 0]);
    // After a restart too, and for those who come with a new token; an old one is of no use.
    await nodes[1]!.restart();
    await expectAlive(nodes);
    const newToken = await nodes[1]!.createToken();
    const parsed = parseToken(newToken);
    expect(parsed.ok && pins.has(parsed.value.pin)).toBeTrue();
    const late = await RealNode.start("late");
    running.push(late);
    const refused = await late.request(oldToken, nodes[0]!.cluster.port);
    expect(!refused.ok && refused.error.kind).toBe("pin_mismatch");
    await late.join(nodes[0]!, newToken);
    await until(() => late.cluster.members().length === 4);
  });

  test("waits for a node that is off, lets it and old tokens in meanwhile, and then drops the old one", async () => {
    const { nodes } = await startMany(3);
    const oldToken = await nodes[0]!.createToken();
    const away = nodes.find((node) => node !== leaderOf(nodes))!;
    const others = nodes.filter((node) => node !== away);
    const port = away.cluster.port;
    await away.cluster.close();
    expect((await others[0]!.cluster.rotateCa(DAY_MS)).ok).toBeTrue();
    const awayId = away.identity.nodeId;
    const isWaitedFor = (node: RealNode) => {
      const { authorities, waiting } = node.cluster.trust();
      return authorities.length === 2 && waiting.length === 1 && waiting[0] === awayId;
    };
    await until(() => others.every(isWaitedFor));
    const again = await others[0]!.cluster.rotateCa(DAY_MS);
    expect(!again.ok && again.error.kind).toBe("rotation_refused");
    // The token knows the old CA only; so does the node that comes back.
    const late = await RealNode.start("late");
    running.push(late);
    await late.join(others[0]!, oldToken);
    await away.restart(port);
    const all = [...nodes, late];
    await until(() => all.every((node) => node.cluster.trust().authorities.length === 1), 20_000);
    await expectAlive(all);
    expect(all.map(losses)).toEqual([0, 0, 0, 0]);
  });

  test("drops the old one at its time, whoever is missing; that node has to join again", async () => {
    const { nodes, clock } = await startMany(3);
    const away = nodes.find((node) => node !== leaderOf(nodes))!;
    const others = nodes.filter((node) => node !== away);
    const port = away.cluster.port;
    await away.cluster.close();
    expect((await others[0]!.cluster.rotateCa(DAY_MS)).ok).toBeTrue();
    await until(() => others.every((node) => node.cluster.trust().waiting.length === 1));
    clock.jump(DAY_MS - 60_000);
    await expectAlive(others);
    expect(others[0]!.cluster.trust().authorities.length).toBe(2);
    clock.jump(120_000);
    await until(() => {
      clock.jump(0);
      return others.every((node) => node.cluster.trust().authorities.length === 1);
    });
    await away.restart(port);
    await until(() => away.cluster.trust().isOver);
    const joined = await away.request(await others[0]!.createToken(), others[0]!.cluster.port, {
      only: away.identity.clusterId,
    });
    if (!joined.ok) throw new Error(joined.error.detail);
    await away.cluster.readmit(joined.value.grant);
    await expectAlive(nodes);
    // Its store was older than its certificate, and is not any more.
    await away.restart(port);
    await expectAlive(nodes);
    const pins = nodes.map((node) => node.cluster.trust().authorities.map(({ pin }) => pin));
    expect(new Set(pins.flat()).size).toBe(1);
  });

  test("is known to the node that asked for it when that is answered", async () => {
    const { nodes } = await startMany(2);
    const leader = leaderOf(nodes)!;
    const asker = nodes.find((node) => node !== leader)!;
    for (const node of [asker, leader]) {
      const signing = () => node.cluster.trust().authorities[0]!.pin;
      const before = signing();
      expect(await node.cluster.rotateCa(DAY_MS)).toEqual({ ok: true, value: undefined });
      expect(signing()).not.toBe(before);
      await until(() => nodes.every(({ cluster }) => cluster.trust().authorities.length === 1));
      await until(() => nodes.every((each) => fileOf(each, "ca.key").includes("PRIVATE KEY")));
    }
  });

  test("can be made again, also by a node alone", async () => {
    const { nodes } = await startMany(1);
    const [node] = nodes as [RealNode];
    const pins = [node.cluster.trust().authorities[0]!.pin];
    for (let i = 0; i < 2; i++) {
      expect((await node.cluster.rotateCa(DAY_MS)).ok).toBeTrue();
      await until(() => {
        const { authorities } = node.cluster.trust();
        return authorities.length === 1 && !pins.includes(authorities[0]!.pin);
      });
      pins.push(node.cluster.trust().authorities[0]!.pin);
    }
    await node.restart();
    expect(node.cluster.trust().authorities.map(({ pin }) => pin)).toEqual([pins[2]!]);
  });
});

describe("private keys", () => {
  test("are in no log line, no record, no entry of the log, no status and no counter", async () => {
    const lines: string[] = [];
    const write = (line: string) => void lines.push(line);
    const log = createLog({ level: "debug", format: "json", write, wallMs: () => Date.now() });
    const a = await RealNode.start("a", log);
    const b = await RealNode.start("b", log);
    await until(() => a.cluster.members().length === 1);
    await b.join(a);
    await until(() => fileOf(b, "ca.key").includes("PRIVATE KEY"));
    const secrets = [a, b].flatMap((node) => secretsOf(node));
    const { pin } = a.cluster.trust().authorities[0]!;
    await until(() => b.cluster.status().leader !== undefined);
    expect(await b.cluster.rotateCa(DAY_MS)).toEqual({ ok: true, value: undefined });
    const isChanged = ({ cluster }: RealNode) => {
      const { authorities } = cluster.trust();
      return authorities.length === 1 && authorities[0]!.pin !== pin;
    };
    await until(() => [a, b].every(isChanged));
    await until(() => [a, b].every((node) => fileOf(node, "ca.key").includes("PRIVATE KEY")));
    for (const node of [a, b]) secrets.push(...secretsOf(node));
    expect(new Set(secrets).size).toBeGreaterThan(8);
    const said = [lines.join("\n")];
    for (const { cluster, disk } of [a, b]) {
      said.push(JSON.stringify([cluster.status(), cluster.members(), cluster.counters()]));
      said.push(JSON.stringify([cluster.trust(), cluster.tokens()]));
      for (const { key, value } of cluster.reader.list("")) said.push(key, textOf(value));
      await cluster.close();
      const kept = disk.crash().recovered;
      for (const { payload } of kept.entries) said.push(textOf(payload));
    }
    const all = said.join("\n");
    expect(all).toContain("BEGIN CERTIFICATE"); // So much for what is looked through.
    expect(findSecrets(all, secrets)).toEqual([]);
  });
});

/** The keys of `node` in the forms in which they could get out. */
function secretsOf(node: RealNode): readonly string[] {
  return ["node.key", "ca.key"].flatMap((name) => keySecrets(fileOf(node, name)));
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

describe("revocation", () => {
  test("a removed member is shut out by every node within a second, and stays so", async () => {
    const { nodes } = await startMany(4);
    const gone = nodes.find((node) => node !== leaderOf(nodes))!;
    const others = nodes.filter((node) => node !== gone);
    const id = gone.identity.nodeId;
    expect((await others[0]!.cluster.orderMember("remove", id)).ok).toBeTrue();
    await until(() => gone.cluster.status().removed, 1_000);
    await until(
      () => others.every((node) => !node.cluster.members().some((m) => m.id === id)),
      1_000,
    );
    // From its disk, as it was; and the others from theirs.
    const refusals = () => others.map((node) => node.cluster.counters()["refused_removed"]!);
    for (const node of others) await node.restart();
    await gone.restart();
    await until(() => refusals().some((count) => count > 0));
    expect((await gone.cluster.readBarrier(300)).ok).toBeFalse();
    expect(
      (await gone.request(await others[0]!.createToken(), others[0]!.cluster.port)).ok,
    ).toBeFalse();
  });
});
