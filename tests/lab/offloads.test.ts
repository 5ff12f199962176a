/**
 * The data plane on a real kernel without its offloads, as on old kernels: slower, and right.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { openPacketPair } from "./packet-pair.ts";
import { labObstacle } from "./requirements.ts";
import { sendIntact } from "./transfer.ts";
import { waitFor } from "./wait.ts";

const TEST_TIMEOUT_MS = 60_000;
const BYTES = 3_000_000;

const SETS: readonly (readonly [string, string])[] = [
  ["Linux 5.4: no USO, and joining off", "uso,gro,udp_join"],
  ["no cutting on send", "gso"],
  ["no super-packets out of the TUN", "tso,uso"],
  ["none at all", "all"],
];

describe("without offloads", () => {
  const obstacle = labObstacle();
  for (const [name, offloadsOff] of SETS) {
    const title = obstacle === undefined ? name : `${name} [skipped: ${obstacle}]`;
    test.skipIf(obstacle !== undefined)(
      title,
      async () => {
        await using pair = await openPacketPair({ wire: "real" });
        // One side as it is: the two need not be alike.
        const [a, b] = [
          await pair.startNode(pair.a, pair.config(pair.a, { offloadsOff })),
          await pair.startNode(pair.b),
        ];
        await waitFor(
          async () => (await pair.a.namespace.ping(pair.b.overlay, { count: 1 })).received === 1,
          { describe: "an answer" },
        );
        const [from, to] = [pair.a, pair.b];
        await sendIntact(from.namespace, to.namespace, { address: to.overlay, bytes: BYTES });
        await sendIntact(to.namespace, from.namespace, { address: from.overlay, bytes: BYTES });
        const { off, drops } = await a.report();
        const wanted = offloadsOff === "all" ? 6 : offloadsOff.split(",").length;
        expect(off.length).toBe(wanted);
        for (const { reason } of off) expect(reason).toBe("switched off by --offloads-off");
        expect((await b.report()).off).toEqual([]);
        // The kernel's own multicast, for which there is no route.
        const lost = Object.entries(drops).filter(([name, count]) => {
          return count > 0 && name !== "tx_no_route";
        });
        expect(lost).toEqual([]);
      },
      TEST_TIMEOUT_MS,
    );
  }
});
