import { describe, expect, test } from "bun:test";
import { decodeNodeId } from "../../../base/ids.ts";
import { MemoryFiles } from "../real-node.fake.ts";
import { createSimRandom, SimClock } from "../sim-cluster.fake.ts";
import { IdentityStore, type JoinGrant } from "./identity.ts";
import { createRequest, signRequest } from "./pki.ts";

const clock = new SimClock();
const random = createSimRandom(3);
const founded = { name: "node-a", clock, random };

async function load(files: MemoryFiles) {
  const result = await new IdentityStore(files).load();
  if (!result.ok) throw new Error(result.error.detail);
  return result.value;
}

/** A grant for a node of its own, by a cluster of its own. */
async function createGrant(): Promise<{ grant: JoinGrant; key: string; caKey: string }> {
  const cluster = await new IdentityStore(new MemoryFiles()).create(founded);
  const nodeId = decodeNodeId(77);
  const { csr, key } = await createRequest(nodeId);
  const ca = { certificate: cluster.keys.ca, key: cluster.keys.caKey! };
  const signed = await signRequest({ csr, nodeId, ca, clock, random });
  if (!signed.ok) throw new Error(signed.error.detail);
  const { clusterId } = cluster;
  const peers = [{ id: cluster.nodeId, address: { host: "fd00::1", port: 8286 } }];
  const certificate = signed.value;
  return {
    grant: { nodeId, clusterId, generation: 4, certificate, ca: ca.certificate, peers },
    key,
    caKey: ca.key,
  };
}

describe("IdentityStore", () => {
  test("there is none at first; what is created is found again", async () => {
    const files = new MemoryFiles();
    expect(await load(files)).toBeUndefined();
    const created = await new IdentityStore(files).create(founded);
    expect(created.logState).toBe("bootstrap");
    expect(await load(files)).toEqual(created);
  });

  test("keys are for this user only", async () => {
    const files = new MemoryFiles();
    const { clusterId } = await new IdentityStore(files).create(founded);
    for (const [path, { mode }] of files.files) {
      expect({ path, mode }).toEqual({ path, mode: path.endsWith(".key") ? 0o600 : 0o644 });
    }
    expect(files.files.has(`pki/${clusterId}/ca.key`)).toBeTrue();
    expect(new TextDecoder().decode(files.files.get("node.json")?.content)).not.toContain("KEY");
  });

  test("what is remembered later is found again", async () => {
    const files = new MemoryFiles();
    const store = new IdentityStore(files);
    const { grant, key, caKey } = await createGrant();
    const founder = await store.create(founded);
    await store.adopt(grant, { name: "node-b", key });
    const { clusterId } = grant;
    const peers = [{ id: decodeNodeId(5), address: { host: "10.0.0.5", port: 1 } }];
    await store.markStarted(clusterId);
    await store.savePeers(clusterId, peers);
    await store.saveCaKeys(clusterId, caKey);
    const loaded = await load(files);
    expect(loaded?.logState).toBe("started");
    expect(loaded?.name).toBe("node-b");
    expect(loaded?.generation).toBe(4);
    expect(loaded?.peers).toEqual([
      { id: decodeNodeId(5), address: { host: "10.0.0.5", port: 1 } },
    ]);
    expect(loaded?.keys.caKey).toBe(caKey);
    // What the old cluster's part still wanted to remember is void.
    await store.savePeers(founder.clusterId, []);
    await store.saveCaKeys(founder.clusterId, "the old key");
    await store.saveCertificates(founder.clusterId, { ca: "the old CA" });
    expect(await load(files)).toEqual(loaded);
    expect(files.files.get(`pki/${grant.clusterId}/ca.key`)?.mode).toBe(0o600);
  });

  test("a crash at any point of a join leaves the old identity or the new one, whole", async () => {
    const { grant, key } = await createGrant();
    for (let writes = 0; writes <= 4; writes++) {
      const files = new MemoryFiles();
      const store = new IdentityStore(files);
      const old = await store.create(founded);
      files.put(`wal/${old.clusterId}/1.wal`, "log");
      files.writesLeft = writes;
      const adopted = await store.adopt(grant, { name: "node-a", key }).then(
        () => true,
        () => false,
      );
      expect(adopted).toBe(writes >= 4);
      files.writesLeft = Number.POSITIVE_INFINITY;
      const loaded = await load(files);
      expect(loaded?.clusterId).toBe(adopted ? grant.clusterId : old.clusterId);
      expect(loaded?.keys.key).toBe(adopted ? key : old.keys.key);
      // Whatever was not chosen is gone, and the chosen one's log is not.
      const clusters = await files.list("pki");
      expect(clusters).toEqual([adopted ? grant.clusterId : old.clusterId]);
      expect(await files.list("wal")).toEqual(adopted ? [] : [old.clusterId]);
    }
  });

  test("files that are not ours stay", async () => {
    const files = new MemoryFiles();
    await new IdentityStore(files).create(founded);
    files.put("wal/notes.txt", "mine");
    await load(files);
    expect(await files.list("wal")).toEqual(["notes.txt"]);
  });

  const damages = [
    { why: "node.json is cut off", damage: (files: MemoryFiles) => files.put("node.json", '{"v') },
    { why: "node.json is empty", damage: (files: MemoryFiles) => files.put("node.json", "") },
    {
      why: "node.json is of another version",
      damage: (files: MemoryFiles) => {
        const text = new TextDecoder().decode(files.files.get("node.json")?.content);
        files.put("node.json", text.replace('"version": 1', '"version": 9'));
      },
    },
    {
      why: "the key is gone",
      damage: (files: MemoryFiles, pki: string) => files.removeTree(`${pki}/node.key`),
    },
    {
      why: "the CA is gone",
      damage: (files: MemoryFiles, pki: string) => files.removeTree(`${pki}/ca.crt`),
    },
    {
      why: "the certificate is the CA's",
      damage: (files: MemoryFiles, pki: string) => {
        files.files.set(`${pki}/node.crt`, files.files.get(`${pki}/ca.crt`)!);
      },
    },
    {
      why: "the key is another's",
      damage: (files: MemoryFiles, pki: string) => {
        files.files.set(`${pki}/node.key`, files.files.get(`${pki}/ca.key`)!);
      },
    },
  ];
  for (const { why, damage } of damages) {
    test(`refuses to guess when ${why}`, async () => {
      const files = new MemoryFiles();
      const { clusterId } = await new IdentityStore(files).create(founded);
      await damage(files, `pki/${clusterId}`);
      const result = await new IdentityStore(files).load();
      expect(result.ok).toBeFalse();
      if (!result.ok) expect(result.error.detail).toMatch(/^Cannot use .*; restore it, or /);
    });
  }

  test("a bit that flipped anywhere in its files is found, or changes nothing", async () => {
    const files = new MemoryFiles();
    const store = new IdentityStore(files);
    const identity = await store.create(founded);
    const peer = { id: decodeNodeId(5), address: { host: "192.0.2.7", port: 8286 } };
    await store.savePeers(identity.clusterId, [peer]);
    const whole = new Map([...files.files].map(([path, { content }]) => [path, content.slice()]));
    const wanted = await load(files);
    for (const [path, content] of whole) {
      // Every byte of the small one; of the keys enough to meet every field.
      const step = path === "node.json" ? 1 : 3;
      for (let at = 0; at < content.length; at += step) {
        const harmed = content.slice();
        harmed[at]! ^= 1 << random.below(8);
        files.files.set(path, { content: harmed, mode: 0o600 });
        const result = await new IdentityStore(files).load();
        if (result.ok) {
          const { keys: _, ...found } = result.value!;
          const { keys: __, ...expected } = wanted!;
          expect(found).toEqual(expected);
          // A line end of a PEM file, or a bit that base 64 does not use.
          expect(path).not.toBe("node.json");
        } else {
          expect(result.error.detail).toMatch(/^Cannot use .*; restore it, or /);
        }
      }
      files.files.set(path, { content, mode: 0o600 });
    }
  });
});
