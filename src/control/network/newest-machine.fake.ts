/**
 * A state machine of a cluster that has reached the newest version, for tests of what that brings.
 *
 * @module
 */
import { decodeIndex, decodeTerm } from "../../base/ids.ts";
import {
  CLUSTER_VERSION_KEY,
  CLUSTER_VERSION_NEWEST,
  encodeClusterVersion,
} from "../kv/cluster-version.ts";
import { kvHandlers } from "../kv/handlers.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import { systemTxn } from "../kv/txn.ts";
import type { KvMachine } from "../kv/types.ts";
import { networkHandlers } from "./handlers.ts";

/** An empty one, to restore into. */
export function emptyMachine(): KvMachine {
  return createStateMachine({ ...kvHandlers, ...networkHandlers });
}

/** One that has applied nothing but the version: entry 1, revision 1. */
export function newestMachine(): KvMachine {
  const machine = emptyMachine();
  const value = encodeClusterVersion(CLUSTER_VERSION_NEWEST);
  const raise = systemTxn({ success: [{ kind: "put", key: CLUSTER_VERSION_KEY, value }] });
  const context = { index: decodeIndex(1), term: decodeTerm(1), proposedAtMs: 0 };
  machine.apply(raise, { ...context, request: undefined });
  return machine;
}
