import { expect, test } from "bun:test";
import { parseAddress } from "../base/address.ts";
import { decodeNodeId } from "../base/ids.ts";
import { txn } from "../control/kv/txn.ts";
import { acquireLease, putConfig } from "../control/network/commands.ts";
import { readNetwork } from "../control/network/view.ts";
import { openTestCluster } from "./cluster.fake.ts";
import { joinRefusal } from "./join-refusal.ts";

test("join: refused with a word for each thing that would be lost", () => {
  const { apply, cluster } = openTestCluster();
  const refusal = (otherCount: number) =>
    joinRefusal({ otherCount, network: readNetwork(cluster.reader), store: cluster.reader });
  expect(refusal(0)).toBeUndefined();
  expect(refusal(1)).toContain("has 1 other member;");
  for (const key of ["/a", "/zoo"]) {
    apply(txn({ success: [{ kind: "put", key, value: new Uint8Array(1) }] }));
  }
  expect(refusal(0)).toContain("has 2 keys; give it up with --reset");
  apply(putConfig({ config: { Network: "10.0.0.0/16" } }));
  const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
  const attributes = { publicIp: parseAddress("192.0.2.1")!, publicIpv6: null, backend };
  apply(acquireLease({ node: decodeNodeId(1), attributes }));
  expect(refusal(2)).toContain("has 2 other members, a network config, 1 lease, 2 keys;");
});
