/**
 * Our own data plane: as it is by default, in user mode alone, and sealed.
 *
 * Each is a packet node, an agent's packet engine with a fixed table and no store beside it, run
 * from the source tree: what is changed is measured without a build.
 *
 * @module
 */
import type { PacketNodeConfig } from "../../../tests/lab/packet-node.ts";
import type { PacketPair, PairSide } from "../../../tests/lab/packet-pair.ts";
import type { Contender, RunningContender } from "./contender.ts";

/** With lone packets in the kernel, as an agent does it unless told otherwise. */
export const OURS_DEFAULT: Contender = {
  key: "default",
  name: "overlay",
  kind: "ours",
  start: async (pair, wrap) =>
    await startNodes(pair, wrap, (side) => pair.config(side, { engine: "auto" }), true),
};

/** As of `--engine user`. */
export const OURS_USER: Contender = {
  key: "user",
  name: "overlay, user mode",
  kind: "ours",
  start: async (pair, wrap) => await startNodes(pair, wrap, (side) => pair.config(side)),
};

/** As of `Backend.Encryption: "aes-256-gcm"`. */
export const OURS_SEALED: Contender = {
  key: "sealed",
  name: "overlay, sealed",
  kind: "ours",
  start: async (pair, wrap) => await startNodes(pair, wrap, (side) => pair.sealedConfig(side)),
};

async function startNodes(
  pair: PacketPair,
  wrap: readonly string[] | undefined,
  configOf: (side: PairSide) => PacketNodeConfig,
  needsFastPath = false,
): Promise<RunningContender> {
  const nodes = await Promise.all(
    [pair.a, pair.b].map(async (side) => await pair.startNode(side, configOf(side), wrap)),
  );
  if (needsFastPath) {
    const { fastPath } = await nodes[0]!.report();
    if (fastPath !== "on") console.log(`The kernel carries no packets here: ${fastPath}`);
  }
  const [a, b] = [configOf(pair.a), configOf(pair.b)];
  const networkOf = ({ local }: PacketNodeConfig) => local.replace(/\.\d+\/24$/, "");
  return {
    target: b.local.split("/")[0]!,
    processes: nodes.map((node) => node.process),
    containers: { networks: [networkOf(a), networkOf(b)], mtu: b.overlayMtu },
  };
}
