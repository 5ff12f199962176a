import { describe, expect, test } from "bun:test";
import { planUdp } from "../../../tests/support/udp-plan.ts";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type { KernelChange } from "../../host/kernel-ports.ts";
import { OURS } from "../backends/ownership.ts";
import { concerns, interestOf, withIndexes } from "./relevance.ts";

const NETWORK = parsePrefix("10.0.0.0/16")!;
const OTHER = parsePrefix("192.168.0.0/16")!;
const ours = decodeLinkIndex(7);
const theirs = decodeLinkIndex(2);

const desired = planUdp({
  lease: { subnet: parsePrefix("10.0.53.0/24")! },
  network: NETWORK,
  rows: [],
  host: { underlayAddress: parseAddress("192.168.1.5")!, underlayMtu: 1500 },
});
const interest = withIndexes(interestOf(desired, OURS), [
  { index: theirs, name: "eth0" },
  { index: ours, name: "overlay0" },
]);

const route = (change: Partial<Extract<KernelChange, { kind: "route" }>>): KernelChange => ({
  kind: "route",
  destination: OTHER,
  link: theirs,
  protocol: 3,
  ...change,
});

const TABLE: readonly { change: KernelChange; relevant: boolean; why: string }[] = [
  {
    change: { kind: "link", link: { index: decodeLinkIndex(99), name: "overlay0" } },
    relevant: true,
    why: "a link of our name, made anew with another number",
  },
  {
    change: { kind: "link", link: { index: ours, name: "renamed" } },
    relevant: true,
    why: "our link under another name",
  },
  {
    change: { kind: "link", link: { index: theirs, name: "eth0" } },
    relevant: false,
    why: "a link of others",
  },
  { change: { kind: "address", link: ours }, relevant: true, why: "an address on our link" },
  { change: { kind: "address", link: theirs }, relevant: false, why: "an address elsewhere" },
  { change: { kind: "neighbour", link: theirs }, relevant: false, why: "a neighbour elsewhere" },
  { change: { kind: "neighbour", link: ours }, relevant: true, why: "a neighbour on our link" },
  { change: route({}), relevant: false, why: "a route of others to elsewhere" },
  { change: route({ protocol: OURS.routeProtocol }), relevant: true, why: "a route of ours" },
  { change: route({ link: ours }), relevant: true, why: "any route through our link" },
  {
    change: route({ destination: NETWORK }),
    relevant: true,
    why: "a route of others to where ours leads: it came into the way, or went out of it",
  },
  {
    change: { kind: "settings", link: undefined },
    relevant: true,
    why: "forwarding of all links",
  },
  { change: { kind: "settings", link: theirs }, relevant: false, why: "settings of another link" },
  {
    change: { kind: "firewall", table: OURS.firewallTable, chain: undefined },
    relevant: true,
    why: "our firewall table",
  },
  {
    change: { kind: "firewall", table: { family: "ip", name: "nat" }, chain: "DOCKER" },
    relevant: false,
    why: "a firewall chain of others",
  },
  { change: { kind: "overrun" }, relevant: true, why: "nobody knows what happened" },
];

test("concerns: of a link that a route of ours leads through, only itself and its addresses", () => {
  const route = { ...desired.routes[0]!, link: "eth0" };
  const through = withIndexes(interestOf({ ...desired, routes: [route] }, OURS), [
    { index: theirs, name: "eth0" },
  ]);
  const heard = (change: KernelChange) => concerns(change, through);
  expect(heard({ kind: "link", link: { index: theirs, name: "eth0" } })).toBe(true);
  expect(heard({ kind: "address", link: theirs })).toBe(true);
  expect(heard({ kind: "neighbour", link: theirs })).toBe(false);
  expect(heard({ kind: "settings", link: theirs })).toBe(false);
});

describe("concerns", () => {
  for (const { change, relevant, why } of TABLE) {
    test(why, () => expect(concerns(change, interest)).toBe(relevant));
  }
});
