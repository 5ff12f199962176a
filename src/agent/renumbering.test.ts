/**
 * When a node tells its programs of the new subnet, and when it gives up the old one.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { type Prefix, parseAddress, parsePrefix } from "../base/address.ts";
import { decodeNodeId, decodeRevision } from "../base/ids.ts";
import type { DrainingLease } from "../control/network/draining.ts";
import type { NetworkView } from "../control/network/view.ts";
import { DRAIN_QUIET_MS, Renumbering, TURN_MS } from "./renumbering.ts";

const prefix = (text: string) => parsePrefix(text)!;
const OLD_NETWORK = prefix("10.0.0.0/16");
const NEW = { network: prefix("10.9.0.0/16"), subnet: prefix("10.9.3.0/24") };

/** A node's old subnet is 10.0.<id>.0/24. */
function draining(id: number): DrainingLease {
  const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
  const revision = decodeRevision(1);
  return {
    network: OLD_NETWORK,
    subnet: prefix(`10.0.${id}.0/24`),
    node: decodeNodeId(id),
    state: "held",
    attributes: { publicIp: parseAddress("192.0.2.1")!, publicIpv6: null, backend },
    ...{ epoch: revision, grantRevision: revision, modRevision: revision, ttlSeconds: 60 },
  };
}

function viewOf(...ids: number[]): NetworkView {
  const leases = ids.map(draining);
  return {
    revision: decodeRevision(1),
    config: undefined,
    leases: new Map(),
    byNode: new Map(),
    draining: new Map(leases.map((lease) => [lease.subnet, lease])),
    expired: new Map(),
    reservations: new Map(),
  };
}

/** Node 3, whose files name `known`. */
function setUp(known: Prefix | undefined = prefix("10.0.3.0/24")) {
  const clock = new ManualClock();
  const state = { user: undefined as string | undefined, turns: 0 };
  const released: string[] = [];
  const renumbering = new Renumbering({
    nodeId: decodeNodeId(3),
    knownSubnet: known,
    usedBy: () => state.user,
    release: async (subnet) => void released.push(subnet),
    onTurn: () => {
      state.turns += 1;
    },
    clock,
  });
  const announced = (view: NetworkView): string | undefined =>
    renumbering.plan(view, NEW)?.announced.subnet;
  return { renumbering, clock, state, released, announced };
}

test("nothing drains: there is nothing to say", () => {
  expect(setUp().renumbering.plan(viewOf(), NEW)).toBeUndefined();
});

test("a node that does not move itself carries the networks of those that do", () => {
  expect(setUp(NEW.subnet).renumbering.plan(viewOf(1), NEW)).toEqual({
    formerNetworks: [OLD_NETWORK],
    draining: [],
    announced: NEW,
  });
});

test("a former network inside the present one needs no route of its own", () => {
  const present = { network: prefix("10.0.0.0/8"), subnet: prefix("10.9.3.0/24") };
  expect(setUp().renumbering.plan(viewOf(3), present)?.formerNetworks).toEqual([]);
});

test("the new subnet is announced in turn: after those before, and no later for the dead", async () => {
  const { announced, clock, state } = setUp();
  const view = viewOf(1, 2, 3, 4);
  expect(announced(view)).toBe("10.0.3.0/24");
  await clock.advance(2 * TURN_MS - 1000);
  expect([announced(view), state.turns]).toEqual(["10.0.3.0/24", 0]);
  await clock.advance(1000);
  expect([announced(view), state.turns]).toEqual([NEW.subnet, 1]);
});

test("those before have moved: it is this node's turn", () => {
  const { announced } = setUp();
  expect(announced(viewOf(1, 3))).toBe("10.0.3.0/24");
  expect(announced(viewOf(3, 4))).toBe(NEW.subnet);
});

test("what was announced before a restart is not taken back", () => {
  expect(setUp(NEW.subnet).announced(viewOf(1, 2, 3))).toBe(NEW.subnet);
});

test("the old subnet ends when nothing has used it for a while after the announcement", async () => {
  const { announced, clock, state, released } = setUp();
  const before = viewOf(1, 3);
  announced(before);
  await clock.advance(1000);
  expect(released).toEqual([]);
  state.user = "docker0";
  const view = viewOf(3);
  expect(announced(view)).toBe(NEW.subnet);
  await clock.advance(10 * DRAIN_QUIET_MS);
  expect(released).toEqual([]);
  state.user = undefined;
  await clock.advance(DRAIN_QUIET_MS);
  expect(released).toEqual([]);
  await clock.advance(1000);
  expect(released).toEqual(["10.0.3.0/24"]);
  // Nobody answered: again, and not at every look.
  await clock.advance(DRAIN_QUIET_MS);
  expect(released).toHaveLength(1);
  await clock.advance(2000);
  expect(released).toHaveLength(2);
  announced(viewOf());
  await clock.advance(10 * DRAIN_QUIET_MS);
  expect(released).toHaveLength(2);
});

test("a bridge that was away for a moment is not the end", async () => {
  const { announced, clock, state, released } = setUp();
  announced(viewOf(3));
  await clock.advance(DRAIN_QUIET_MS - 1000);
  state.user = "docker0";
  await clock.advance(1000);
  state.user = undefined;
  await clock.advance(DRAIN_QUIET_MS);
  expect(released).toEqual([]);
});
