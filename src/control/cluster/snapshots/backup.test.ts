import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm, parseClusterId } from "../../../base/ids.ts";
import { CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { txn } from "../../kv/txn.ts";
import { realClock } from "../real-node.fake.ts";
import { type BackupHead, BackupReader, backupObstacle, writeBackup } from "./backup.ts";

const clusterId = parseClusterId("0123456789abcdef0123456789abcdef")!;

async function makeBackup(change: Partial<BackupHead> = {}) {
  const machine = createStateMachine(kvHandlers);
  const value = new Uint8Array(100_000).fill(7);
  const place = { index: decodeIndex(1), term: decodeTerm(3) };
  const context = { ...place, proposedAtMs: 0, request: undefined };
  machine.apply(txn({ success: [{ kind: "put", key: "/k", value }] }), context);
  const head: BackupHead = {
    ...{ version: CLUSTER_VERSION_NEWEST, clusterId, generation: 4, ...place },
    ...{ revision: machine.reader.revision, nodeId: decodeNodeId(9), nodeName: "web1" },
    ...{ program: "1.2.3", madeAtMs: 1_700_000_000_000 },
    ...change,
  };
  const chunks = await Array.fromAsync(writeBackup(head, machine.snapshot(), realClock));
  return { machine, head, bytes: new Uint8Array(Buffer.concat(chunks)) };
}

/** Reads `bytes` in pieces: what is wrong with them, and the state that they hold. */
function read(bytes: Uint8Array, pieceSize = 1_000) {
  const reader = new BackupReader();
  const machine = createStateMachine(kvHandlers);
  const restoration = machine.restoration();
  for (let at = 0; at < bytes.length; at += pieceSize) {
    const problem = reader.push(bytes.slice(at, at + pieceSize));
    if (problem !== undefined) return { reader, problem };
    for (const part of reader.drain()) {
      const fault = restoration.take(part);
      if (fault !== undefined) return { reader, problem: fault };
    }
  }
  const problem = reader.finish() ?? restoration.end();
  return { reader, problem, machine };
}

describe("a backup", () => {
  for (const pieceSize of [1, 64, 5_000, 1_000_000]) {
    test(`read ${pieceSize} bytes at a time is the state that was saved`, async () => {
      const { bytes, head, machine } = await makeBackup();
      const found = read(bytes, pieceSize);
      expect(found.problem).toBeUndefined();
      expect(found.reader.head).toEqual(head);
      expect(found.reader.sizeBytes).toBe(bytes.length);
      expect(found.machine!.hash()).toBe(machine.hash());
    });
  }

  test("that was cut off anywhere is found", async () => {
    const { bytes } = await makeBackup();
    for (const length of [0, 1, 8, 12, 13, 60, 5_000, bytes.length - 33, bytes.length - 1]) {
      expect(read(bytes.slice(0, length)).problem).toMatch(/cut off|empty/);
    }
  });

  test("with a flipped bit anywhere is found", async () => {
    const { bytes } = await makeBackup();
    const places = [...Array(300).keys(), 5_000, 50_000, bytes.length - 33, bytes.length - 1];
    for (const at of places) {
      const changed = bytes.slice();
      changed[at]! ^= 1 << (at % 8);
      expect(read(changed).problem).toBeString();
    }
  });

  test("with more behind its end is found", async () => {
    const { bytes } = await makeBackup();
    expect(read(new Uint8Array([...bytes, 0])).problem).toBeString();
  });

  test("of a newer cluster version says what it is, and what reads it", async () => {
    const version = CLUSTER_VERSION_NEWEST + 1;
    const { bytes, head } = await makeBackup({ version });
    const { reader, problem } = read(bytes);
    expect(problem).toBeUndefined();
    expect(reader.head).toEqual(head);
    expect(backupObstacle(head)).toBe(
      `it is of cluster version ${version}, and this program reads versions up to ` +
        `${CLUSTER_VERSION_NEWEST}; install overlay 1.2.3 or later`,
    );
  });

  test("is told from any other file", () => {
    expect(read(new TextEncoder().encode("#!/bin/sh\nexit 0\n")).problem).toBe(
      "it is no backup of overlay",
    );
  });
});
