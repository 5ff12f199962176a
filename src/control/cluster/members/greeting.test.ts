import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { systemTxn } from "../../kv/txn.ts";
import { RealNode, until } from "../real-node.fake.ts";

// Elections take seconds of real time on a loaded machine.
setDefaultTimeout(40_000);

const nodes: RealNode[] = [];
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.cluster.close()));
});

/** Three voters, their lives recorded. */
async function startThree(): Promise<[leader: RealNode, ...others: RealNode[]]> {
  const first = await RealNode.start("n1");
  nodes.push(first);
  for (const name of ["n2", "n3"]) {
    const node = await RealNode.start(name);
    nodes.push(node);
    await node.join(first);
  }
  await until(() => nodes.every((node) => node.cluster.status().voterCount === 3));
  await until(() => nodes.every((node) => isInLife(node, 1)));
  const leader = nodes.find((node) => node.cluster.status().role === "leader")!;
  return [leader, ...nodes.filter((node) => node !== leader)];
}

/** Whether the cluster has recorded life `number` of `node`, and `node` has noted that. */
function isInLife(node: RealNode, number: number): boolean {
  const kept = node.files.files.get(`pki/${node.identity.clusterId}/life.json`);
  const text = new TextDecoder().decode(kept?.content);
  return text.includes(`"life":"${number}-`) && text.includes('"isRecorded":true');
}

async function open(node: RealNode, port = 0): Promise<void> {
  await node.open(port);
  nodes.push(node);
}

async function close(node: RealNode): Promise<void> {
  nodes.splice(nodes.indexOf(node), 1);
  await node.cluster.close();
}

async function put(node: RealNode, key: string): Promise<boolean> {
  const value = new TextEncoder().encode(key);
  const command = systemTxn({ success: [{ kind: "put", key, value }] });
  return (await node.cluster.execute(command, { timeoutMs: 10_000 })).ok;
}

describe("a node id", () => {
  test("goes on through starts and moves, each of them a life", async () => {
    const [, node] = await startThree();
    await node!.restart(0);
    await until(() => isInLife(node!, 2));
    await node!.restart();
    await until(() => isInLife(node!, 3));
    expect(node!.cluster.status().refusal).toBeUndefined();
    expect(await put(node!, "/x")).toBeTrue();
  });

  test("on a disk from before its last start: refused, with the reason", async () => {
    const [leader, node] = await startThree();
    const backup = await node!.copy("backup");
    await node!.restart();
    await until(() => isInLife(node!, 2));
    await node!.restart();
    await until(() => isInLife(node!, 3));
    await close(node!);
    // The next leader never heard how far its log went.
    await leader.restart();
    await until(() => nodes.some(({ cluster }) => cluster.status().role === "leader"));
    await open(backup, node!.cluster.port);
    await until(() => backup.cluster.status().refusal !== undefined);
    expect(backup.cluster.status().refusal).toContain("knows a later start of this node");
    expect(backup.cluster.status().refusal).toContain("--reset");
    expect(await put(backup, "/lost")).toBeFalse();
    expect(await put(leader, "/kept")).toBeTrue();
    expect(leader.cluster.status().term).toBe(backup.cluster.status().term);
  });

  test("on a disk that went back within one life: it forgot what the leader counts on", async () => {
    const [leader, node] = await startThree();
    const backup = await node!.copy("backup");
    for (let number = 0; number < 5; number++) await put(leader, `/${number}`);
    await until(() => node!.cluster.status().commit === leader.cluster.status().commit);
    await close(node!);
    await open(backup, node!.cluster.port);
    await until(() => backup.cluster.status().refusal !== undefined);
    expect(backup.cluster.status().refusal).toContain("the disk of this node is an old copy");
    expect(backup.fatal).toBeUndefined();
    expect(await put(leader, "/kept")).toBeTrue();
  });

  test("in two processes at once: one of them goes on, and everybody is told", async () => {
    const [leader, node] = await startThree();
    await node!.restart();
    await until(() => isInLife(node!, 2));
    const copy = await node!.copy("copy");
    await open(copy);
    const isTold = ({ cluster }: RealNode) =>
      cluster.status().refusal !== undefined || cluster.status().warnings.length > 0;
    await until(() => isTold(copy) && (isTold(node!) || isTold(leader)));
    const [warning] = leader.cluster.status().warnings;
    if (warning !== undefined) expect(warning).toContain(`as node ${node!.name}`);
    expect(await put(leader, "/kept")).toBeTrue();
  });
});

describe("moved nodes", () => {
  test("two of three at the same time find each other again", async () => {
    const [leader, second, third] = await startThree();
    // The one that stays does not lead any more: the others have to come to it.
    await Promise.all([close(second!), close(third!)]);
    for (const node of [second!, third!]) {
      node.disk = node.disk.crash();
      await node.reload();
    }
    await Promise.all([open(second!), open(third!)]);
    await until(() => nodes.every((node) => node.cluster.status().leader !== undefined), 20_000);
    const ports = () =>
      nodes.map((node) =>
        node.cluster
          .members()
          .map((member) => member.address.port)
          .sort(),
      );
    const wanted = nodes.map((node) => node.cluster.port).sort();
    await until(() => ports().every((each) => each.join() === wanted.join()), 20_000);
    expect(await put(leader, "/moved")).toBeTrue();
  });
});
