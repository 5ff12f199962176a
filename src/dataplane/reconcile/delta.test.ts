import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MemoryKernel, NOTHING } from "../../../tests/sim/memory-kernel.ts";
import { parseAddress, parseMac, parsePrefix } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type { ActualLink } from "../../host/kernel-ports.ts";
import { type DesiredState, EMPTY_STATE } from "../backends/desired-state.ts";
import { OURS } from "../backends/ownership.ts";
import { delta } from "./delta.ts";
import { diff } from "./diff.ts";

const link = (index: number, name: string, kind?: string): ActualLink => ({
  index: decodeLinkIndex(index),
  name,
  kind,
  up: true,
  loopback: false,
  mtu: 1450,
  txQueueLength: 1000,
  gsoMaxSize: undefined,
  mac: parseMac("02:00:00:00:00:01")!,
  alias: "overlay",
  ...(kind === "vxlan" && {
    vxlan: {
      vni: 1,
      port: 8472,
      underlay: decodeLinkIndex(2),
      local: parseAddress("192.168.1.5")!,
      learning: false,
      gbp: false,
    },
  }),
});
const LINKS = [link(2, "eth0"), link(3, "overlay.1", "vxlan")];
const CONTEXT = {
  links: new Map(LINKS.map((it) => [it.name, it])),
  routeProtocol: OURS.routeProtocol,
};

const BASE: DesiredState = {
  ...EMPTY_STATE,
  links: [
    {
      kind: "vxlan",
      name: "overlay.1",
      mtu: 1450,
      mac: parseMac("02:00:00:00:00:01")!,
      alias: "overlay",
      vni: 1,
      port: 8472,
      underlay: "eth0",
      local: parseAddress("192.168.1.5")!,
      learning: false,
      gbp: false,
    },
  ],
};

/** A peer: how it is reached, and which of two addresses it has. */
interface Peer {
  readonly number: number;
  readonly direct: boolean;
  readonly moved: boolean;
}

function stateOf(peers: readonly Peer[]): DesiredState {
  const tunnelled = peers.filter(({ direct }) => !direct);
  const endpoint = ({ moved, number }: Peer) => parseAddress(`192.168.${moved ? 2 : 1}.${number}`)!;
  const mac = ({ number }: Peer) => parseMac(`02:00:00:00:01:0${number}`)!;
  const address = ({ number }: Peer) => parseAddress(`10.0.${number}.0`)!;
  return {
    ...BASE,
    routes: peers.map((peer) => ({
      destination: parsePrefix(`10.0.${peer.number}.0/24`)!,
      link: peer.direct ? "eth0" : "overlay.1",
      gateway: peer.direct ? endpoint(peer) : address(peer),
      onlink: !peer.direct,
      table: 254,
      metric: 0,
    })),
    neighbours: tunnelled.map((it) => ({ link: "overlay.1", address: address(it), mac: mac(it) })),
    fdb: tunnelled.map((it) => ({ link: "overlay.1", mac: mac(it), endpoint: endpoint(it) })),
  };
}

const anyPeers = fc.uniqueArray(
  fc.record({ number: fc.integer({ min: 1, max: 9 }), direct: fc.boolean(), moved: fc.boolean() }),
  { selector: ({ number }) => number },
);

test("delta: from any peers to any others, in any order, as much as a look would find", () => {
  fc.assert(
    fc.property(anyPeers, anyPeers, (from, to) => {
      const [before, after] = [stateOf(from), stateOf(to)];
      const kernel = new MemoryKernel({ ...NOTHING, links: LINKS });
      for (const it of diff(before, kernel.state, OURS).operations) kernel.apply(it);
      const looked = diff(after, kernel.state, OURS).operations;
      const operations = delta(before, after, CONTEXT)!;
      expect(operations.length).toBe(looked.length);
      for (const operation of operations) kernel.apply(operation);
      expect(diff(after, kernel.state, OURS).operations).toEqual([]);
    }),
  );
});

describe("delta: somebody has to look", () => {
  const peers = [{ number: 7, direct: false, moved: false }];
  const table: { why: string; after: DesiredState; links?: typeof CONTEXT.links }[] = [
    { why: "when a link changes", after: { ...stateOf(peers), links: [] } },
    {
      why: "when a setting does",
      after: { ...stateOf(peers), sysctls: [{ path: "net/ipv4/ip_forward", value: "1" }] },
    },
    { why: "when a link is not known", after: stateOf(peers), links: new Map() },
  ];
  for (const { after, links = CONTEXT.links, why } of table) {
    test(why, () => expect(delta(BASE, after, { ...CONTEXT, links })).toBeUndefined());
  }

  test("when there is much to do", () => {
    const [route] = stateOf(peers).routes;
    const routes = Array.from({ length: 1001 }, (_, at) => ({
      ...route!,
      destination: parsePrefix(`10.${at >> 8}.${at & 255}.0/24`)!,
    }));
    expect(delta(BASE, { ...BASE, routes }, CONTEXT)).toBeUndefined();
  });
});
