/**
 * What of this agent outlives its process: the descriptors of the packet engine and the state of
 * sealing, taken from the last process and held for the next one.
 *
 * @module
 */
import type { Log } from "../base/log.ts";
import { formatKeptState, KEPT_STATE_SIZE, KeptState } from "../dataplane/seal/kept-state.ts";
import { openDescriptorStore, type ServiceEnvironment } from "../host/keep/descriptor-store.ts";
import type { DescriptorHolder } from "../host/keep/keep.ts";
import { openKeeper } from "../host/keep/keeper.ts";
import { libc } from "../host/sys/libc.ts";
import { monotonicNs } from "../host/sys/monotonic.ts";
import {
  createSharedMemory,
  openSharedMemory,
  type SharedMemory,
} from "../host/sys/shared-memory.ts";
import type { KeptParts, PacketEngine } from "./packet-engine.ts";
import type { KeptSeal } from "./seal-keeper.ts";

const MEMORY_NAME = "overlay-seal";
const NS_PER_MS = 1_000_000;

/** The agent's hand on what outlives it. */
export interface Kept extends KeptParts {
  /** For the keeper of this node's keys. */
  readonly seal: KeptSeal;
  /** Holds what `engine` works with from now on. */
  hold(engine: Pick<PacketEngine, "descriptors">): void;
}

/** Takes what the last process left. Under systemd its manager holds it, else a process of ours. */
export function openKept(options: {
  readonly runDir: string;
  readonly env: ServiceEnvironment;
  readonly log: Log;
}): Kept {
  const { runDir, env, log } = options;
  const holder = openDescriptorStore(env, log) ?? openKeeper(runDir, log);
  const left = holder.takeAll();
  const memory = recallMemory(left.get("seal")) ?? newMemory();
  if (left.size > 0)
    log.info("going on where the last process was", { kept: [...left.keys()].join(",") });
  return keptOn(holder, left, memory);
}

function keptOn(
  holder: DescriptorHolder,
  left: ReturnType<DescriptorHolder["takeAll"]>,
  memory: SharedMemory,
): Kept {
  return {
    sealAddress: memory.address,
    seal: {
      state: new KeptState(memory.buffer),
      sharedMs: () => Number(monotonicNs()) / NS_PER_MS,
    },
    take(name) {
      const fd = left.get(name);
      left.delete(name);
      return fd;
    },
    hold({ descriptors: { tun, udp } }) {
      holder.hold(
        new Map([
          ["tun", tun],
          ["udp", udp],
          ["seal", memory.fd],
        ]),
      );
    },
    drop() {
      for (const name of ["tun", "udp"] as const) {
        const fd = this.take(name);
        if (fd !== undefined) libc().close(fd);
      }
      holder.drop();
    },
  };
}

/** The memory that an earlier process left; undefined when this one cannot go on with it. */
function recallMemory(fd: number | undefined): SharedMemory | undefined {
  if (fd === undefined) return undefined;
  const memory = openSharedMemory(fd, KEPT_STATE_SIZE);
  if (memory !== undefined && new KeptState(memory.buffer).load() !== undefined) return memory;
  libc().close(fd);
  return undefined;
}

function newMemory(): SharedMemory {
  const memory = createSharedMemory(MEMORY_NAME, KEPT_STATE_SIZE);
  formatKeptState(memory.buffer);
  return memory;
}
