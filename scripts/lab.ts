/**
 * A lab to try things by hand: hosts with agents in one cluster and a container each, until Ctrl-C.
 *
 *   scripts/lab [--hosts N] [--wire real|virtual] [--empty]
 *
 * With `--empty` the agents run, each a cluster of one, and nothing is joined or set.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { addContainers, formCluster, mustPutConfig, NETWORK_CONFIG } from "../tests/lab/cluster.ts";
import type { Host } from "../tests/lab/host.ts";
import { OVERLAY_PATH } from "../tests/lab/host.ts";
import { type Lab, openLab } from "../tests/lab/lab.ts";
import { labObstacle } from "../tests/lab/requirements.ts";
import { build } from "./build.ts";
import { indent, Progress } from "./lib/progress.ts";
import { installLibraries, installPrograms } from "./lib/setup.ts";

const HOSTS_DEFAULT = "3";

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      hosts: { type: "string", default: HOSTS_DEFAULT },
      wire: { type: "string", default: "virtual" },
      empty: { type: "boolean", default: false },
    },
  });
  const progress = new Progress();
  await progress.step("libraries", async (notes) => notes.result(await installLibraries()));
  await progress.step("programs of the lab", async (notes) => {
    const { kind, text } = await installPrograms();
    const obstacle = kind === "missing" ? text : labObstacle();
    if (obstacle !== undefined) throw new Error(`Cannot open a lab on this machine: ${obstacle}`);
    notes.result(text);
  });
  await build([], progress);
  const wire = values.wire === "real" ? "real" : "virtual";
  await using lab = await progress.step("hosts", () => {
    return openLab({ hosts: Number(values.hosts), wire });
  });
  await progress.step("agents", async () => {
    if (values.empty) await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
    else await formCluster(lab);
  });
  if (!values.empty) {
    await progress.step("network and containers", async () => {
      await mustPutConfig(lab.host(0), NETWORK_CONFIG);
      await addContainers(lab);
    });
  }
  console.log(explain(lab));
  await new Promise(() => undefined); // The lab's own handler of the signal ends this process.
}

/** How to get into everything that there is. */
function explain(lab: Lab): string {
  const first = lab.host(0);
  const hosts = lab.hosts.map((host) => {
    const containers = host.containers.map((each) => `${each.name} ${each.address}`);
    return `${host.name}  ${host.address}  ${containers.join(", ")}`;
  });
  const lines = [
    "",
    ...hosts,
    "",
    `a shell on ${first.name}:      nsenter --net=/run/netns/${first.id}`,
    ...first.containers.map(
      (each) => `a shell in ${each.name}:    nsenter --net=/run/netns/${each.id}`,
    ),
    `the status of ${first.name}:   ${statusCommand(first)}`,
    `logs and files:     ${lab.folder}`,
    "",
    "Ctrl-C removes everything.",
  ];
  return indent(lines.join("\n"));
}

function statusCommand(host: Host): string {
  return `${OVERLAY_PATH} status --socket ${host.socket}`;
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(`\n${error instanceof Error ? error.message : error}`);
    process.exit(1);
  }
}
