import { expect, test } from "bun:test";
import { parsePrefix } from "../base/address.ts";
import { parseNodeId } from "../base/ids.ts";
import type { ClusterStatus } from "../control/cluster/types.ts";
import type { NetworkView } from "../control/network/view.ts";
import type { NetworkState } from "./network-agent.ts";
import { serviceState } from "./service-state.ts";

const LEADER = parseNodeId("0a1b2c3d4e5f60");
const SUBNET = parsePrefix("10.0.53.0/24")!;

function stateOf(parts: {
  readonly state: NetworkState;
  readonly leader?: boolean;
  readonly config?: boolean;
  readonly removed?: boolean;
}) {
  const leader = parts.leader === false ? undefined : LEADER;
  const status = { leader, removed: parts.removed === true } as ClusterStatus;
  const config = parts.config === false ? undefined : {};
  return serviceState({
    cluster: { status: () => status },
    network: { state: parts.state, view: () => ({ config }) as NetworkView },
  });
}

test("ready with a lease, with or without a leader", () => {
  const state = { kind: "ready", subnet: SUBNET } as const;
  for (const leader of [true, false]) {
    expect(stateOf({ state, leader })).toEqual({ ready: true, text: "Lease 10.0.53.0/24" });
  }
});

test("ready without a config once a leader says that there is none", () => {
  const state = { kind: "no_config" } as const;
  expect(stateOf({ state, config: false }).ready).toBeTrue();
  expect(stateOf({ state, config: false, leader: false }).ready).toBeFalse();
  expect(stateOf({ state, config: true }).ready).toBeFalse();
});

test("not ready while a lease is wanted, blocked or suspect; the reason is told", () => {
  for (const kind of ["wanting", "blocked", "suspect"] as const) {
    const state = { kind, subnet: SUBNET, reason: "because" };
    expect(stateOf({ state })).toEqual({ ready: false, text: "because" });
  }
});

test("a removed node holds nobody up", () => {
  const state = { kind: "wanting", reason: "x" } as const;
  expect(stateOf({ state, removed: true, leader: false }).ready).toBeTrue();
});
