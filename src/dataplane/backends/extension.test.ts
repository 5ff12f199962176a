import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Prefix, parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import type { JsonValue } from "../../control/network/json.ts";
import type { BackendPeer } from "./backend.ts";
import {
  type ExtensionPeer,
  extension,
  extensionPeers,
  type KnownPeer,
  networkVariables,
  planSteps,
} from "./extension.ts";

const prefix = (text: string) => parsePrefix(text)!;
const address = (text: string) => parseAddress(text)!;

function peer(number: number, change: Partial<ExtensionPeer> = {}): ExtensionPeer {
  return {
    subnet: prefix(`10.0.${number}.0/24`),
    address: address(`192.168.1.${number}`),
    data: "key",
    add: ["add"],
    remove: ["remove"],
    ...change,
  };
}

describe("peers of the extension backend", () => {
  const leased = (data: JsonValue, type = "extension"): BackendPeer => ({
    node: decodeNodeId(7),
    subnet: prefix("10.0.7.0/24"),
    address: address("192.168.1.7"),
    backend: { kind: "other", type, data },
  });
  const ADD = { SubnetAddCommand: ["add"] };
  const PRE = { ...ADD, PreStartupCommand: ["key"] };
  const rows = [
    { why: "with what its program printed", commands: PRE, peer: leased("key"), data: "key" },
    { why: "with nothing, where no program prints", commands: ADD, peer: leased(null), data: "" },
    { why: "not before its program has printed", commands: PRE, peer: leased(null) },
    { why: "not with what is no text", commands: ADD, peer: leased({ VNI: 1 }) },
    { why: "not of another backend", commands: ADD, peer: leased("key", "vxlan") },
    { why: "not without a command", commands: {}, peer: leased("key") },
  ];
  for (const { commands, data, peer, why } of rows) {
    test(why, () => {
      const found = extensionPeers([peer], commands);
      expect(found.map((each) => each.data)).toEqual(data === undefined ? [] : [data]);
    });
  }

  test("learn from the lease what the own program has printed", () => {
    const config = { kind: "extension", commands: PRE } as const;
    const self = decodeNodeId(1);
    expect(extension.publish(self, config)).toMatchObject({ type: "extension", data: null });
    const told = extension.publish(self, { ...config, data: "key" });
    expect(told).toMatchObject({ type: "extension", data: "key" });
  });
});

describe("steps of the extension backend", () => {
  const rows: {
    why: string;
    known?: readonly KnownPeer[];
    wanted: readonly ExtensionPeer[];
    is: string[];
  }[] = [
    { why: "who is not known is added", wanted: [peer(7)], is: ["add 10.0.7.0/24 key"] },
    {
      why: "who is added is left alone",
      known: [{ peer: peer(7), isAdded: true }],
      wanted: [peer(7)],
      is: [],
    },
    {
      why: "who may have been added by an earlier process is added again",
      known: [{ peer: peer(7), isAdded: false }],
      wanted: [peer(7)],
      is: ["add 10.0.7.0/24 key"],
    },
    {
      why: "who is gone is removed as it was added, also where nobody knows that it was",
      known: [{ peer: peer(7, { data: "old" }), isAdded: false }],
      wanted: [peer(8)],
      is: ["remove 10.0.7.0/24 old", "add 10.0.8.0/24 key"],
    },
    {
      why: "who says something else is removed first",
      known: [{ peer: peer(7, { data: "old" }), isAdded: true }],
      wanted: [peer(7)],
      is: ["remove 10.0.7.0/24 old"],
    },
    {
      why: "another program adds it anew",
      known: [{ peer: peer(7, { add: ["add", "-x"] }), isAdded: true }],
      wanted: [peer(7)],
      is: ["remove 10.0.7.0/24 key"],
    },
    {
      why: "another program that removes it changes nothing yet",
      known: [{ peer: peer(7, { remove: undefined }), isAdded: true }],
      wanted: [peer(7)],
      is: [],
    },
  ];
  for (const { is, known = [], wanted, why } of rows) {
    test(why, () => {
      const steps = planSteps(
        mapOf(known, (each) => each.peer.subnet),
        mapOf(wanted, subnetOf),
      );
      expect(steps.map((step) => `${step.kind} ${step.peer.subnet} ${step.peer.data}`)).toEqual(is);
    });
  }

  test("lead from anything to what is wanted, with no more than two for a peer", () => {
    const one = fc
      .tuple(fc.integer({ min: 1, max: 6 }), fc.constantFrom("a", "b"))
      .map(([number, data]) => peer(number, { data }));
    const peers = fc.uniqueArray(one, { selector: subnetOf });
    fc.assert(
      fc.property(peers, fc.boolean(), peers, (before, isAdded, wanted) => {
        const known = new Map(before.map((each) => [each.subnet, { peer: each, isAdded }]));
        const target = mapOf(wanted, subnetOf);
        for (let round = 0; round < 2; round++) {
          for (const { kind, peer } of planSteps(known, target)) {
            if (kind === "remove") known.delete(peer.subnet);
            else known.set(peer.subnet, { peer, isAdded: true });
          }
        }
        expect(planSteps(known, target)).toEqual([]);
        expect(new Set([...known.values()].map((each) => each.peer))).toEqual(new Set(wanted));
      }),
    );
  });
});

test("programs find addresses under flannel's names, by family", () => {
  const [network, subnet] = [prefix("10.0.0.0/16"), prefix("10.0.53.0/24")];
  expect(networkVariables(network, subnet, address("192.168.1.5"))).toEqual({
    NETWORK: "10.0.0.0/16",
    SUBNET: "10.0.53.0/24",
    PUBLIC_IP: "192.168.1.5",
  });
  const [network6, subnet6] = [prefix("fd00::/48"), prefix("fd00:0:0:5::/64")];
  expect(networkVariables(network6, subnet6, address("2001:db8::5"))).toEqual({
    IPV6NETWORK: "fd00::/48",
    IPV6SUBNET: "fd00:0:0:5::/64",
    PUBLIC_IPV6: "2001:db8::5",
  });
});

function subnetOf({ subnet }: ExtensionPeer): Prefix {
  return subnet;
}

function mapOf<T>(list: readonly T[], keyOf: (each: T) => Prefix): Map<Prefix, T> {
  return new Map(list.map((each) => [keyOf(each), each]));
}
