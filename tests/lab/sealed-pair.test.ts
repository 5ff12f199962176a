/**
 * Two sealing nodes on a real kernel: keys replaced under traffic, TCP whole, memory quiet.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { openPacketPair, type PacketNode, type PacketPair, type PairSide } from "./packet-pair.ts";
import type { PacketSealConfig } from "./packet-seal.ts";
import { labObstacle } from "./requirements.ts";
import { transferTcp } from "./transfer.ts";
import { waitFor } from "./wait.ts";

const TEST_TIMEOUT_MS = 60_000;
const TARGET = "10.89.2.0";
const obstacle = labObstacle();

function pairTest(name: string, body: (pair: PacketPair) => Promise<void>): void {
  const title = obstacle === undefined ? name : `${name} [skipped: ${obstacle}]`;
  const run = async () => {
    await using pair = await openPacketPair({ wire: "real" });
    await body(pair);
  };
  test.skipIf(obstacle !== undefined)(title, run, TEST_TIMEOUT_MS);
}

/** Takes a node over to other keys and waits until packets have gone by. */
async function rekey(
  pair: PacketPair,
  { side, node }: { readonly side: PairSide; readonly node: PacketNode },
  keys: Pick<PacketSealConfig, "own" | "sendEpoch"> & { readonly peerEpochs: readonly number[] },
): Promise<void> {
  const config = pair.sealedConfig(side);
  const { own, sendEpoch, peerEpochs } = keys;
  const peers = config.seal!.peers.map((peer) => ({ ...peer, epochs: peerEpochs }));
  const before = (await node.report()).totals["rxPackets"]!;
  node.publish({ ...config, seal: { ...config.seal!, own, sendEpoch, peers } });
  await waitFor(async () => (await node.report()).totals["rxPackets"]! > before + 20, {
    describe: "packets after the change of keys",
  });
}

pairTest("keys are replaced under a ping of 100 a second: nothing is lost", async (pair) => {
  const a = { side: pair.a, node: await pair.startNode(pair.a, pair.sealedConfig(pair.a)) };
  const b = { side: pair.b, node: await pair.startNode(pair.b, pair.sealedConfig(pair.b)) };
  const reaches = async () => (await pair.a.namespace.ping(TARGET, { count: 1 })).received === 1;
  await waitFor(reaches, { describe: "a sealed ping" });
  const ping = pair.a.namespace.startPing(TARGET, { intervalSeconds: 0.01 });
  for (let epoch = 1; epoch < 4; epoch++) {
    const next = epoch + 1;
    // As the keyring does it: the new key opens, is known, is used; then the old one is forgotten.
    await rekey(pair, a, { own: [next, epoch], sendEpoch: epoch, peerEpochs: [1] });
    await rekey(pair, b, { own: [1], sendEpoch: 1, peerEpochs: [next, epoch] });
    await rekey(pair, a, { own: [next, epoch], sendEpoch: next, peerEpochs: [1] });
    await rekey(pair, a, { own: [next], sendEpoch: next, peerEpochs: [1] });
    await rekey(pair, b, { own: [1], sendEpoch: 1, peerEpochs: [next] });
  }
  const { lost, received } = await ping.stop();
  expect([lost, received > 300]).toEqual([[], true]);
  for (const { node } of [a, b]) {
    const { drops } = await node.report();
    const sealed = Object.entries(drops).filter(([name, n]) => n > 0 && name.includes("seal"));
    expect(sealed).toEqual([]);
  }
});

pairTest("TCP crosses sealed without retransmissions, and nothing is dropped", async (pair) => {
  const nodes: PacketNode[] = [];
  for (const side of [pair.a, pair.b]) {
    nodes.push(await pair.startNode(side, pair.sealedConfig(side)));
  }
  const { namespace } = pair.a;
  const report = await transferTcp(namespace, pair.b.namespace, { address: TARGET, seconds: 2 });
  expect(report.receivedBytes).toBeGreaterThan(10_000_000);
  for (const node of nodes) {
    const { drops, off } = await node.report();
    const bad = Object.entries(drops).filter(([name, n]) => n > 0 && name !== "tx_no_route");
    expect([bad, off]).toEqual([[], []]);
  }
});
