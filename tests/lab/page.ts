/**
 * Pages of docs/ as something that can be run: the shell blocks of a section, on the hosts that
 * their first lines name.
 *
 * A block is run as it stands, by a shell in the host, where `overlay` is the program under test
 * with this host's socket and folders. Three things are the lab's: `systemctl` starts and stops the
 * host's agent, paths below /root/ are the host's own, and the address and token of a join are
 * those of the cluster.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Host, OVERLAY_PATH } from "./host.ts";

const DOCS = join(import.meta.dir, "../../docs");

/** One block of a page. */
export interface PageBlock {
  /** "on any node". */
  readonly where: string;
  readonly lines: readonly string[];
}

/** What stands for the addresses and tokens of a page. */
export interface PagePlace {
  readonly peer?: string;
  readonly token?: string;
}

/** The shell blocks of section `title` of the page `name`, in order. */
export function pageBlocks(name: string, title: string): readonly PageBlock[] {
  const page = readFileSync(join(DOCS, name), "utf8");
  const section = page.split(/^## /m).find((each) => each.startsWith(`${title}\n`));
  if (section === undefined) throw new Error(`docs/${name} has no section "${title}"`);
  return [...section.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => {
    const [first, ...lines] = match[1]!.trimEnd().split("\n");
    if (!first!.startsWith("# ")) throw new Error(`A block of "${title}" does not say where`);
    return { where: first!.slice(2), lines };
  });
}

/** Runs `block` on `host`; gives what it printed. Throws when a line fails. */
export async function runBlock(
  block: PageBlock,
  host: Host,
  place: PagePlace = {},
): Promise<string> {
  let printed = "";
  for (const line of block.lines) {
    if (line === "systemctl stop overlay") await host.agent.terminate();
    else if (line === "systemctl start overlay") await host.startHealthyAgent();
    else printed += await host.mustRun(["sh", "-ec", scriptOf(line, host, place)]);
  }
  return printed;
}

function scriptOf(line: string, host: Host, { peer, token }: PagePlace): string {
  const command = line
    .replaceAll("/root/", `${host.folder}/`)
    .replaceAll("/run/overlay/overlay.sock", host.socket)
    .replaceAll("192.0.2.1", peer ?? "192.0.2.1")
    .replaceAll("OVL1.…", token ?? "OVL1.…");
  const settings = [`OVERLAY_SOCKET='${host.socket}'`, `OVERLAY_DATA_DIR='${host.dataDir}'`];
  const names = `OVERLAY_NODE_NAME='${host.name}'`;
  return `export ${settings.join(" ")} ${names}\noverlay() { '${OVERLAY_PATH}' "$@"; }\n${command}\n`;
}
