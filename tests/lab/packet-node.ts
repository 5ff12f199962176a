/**
 * A program: one node's packet engine with a table from a file and nothing else of an agent.
 *
 *     bun tests/lab/packet-node.ts CONFIG.json
 *
 * Runs in the network namespace that it is started in. Prints a line "ready"; on SIGUSR1 a line of
 * JSON with counters, offloads, memory and processor time; on SIGHUP it takes the table anew from
 * the file; on SIGTERM it stops and leaves the TUN, on SIGINT it removes it.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { parseOffloadNames } from "../../src/agent/offload-names.ts";
import { openPacketEngine } from "../../src/agent/packet-engine.ts";
import { parseAddress, parsePrefix } from "../../src/base/address.ts";
import { HostError } from "../../src/base/host-error.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import { createSilentLog } from "../../src/base/log.ts";
import type { FibTable } from "../../src/dataplane/fib/row.ts";

/** What the file holds. Texts are addresses and prefixes. */
export interface PacketNodeConfig {
  readonly tunName: string;
  readonly address: string;
  readonly port: number;
  readonly overlayMtu: number;
  readonly local: string;
  /** As of --offloads-off. */
  readonly offloadsOff?: string;
  readonly peers: readonly {
    readonly node: number;
    readonly prefix: string;
    readonly address: string;
    readonly partialChecksum: boolean;
  }[];
}

/** One line of the program's answer to SIGUSR1. */
export interface PacketNodeReport {
  readonly totals: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
  readonly peers: readonly {
    readonly peer: number;
    readonly txPackets: number;
    readonly rxPackets: number;
    readonly lastSeenAgoMs?: number | undefined;
  }[];
  readonly off: readonly { readonly name: string; readonly reason: string }[];
  /** Resident memory in bytes. */
  readonly residentBytes: number;
  /** Processor time so far, all threads, in microseconds. */
  readonly cpuMicros: number;
  /** "lost: …" once the TUN is gone. */
  readonly state: string;
}

function tableOf(config: PacketNodeConfig): FibTable {
  return {
    local: [parsePrefix(config.local)!],
    rows: config.peers.map(({ node, prefix, address, partialChecksum }) => ({
      prefix: parsePrefix(prefix)!,
      peer: decodeNodeId(node),
      endpoint: { address: parseAddress(address)!, port: config.port },
      partialChecksum,
    })),
  };
}

async function main(path: string): Promise<void> {
  const readConfig = (): PacketNodeConfig => JSON.parse(readFileSync(path, "utf8"));
  const config = readConfig();
  let state = "running";
  const engine = await openPacketEngine({
    tunName: config.tunName,
    tunAddress: parseAddress(config.local.split("/")[0]!)!,
    address: parseAddress(config.address)!,
    port: config.port,
    overlayMtu: config.overlayMtu,
    offloadsOff: parseOffloadNames(config.offloadsOff ?? "none") ?? [],
    log: createSilentLog(),
    onLost: (error) => {
      state = `lost: ${error.message}`;
    },
  });
  engine.publish(tableOf(config));

  const report = () => {
    const { user, system } = process.cpuUsage();
    const line: PacketNodeReport = {
      ...engine.counters(),
      off: engine.offloads().off,
      residentBytes: process.memoryUsage.rss(),
      cpuMicros: user + system,
      state,
    };
    console.log(JSON.stringify(line));
  };
  const stop = (removeTun: boolean) => async () => {
    await engine.stop({ removeTun });
    process.exit(0);
  };
  process.on("SIGUSR1", report);
  process.on("SIGHUP", () => engine.publish(tableOf(readConfig())));
  process.on("SIGTERM", stop(false));
  process.on("SIGINT", stop(true));
  // Signals alone do not keep the process.
  setInterval(() => undefined, 60_000);
  console.log("ready");
}

if (import.meta.main) {
  try {
    await main(process.argv[2] ?? "");
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    console.log(error.message);
    process.exit(1);
  }
}
