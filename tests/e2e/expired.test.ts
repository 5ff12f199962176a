/**
 * A node that was off for longer than its certificate lives, from outside: it says what to do, and
 * the token that it asks for brings it back as the node that it was.
 *
 * @module
 */
import { expect } from "bun:test";
import { rmSync } from "node:fs";
import { NODE_LIFE_MS } from "../../src/control/cluster/trust/pki.ts";
import { WallClock } from "../history/wall-clock.ts";
import { join, mustPutConfig, NETWORK_CONFIG, statusOf, waitSettled } from "../lab/cluster.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";
import { keyFilesOf } from "../support/secrets.ts";

const OVER_SECONDS = (1.1 * NODE_LIFE_MS) / 1000;
const OPTIONS = { hosts: 2, programs: { cc: "gcc" } } as const;

labTest("off for too long: it says what to do, and joins as who it was", OPTIONS, async (lab) => {
  const [peer, gone] = [lab.host(0), lab.host(1)];
  const clock = await WallClock.build(lab.folder);
  const settings = new Map(lab.hosts.map((host) => [host, { env: clock.env(host.name) }]));
  const start = () =>
    Promise.all(lab.hosts.map((host) => host.startHealthyAgent(settings.get(host))));
  await start();
  await join(gone, peer);
  await mustPutConfig(peer, NETWORK_CONFIG);
  await waitSettled(lab.hosts);
  const { subnet } = await gone.waitLease();
  const before = await statusOf(gone);

  // Months go by. A spare has no key of the CA, with which it could renew its certificate itself.
  for (const host of lab.hosts) await host.agent.terminate();
  for (const path of keyFilesOf(gone.dataDir)) if (path.endsWith("/ca.key")) rmSync(path);
  for (const host of lab.hosts) clock.set(host.name, OVER_SECONDS);
  await start();
  const warning = await waitFor(
    async () => (await statusOf(gone)).warnings.find((each) => each.includes("certificate")),
    { describe: "a word about the certificate" },
  );
  expect(warning).toContain("overlay join <peer> --token <token>");
  expect((await gone.api("/readyz")).status).toBe(503);
  await peer.mustCli(["kv", "put", "/meanwhile", "written"]);

  await join(gone, peer);
  await waitSettled(lab.hosts);
  await waitFor(async () => (await gone.api("/readyz")).status === 200, {
    describe: "the node to be back",
  });
  const after = await statusOf(gone);
  expect(after.node.id).toBe(before.node.id);
  expect(after.cluster.id).toBe(before.cluster.id);
  expect(after.cluster.members).toBe(2);
  expect(after.warnings.filter((each) => each.includes("certificate"))).toEqual([]);
  expect((await gone.waitLease()).subnet).toBe(subnet);
  expect(await gone.mustCli(["kv", "get", "/meanwhile"])).toContain("written");
});
