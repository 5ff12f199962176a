import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { systemTxn } from "../kv/txn.ts";
import { RealNode, until } from "./real-node.fake.ts";

// Elections take seconds of real time on a loaded machine.
setDefaultTimeout(30_000);

const nodes: RealNode[] = [];
afterEach(async () => {
  // All at once: the last one left needs no majority to stop.
  await Promise.all(nodes.splice(0).map((node) => node.cluster.close()));
});

async function start(name: string): Promise<RealNode> {
  const node = await RealNode.start(name);
  nodes.push(node);
  return node;
}

/** `count` nodes in one cluster, roles settled. */
async function startMany(count: number): Promise<RealNode[]> {
  const first = await start("n1");
  const all = [first];
  for (let number = 2; number <= count; number++) {
    const node = await start(`n${number}`);
    await node.join(all.at(-1)!);
    all.push(node);
  }
  const voterCount = count >= 3 ? 3 : 1;
  await until(() =>
    all.every((node) => {
      const roles = node.cluster.members().map((member) => member.role);
      const isVoter = (role: string) => role === "voter";
      // A node that was just let in is a spare for a moment: it could not take over anything yet.
      return (
        roles.length === count &&
        roles.filter(isVoter).length === voterCount &&
        !roles.includes("spare")
      );
    }),
  );
  return all;
}

function put(key: string, value: string) {
  const bytes = new TextEncoder().encode(value);
  return systemTxn({ success: [{ kind: "put", key, value: bytes }] });
}

function textAt(node: RealNode, key: string): string | undefined {
  const pair = node.cluster.reader.get(key);
  return pair === undefined ? undefined : new TextDecoder().decode(pair.value);
}

function leaderOf(all: readonly RealNode[]): RealNode | undefined {
  return all.find((node) => node.cluster.status().role === "leader");
}

describe("a cluster over TLS", () => {
  test("of one writes its own record", async () => {
    const node = await start("alone");
    await until(() => node.cluster.members().length === 1);
    const [member] = node.cluster.members();
    expect(member).toMatchObject({
      name: "alone",
      role: "voter",
      leader: true,
      self: true,
      live: true,
      address: { host: "127.0.0.1", port: node.cluster.port },
      publicIp: "192.0.2.1",
    });
    expect(node.cluster.status()).toMatchObject({ hasQuorum: true, voterCount: 1, removed: false });
  });

  test("of two is one voter and one standby; both can write", async () => {
    const all = await startMany(2);
    const [a, b] = all as [RealNode, RealNode];
    expect(
      a.cluster
        .members()
        .map((member) => member.role)
        .sort(),
    ).toEqual(["standby", "voter"]);
    expect((await b.cluster.execute(put("/b", "1"))).ok).toBeTrue();
    expect(textAt(b, "/b")).toBe("1");
    expect((await a.cluster.readBarrier()).ok).toBeTrue();
    expect(textAt(a, "/b")).toBe("1");
  });

  test("of three survives any one of them, which comes back", async () => {
    const all = await startMany(3);
    for (const stopped of all) {
      const port = stopped.cluster.port;
      await stopped.cluster.close();
      const others = all.filter((node) => node !== stopped);
      const result = await others[0]!.cluster.execute(put("/k", stopped.name));
      expect(result.ok).toBeTrue();
      stopped.disk = stopped.disk.crash();
      const loaded = await stopped.store.load();
      stopped.identity = loaded.ok ? loaded.value! : stopped.identity;
      await stopped.open(port);
      await until(() => textAt(stopped, "/k") === stopped.name);
    }
  });

  test("all stopped and started again: the same state", async () => {
    const all = await startMany(3);
    await all[0]!.cluster.execute(put("/k", "kept"));
    const ports = all.map((node) => node.cluster.port);
    await Promise.all(all.map((node) => node.cluster.close()));
    for (const [position, node] of all.entries()) {
      node.disk = node.disk.crash();
      const loaded = await node.store.load();
      node.identity = loaded.ok ? loaded.value! : node.identity;
      await node.open(ports[position]);
    }
    expect((await all[2]!.cluster.readBarrier(10_000)).ok).toBeTrue();
    expect(textAt(all[2]!, "/k")).toBe("kept");
  });

  test("every member gets the CA's key, and it is nowhere in the store", async () => {
    const all = await startMany(3);
    await until(() => all.every((node) => node.files.files.has(caKeyPath(node))));
    const keys = all.map((node) => node.files.files.get(caKeyPath(node))!);
    expect(new Set(keys.map((file) => Buffer.from(file.content).toString())).size).toBe(1);
    expect(keys.every((file) => file.mode === 0o600)).toBeTrue();
    for (const pair of all[0]!.cluster.reader.list("")) {
      expect(Buffer.from(pair.value).toString("latin1")).not.toContain("PRIVATE");
    }
  });

  test("closing the leader hands over first: no election timeout", async () => {
    const all = await startMany(3);
    const old = leaderOf(all)!;
    const others = all.filter((node) => node !== old);
    await old.cluster.close();
    await until(() => leaderOf(others) !== undefined, 500);
    nodes.splice(nodes.indexOf(old), 1);
  });

  test("a member that leaves is out, knows it, and the others go on", async () => {
    const all = await startMany(3);
    for (const leaver of [leaderOf(all)!, all.find((node) => node !== leaderOf(all))!]) {
      if (leaver.cluster.members().length < 3) break;
      const others = all.filter((node) => node !== leaver);
      expect(await leaver.cluster.leave()).toEqual({ ok: true, value: undefined });
      await until(() => others.every((node) => node.cluster.members().length === 2));
      await until(() => {
        const roles = others[0]!.cluster.members().map((member) => member.role);
        return roles.sort().join() === "standby,voter";
      });
      expect((await others[1]!.cluster.execute(put("/after", "1"))).ok).toBeTrue();
      // Its id is used up.
      const again = await leaver.request(await others[0]!.createToken(), others[0]!.cluster.port);
      expect(again.ok ? undefined : again.error.kind).toBe("already_member");
      expect(again.ok ? "" : again.error.detail).toContain("was a member before");
    }
  });

  test("the last member cannot leave, the voter of two can", async () => {
    const [a, b] = (await startMany(2)) as [RealNode, RealNode];
    const voter = leaderOf([a, b])!;
    const other = voter === a ? b : a;
    expect((await voter.cluster.leave()).ok).toBeTrue();
    await until(() => other.cluster.status().role === "leader");
    await until(() => other.cluster.status().voterCount === 1);
    const last = await other.cluster.leave();
    expect(last.ok ? undefined : last.error.kind).toBe("last_member");
  });

  test("a member that was removed is told so", async () => {
    const all = await startMany(3);
    const leader = leaderOf(all)!;
    const victim = all.find((node) => node !== leader)!;
    const removed = await leader.cluster.orderMember("remove", victim.identity.nodeId);
    expect(removed.ok && removed.value.name).toBe(victim.name);
    await until(() => victim.cluster.status().removed);
    const again = await leader.cluster.orderMember("remove", victim.identity.nodeId);
    expect(again.ok ? undefined : again.error.kind).toBe("not_found");
    const self = await leader.cluster.orderMember("remove", leader.identity.nodeId);
    expect(self.ok ? undefined : self.error.kind).toBe("member_refused");
  });

  test("a changed address is found again", async () => {
    const all = await startMany(3);
    const moved = all.find((node) => node !== leaderOf(all))!;
    const oldPort = moved.cluster.port;
    await moved.cluster.close();
    moved.disk = moved.disk.crash();
    const loaded = await moved.store.load();
    moved.identity = loaded.ok ? loaded.value! : moved.identity;
    await moved.open(0);
    // As the agent does when it sees another address of its own.
    expect(moved.cluster.port).not.toBe(oldPort);
    const others = all.filter((node) => node !== moved);
    await until(() =>
      others.every((node) =>
        node.cluster.members().some((member) => member.address.port === moved.cluster.port),
      ),
    );
  });

  test("updateSelf is seen by all, and writes nothing when nothing differs", async () => {
    const [a, b] = (await startMany(2)) as [RealNode, RealNode];
    expect((await b.cluster.updateSelf({ publicIp: "198.51.100.7" })).ok).toBeTrue();
    await until(() => a.cluster.members().some((member) => member.publicIp === "198.51.100.7"));
    await a.cluster.readBarrier();
    const { revision } = a.cluster.status();
    expect((await b.cluster.updateSelf({ publicIp: "198.51.100.7" })).ok).toBeTrue();
    await a.cluster.readBarrier();
    expect(a.cluster.status().revision).toBe(revision);
  });
});

function caKeyPath(node: RealNode): string {
  return `pki/${node.identity.clusterId}/ca.key`;
}
