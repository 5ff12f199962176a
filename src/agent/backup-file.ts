/**
 * Backups on this machine's disk: written as they come in, looked into, and made the beginning of
 * a new cluster. No agent is needed.
 *
 * @module
 */
import fs from "node:fs/promises";
import { dirname } from "node:path";
import { HostError } from "../base/host-error.ts";
import { formatNodeId } from "../base/ids.ts";
import { listMembers } from "../control/cluster/members/member-table.ts";
import {
  type BackupHead,
  BackupReader,
  backupObstacle,
} from "../control/cluster/snapshots/backup.ts";
import type { KvMachine } from "../control/kv/types.ts";
import { formatNetworkConfig } from "../control/network/config.ts";
import { returningLeases } from "../control/network/returning-leases.ts";
import { readNetwork } from "../control/network/view.ts";
import { openDisk } from "../host/files/disk.ts";
import type { StoppedNode } from "./recovery.ts";
import { emptyMachine, refoundNode } from "./refound.ts";

/** As private as the store that it is of: it has everybody's values. */
const BACKUP_MODE = 0o600;
const READ_SIZE_BYTES = 256 * 1024;

/** What is in a backup. */
export interface BackupView {
  readonly madeAt: string;
  readonly madeBy: { readonly id: string; readonly name: string; readonly program: string };
  readonly cluster: {
    readonly id: string;
    readonly generation: number;
    readonly version: number;
  };
  readonly index: number;
  readonly term: number;
  readonly revision: number;
  readonly members: readonly { readonly id: string; readonly name: string }[];
  /** Null without one. */
  readonly config: Readonly<Record<string, unknown>> | null;
  readonly leases: readonly {
    readonly subnet: string;
    readonly node: string;
    readonly publicIp: string;
  }[];
  readonly keys: number;
  /** Of the file, and of the values in it. */
  readonly sizeBytes: number;
  readonly valueBytes: number;
}

/** A backup that was read and is whole. */
export interface OpenBackup {
  readonly head: BackupHead;
  readonly machine: KvMachine;
  readonly view: BackupView;
}

/**
 * Writes what comes in to `path`, whole or not at all; nothing is left of one that was cut off.
 * Throws `HostError`.
 */
export async function saveBackup(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<BackupView> {
  const partial = `${path}.part`;
  const call = { operation: "save a backup in", object: path };
  const reading = new Reading(call);
  try {
    const file = await attempt(call, () => fs.open(partial, "w", BACKUP_MODE));
    try {
      for await (const chunk of chunks) {
        reading.push(chunk);
        await attempt(call, () => file.writeFile(chunk));
      }
      const { view } = reading.finish();
      await attempt(call, () => file.sync());
      await attempt(call, () => fs.rename(partial, path));
      await openDisk().syncDirectory(dirname(path));
      return view;
    } finally {
      await file.close();
    }
  } catch (cause) {
    await fs.rm(partial, { force: true });
    throw cause;
  }
}

/** Reads and checks the backup at `path`. Throws `HostError` with what is wrong with it. */
export async function openBackup(path: string): Promise<OpenBackup> {
  const call = { operation: "read backup", object: path };
  const reading = new Reading(call);
  const file = await attempt(call, () => fs.open(path, "r"));
  try {
    for (;;) {
      const buffer = new Uint8Array(READ_SIZE_BYTES);
      const { bytesRead } = await attempt(call, () => file.read(buffer, 0, buffer.length));
      if (bytesRead === 0) break;
      reading.push(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
  return reading.finish();
}

/** Makes `node` the only member of a new cluster with what is in `backup`. */
export async function restoreBackup(
  node: StoppedNode,
  { head, machine }: OpenBackup,
  nodeName: string,
): Promise<{ readonly clusterId: string; readonly nodeId: string; readonly revision: number }> {
  const { home, store } = node;
  const { clock, random } = home;
  const own = node.identity ?? (await store.create({ name: nodeName, clock, random }));
  const { nodeId, name } = own;
  const { clusterId, generation, term } = head;
  const next = await refoundNode(
    home,
    { store, nodeId, name },
    {
      ...{ how: "restored", machine, term, former: { clusterId, generation } },
      // No key is in a backup, and who has the old CA's is not known.
      keys: undefined,
      commands: returningLeases(machine.reader),
    },
  );
  return {
    clusterId: next.clusterId,
    nodeId: formatNodeId(nodeId),
    revision: machine.reader.revision,
  };
}

/** A backup on its way in. */
class Reading {
  readonly #call: { readonly operation: string; readonly object: string };
  readonly #reader = new BackupReader();
  readonly #machine = emptyMachine();
  readonly #restoration = this.#machine.restoration();

  constructor(call: { readonly operation: string; readonly object: string }) {
    this.#call = call;
  }

  push(chunk: Uint8Array): void {
    const problem = this.#reader.push(chunk);
    if (problem !== undefined) throw this.#fault(problem);
    const { head } = this.#reader;
    const obstacle = head && backupObstacle(head);
    if (obstacle !== undefined) throw this.#fault(obstacle);
    for (const part of this.#reader.drain()) {
      const fault = this.#restoration.take(part);
      if (fault !== undefined) throw this.#fault(`its content makes no sense: ${fault}`);
    }
  }

  finish(): OpenBackup {
    const problem = this.#reader.finish() ?? this.#restoration.end();
    const { head, sizeBytes } = this.#reader;
    if (problem !== undefined || head === undefined) {
      throw this.#fault(problem ?? "it has no head");
    }
    return { head, machine: this.#machine, view: viewOf(head, this.#machine, sizeBytes) };
  }

  #fault(reason: string): HostError {
    const next = /install /.test(reason) ? undefined : "use another backup, or save it once more";
    return new HostError({ ...this.#call, reason, ...(next !== undefined && { next }) });
  }
}

function viewOf(head: BackupHead, { reader }: KvMachine, sizeBytes: number): BackupView {
  const network = readNetwork(reader);
  let keys = 0;
  let valueBytes = 0;
  for (const { value } of reader.list("")) {
    keys += 1;
    valueBytes += value.length;
  }
  const { clusterId, generation, version, index, term, revision } = head;
  return {
    madeAt: new Date(head.madeAtMs).toISOString(),
    madeBy: { id: formatNodeId(head.nodeId), name: head.nodeName, program: head.program },
    cluster: { id: clusterId, generation, version },
    ...{ index, term, revision },
    members: listMembers(reader).map(({ id, name }) => ({ id: formatNodeId(id), name })),
    config: network.config === undefined ? null : formatNetworkConfig(network.config.config),
    leases: [...network.leases.values()].map(({ subnet, node, attributes }) => ({
      ...{ subnet, node: formatNodeId(node), publicIp: attributes.publicIp },
    })),
    ...{ keys, sizeBytes, valueBytes },
  };
}

async function attempt<Value>(
  call: { readonly operation: string; readonly object: string },
  task: () => Promise<Value>,
): Promise<Value> {
  try {
    return await task();
  } catch (cause) {
    const errno = cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
    const reason = errno === undefined ? String(cause) : undefined;
    throw new HostError({
      ...call,
      cause,
      ...(errno !== undefined && { errno }),
      ...(reason !== undefined && { reason }),
    });
  }
}
