/**
 * The extension backend of whole agents, with real programs that make plain routes.
 *
 * @module
 */
import { expect } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  addContainers,
  join as joinCluster,
  mustPutConfig,
  putConfig,
  statusOf,
  waitReaches,
  waitSettled,
} from "../lab/cluster.ts";
import type { Container, Host } from "../lab/host.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";

const TWO = { hosts: 2, timeoutMs: 90_000 } as const;
const NETWORK = { Network: "10.0.0.0/16" };
const CONFIG = {
  ...NETWORK,
  Backend: {
    Type: "extension",
    PreStartupCommand: ["tool", "pre"],
    PostStartupCommand: ["tool", "post"],
    SubnetAddCommand: ["tool", "add"],
    SubnetRemoveCommand: ["tool", "remove"],
    ShutdownCommand: ["tool", "shutdown"],
  },
};
/** Says what it finds to a file beside it; routes by peers' own addresses. */
const TOOL = `#!/bin/sh
case "$1" in
  pre) echo "a key" ;;
  post) echo "post $NETWORK $SUBNET $PUBLIC_IP" >> "$0.log" ;;
  shutdown) echo "shutdown $SUBNET" >> "$0.log" ;;
  *)
    [ -e "$0.broken" ] && { echo "no such thing as a peer" >&2; exit 3; }
    echo "$1 $SUBNET $PUBLIC_IP $(cat)" >> "$0.log"
    if [ "$1" = add ]; then exec ip route replace "$SUBNET" via "$PUBLIC_IP"; fi
    ip route flush "$SUBNET" via "$PUBLIC_IP" ;;
esac
`;
/** As for the kernel's backends. */
const SWITCH_LOST_MAX = 2;

const directory = (host: Host) => join(host.folder, "extension");
const flags = (host: Host) => ({ args: ["--extension-dir", directory(host)] });
const toolOf = (host: Host) => join(directory(host), "tool");
const logOf = (host: Host) =>
  existsSync(`${toolOf(host)}.log`) ? readFileSync(`${toolOf(host)}.log`, "utf8") : "";

function placeTool(host: Host): void {
  mkdirSync(directory(host), { recursive: true });
  writeFileSync(toolOf(host), TOOL);
  chmodSync(toolOf(host), 0o755);
}

const waitPath = async (host: Host, path: string) =>
  await waitFor(
    async () => {
      const { peers } = (await host.api("/status")).json<{ peers: { path: string }[] }>();
      return peers[0]?.path === path;
    },
    { describe: `${host.name}'s peer by ${path}`, timeoutMs: 30_000 },
  );

labTest("extension: programs carry the packets, and take back what they made", TWO, async (lab) => {
  const [first, second] = lab.hosts as [Host, Host];
  for (const host of lab.hosts) await host.startHealthyAgent(flags(host));
  await joinCluster(second, first);
  await waitSettled(lab.hosts);
  await mustPutConfig(first, NETWORK);
  const [a, b] = (await addContainers(lab)) as [Container, Container];
  await waitReaches(a, b);
  const [own, other] = [a, b].map(({ address }) => address.replace(/\d+$/, "0/24"));

  // Where there is no such program, the node stays as it was and says why.
  placeTool(second);
  await mustPutConfig(first, CONFIG);
  const missing = `Cannot run PreStartupCommand: there is no "${toolOf(first)}"`;
  await waitFor(async () => (await statusOf(first)).warnings.some((it) => it.includes(missing)), {
    describe: "a warning about the program",
  });
  await waitReaches(a, b);

  const ping = a.startPing(b.address, { intervalSeconds: 0.01 });
  await waitFor(() => ping.received() > 20, { describe: "answers" });
  placeTool(first);
  await Promise.all(lab.hosts.map((host) => waitPath(host, "extension")));
  const seen = ping.received();
  await waitFor(() => ping.received() > seen + 50, { describe: "answers after" });
  const { lost } = await ping.stop();
  expect(lost.length).toBeLessThanOrEqual(SWITCH_LOST_MAX);
  const added = `add ${other} ${second.address} a key\n`;
  await waitFor(() => logOf(first).includes(added), { describe: "the peer's addition" });
  expect(logOf(first)).toContain(`post 10.0.0.0/16 ${own} ${first.address}\n`);
  expect(await first.mustRun(["ip", "route", "show", other!])).toContain(second.address);
  await waitReaches(a, b);

  // Killed while the backend changes: its next process removes what this one has made.
  await second.agent.kill();
  writeFileSync(`${toolOf(second)}.broken`, "");
  await mustPutConfig(first, NETWORK);
  await second.startHealthyAgent(flags(second));
  const said =
    /^Cannot run SubnetRemoveCommand for .*: exit code 3: no such thing as a peer; trying/;
  await waitFor(async () => (await statusOf(second)).warnings.some((it) => said.test(it)), {
    describe: "a warning in the program's words",
    timeoutMs: 30_000,
  });
  await second.mustRun(["rm", `${toolOf(second)}.broken`]);
  for (const host of lab.hosts) {
    await waitFor(() => /\nremove 10\.0\S+ \S+ a key\nshutdown /.test(logOf(host)), {
      describe: `${host.name}'s removal and end`,
      timeoutMs: 30_000,
    });
    expect(await host.mustRun(["sh", "-c", "ip route | grep '/24 via' || true"])).toBe("");
  }
  await waitReaches(a, b);

  const refused = await putConfig(first, {
    ...NETWORK,
    Backend: { Type: "extension", SubnetAddCommand: "ip route add $SUBNET via $PUBLIC_IP" },
  });
  expect(refused.status).toBe(400);
  expect(refused.text).toContain("no shell runs it");
});
