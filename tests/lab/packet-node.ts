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
import { FastPath } from "../../src/agent/fast-path.ts";
import { addKernelCounters } from "../../src/agent/fast-path-counters.ts";
import { parseOffloadNames } from "../../src/agent/offload-names.ts";
import { openPacketEngine } from "../../src/agent/packet-engine.ts";
import { parseAddress, parsePrefix } from "../../src/base/address.ts";
import { HostError } from "../../src/base/host-error.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import { createSilentLog } from "../../src/base/log.ts";
import type { FibTable } from "../../src/dataplane/fib/row.ts";
import { openSystemClock } from "../../src/host/clock/system-clock.ts";
import { openKernel } from "../../src/host/netlink/kernel.ts";
import { type PacketSealConfig, rowSeal, sealSetting } from "./packet-seal.ts";

/** What the file holds. Texts are addresses and prefixes. */
export interface PacketNodeConfig {
  readonly tunName: string;
  readonly address: string;
  readonly port: number;
  readonly overlayMtu: number;
  readonly local: string;
  /** As of --offloads-off. */
  readonly offloadsOff?: string;
  /** "auto": lone packets in the kernel; absent: user mode alone. */
  readonly engine?: "auto" | "user";
  /** Whether the peers answer no probes; with engine "auto". */
  readonly silent?: boolean;
  readonly peers: readonly {
    readonly node: number;
    readonly prefix: string;
    readonly address: string;
    readonly partialChecksum: boolean;
  }[];
  /** Absent: all packets are plain. */
  readonly seal?: PacketSealConfig;
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
  /** "on", or why the kernel carries no packets. */
  readonly fastPath: string;
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
      ...rowSeal(config.seal, node),
    })),
  };
}

/** As an agent has it, with peers that answer. */
function openFastPath(readConfig: () => PacketNodeConfig): FastPath | undefined {
  const config = readConfig();
  if (config.engine !== "auto") return undefined;
  const [clock, log] = [openSystemClock(), createSilentLog()];
  return new FastPath({
    ...{ kernel: openKernel({ clock, log }), clock, log },
    port: () => config.port,
    overlayLink: config.tunName,
    address: parseAddress(config.address)!,
    overlayMtu: () => config.overlayMtu,
    ways: () => {
      const isSilent = readConfig().silent === true;
      return { changeCount: isSilent ? 1 : 0, openMtu: () => (isSilent ? 0 : config.overlayMtu) };
    },
  });
}

function describeFastPath(fastPath: FastPath | undefined): string {
  if (fastPath === undefined) return "not asked for";
  return fastPath.state.kind === "on" ? "on" : fastPath.state.reason;
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
  const fastPath = openFastPath(readConfig);
  const publish = () => {
    const next = readConfig();
    engine.setOverlayMtu(next.overlayMtu);
    if (next.seal !== undefined) engine.setSeal(sealSetting(next.seal));
    engine.publish(tableOf(next));
    fastPath?.publish(tableOf(readConfig()));
  };
  publish();

  const report = () => {
    const { user, system } = process.cpuUsage();
    const line: PacketNodeReport = {
      ...(fastPath === undefined
        ? engine.counters()
        : addKernelCounters(engine.counters(), fastPath.counters())),
      fastPath: describeFastPath(fastPath),
      off: engine.offloads().off,
      residentBytes: process.memoryUsage.rss(),
      cpuMicros: user + system,
      state,
    };
    console.log(JSON.stringify(line));
  };
  const stop = (removeTun: boolean) => async () => {
    if (removeTun) fastPath?.remove();
    await engine.stop({ removeTun });
    process.exit(0);
  };
  process.on("SIGUSR1", report);
  process.on("SIGHUP", publish);
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
