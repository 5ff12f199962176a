import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../../base/ids.ts";
import { createSilentLog } from "../../../base/log.ts";
import {
  clusterVersion,
  CLUSTER_VERSION_FIRST as FIRST,
  CLUSTER_VERSION_NEWEST as NEWEST,
} from "../../kv/cluster-version.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { systemTxn, txn } from "../../kv/txn.ts";
import { decodeCommand, encodeCommand, versionOfCommand } from "../codec/entry-codec.ts";
import { findMember, putMember } from "../members/member-table.ts";
import { SimCluster } from "../sim-cluster.fake.ts";
import {
  newestForAll,
  OWN_VERSIONS,
  putVersions,
  raiseTo,
  versionObstacle,
  versionsFromRecord,
  versionsOf,
} from "./node-versions.ts";
import { VersionKeeper } from "./version-keeper.ts";

const [A, B] = [decodeNodeId(1), decodeNodeId(2)];
const put = txn({ success: [{ kind: "put", key: "/k", value: new Uint8Array(0) }] });
const OLD = { program: "0.1.0", oldest: FIRST, newest: FIRST };

/** A cluster of two whose members say what they read, and whose leader raises the version. */
class VersionedCluster extends SimCluster {
  static async start(): Promise<VersionedCluster> {
    const createMachine = () => createStateMachine(kvHandlers);
    const cluster = new VersionedCluster({ seed: 1, createMachine });
    const { driver } = await cluster.add(1, "founder");
    await cluster.until(() => cluster.leader() !== undefined);
    const { clock } = cluster;
    new VersionKeeper({ driver: driver!, clock, log: createSilentLog() });
    return cluster;
  }

  /** Writes the records of `id` as its join and its start do. */
  async say(id: NodeId, versions: typeof OLD | undefined): Promise<void> {
    const member = {
      ...{ id, name: `n${id}`, address: { host: "127.0.0.1", port: 8286 }, publicIp: "" },
      ...{ underlayPrefixes: [], zone: "", joinedAtMs: 0, keyHash: "" },
    };
    const known = findMember(this.driver(A).reader, id);
    const records = known === undefined ? [putMember(member)] : [];
    const said = versions === undefined ? [] : [putVersions(id, versions)];
    const command = systemTxn({ success: [...records, ...said] });
    expect((await this.wait(this.driver(A).execute(command))).ok).toBeTrue();
  }

  get version(): number {
    return clusterVersion(this.driver(A).reader);
  }
}

describe("the cluster version", () => {
  test("rises when the last member says that it reads more", async () => {
    const cluster = await VersionedCluster.start();
    await cluster.say(B, undefined);
    await cluster.say(A, OWN_VERSIONS);
    await cluster.run(5_000);
    expect(cluster.version).toBe(FIRST);
    expect(newestForAll(cluster.driver(A).reader)).toBe(FIRST);
    await cluster.say(B, OWN_VERSIONS);
    await cluster.until(() => cluster.version === NEWEST);
    // A node that goes back to an older program takes nothing back.
    await cluster.say(B, OLD);
    await cluster.run(5_000);
    expect(cluster.version).toBe(NEWEST);
  });

  test("keeps what a member would not understand from being written", async () => {
    const cluster = await VersionedCluster.start();
    await cluster.say(B, OLD);
    const early = await cluster.wait(cluster.driver(A).execute({ ...put, needs: NEWEST }));
    expect(early).toEqual({
      ok: false,
      error: {
        kind: "upgrade_needed",
        detail: "Cannot do this yet: n2 would not understand it; update overlay there first",
      },
    });
    await cluster.say(A, OWN_VERSIONS);
    await cluster.say(B, OWN_VERSIONS);
    await cluster.until(() => cluster.version === NEWEST);
    const late = await cluster.wait(cluster.driver(A).execute({ ...put, needs: NEWEST }));
    expect(late.ok).toBeTrue();
  });

  test("stops a program that reads less, at the entry that raises it", async () => {
    const cluster = await VersionedCluster.start();
    const raise = { ...systemTxn({ success: [raiseTo(NEWEST + 1)] }), needs: NEWEST + 1 };
    void cluster.driver(A).execute(raise, { raisesVersion: true });
    await cluster.until(() => cluster.nodes.get(A)?.fatal !== undefined);
    expect(cluster.nodes.get(A)!.fatal!.message).toMatch(
      new RegExp(
        `^Cannot apply log entry [0-9]+: it is of cluster version ${NEWEST + 1}, ` +
          `and this program reads versions up to ${NEWEST}; ` +
          "install the version of overlay that the other members run$",
      ),
    );
    expect(cluster.nodes.get(A)!.machine.reader.get("/overlay/version")).toBeUndefined();
  });
});

describe("a command in the log", () => {
  const logged = { request: undefined, proposedAtMs: 5 };

  test("says which version it needs, by its first byte", () => {
    const plain = encodeCommand({ ...logged, command: put });
    expect(plain[0]).toBe(2); // What programs from before there were versions wrote.
    expect(versionOfCommand(plain)).toBe(FIRST);
    const newer = encodeCommand({ ...logged, command: { ...put, needs: NEWEST } });
    expect(versionOfCommand(newer)).toBe(NEWEST);
    expect(decodeCommand(newer)?.command.kind).toBe("txn");
  });

  test("of a newer version is not read", () => {
    const payload = encodeCommand({ ...logged, command: { ...put, needs: NEWEST + 1 } });
    expect(decodeCommand(payload)).toBeUndefined();
  });
});

describe("a node at the door", () => {
  const machine = createStateMachine(kvHandlers);
  const { reader } = machine;
  const cases = [
    { why: "reads more", versions: { ...OLD, newest: 9 }, obstacle: undefined },
    { why: "reads the same", versions: OLD, obstacle: undefined },
    {
      why: "does not read so old a cluster",
      versions: { program: "9.0.0", oldest: 7, newest: 9 },
      obstacle: "this node (overlay 9.0.0) reads cluster versions from 7",
    },
  ];
  for (const { why, versions, obstacle } of cases) {
    test(why, () => {
      const said = versionObstacle(reader, versions);
      if (obstacle === undefined) expect(said).toBeUndefined();
      else expect(said).toStartWith(obstacle);
    });
  }

  test("is too old for the cluster, and is told what to do", () => {
    const raised = createStateMachine(kvHandlers);
    const place = { index: decodeIndex(1), term: decodeTerm(1) };
    const context = { ...place, proposedAtMs: 0, request: undefined };
    raised.apply(systemTxn({ success: [raiseTo(2)] }), context);
    expect(versionObstacle(raised.reader, versionsFromRecord(undefined))).toBe(
      "this node reads cluster versions up to 1, and the cluster is of version 2 " +
        `(a member runs overlay ${OWN_VERSIONS.program}); ` +
        "install the version of overlay that the members run",
    );
  });
});

test("records of versions: what makes no sense counts as the first version", () => {
  const good = { program: "1.0.0", oldest: 1, newest: 3 };
  expect(versionsFromRecord(good)).toEqual(good);
  const first = versionsFromRecord(undefined);
  for (const bad of [
    { ...good, oldest: 0 },
    { ...good, newest: 0.5 },
    { ...good, oldest: 4 },
    { ...good, program: "a b" },
    { ...good, program: "v".repeat(65) },
    [],
    "2",
  ]) {
    expect(versionsFromRecord(bad)).toEqual(first);
  }
  expect(versionsOf({ get: () => undefined }, A)).toEqual(first);
});
