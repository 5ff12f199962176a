import { describe, expect, test } from "bun:test";
import { type IpAddress, parseAddress, parseMac } from "../base/address.ts";
import { decodeLinkIndex } from "../base/ids.ts";
import type { ActualLink } from "../host/kernel-ports.ts";
import { WayTable } from "./fast-path-ways.ts";

const link = (index: number, change: Partial<ActualLink> = {}): ActualLink => ({
  index: decodeLinkIndex(index),
  name: `ovtnone${index}`,
  kind: undefined,
  up: true,
  loopback: false,
  mtu: 1500,
  txQueueLength: 1000,
  gsoMaxSize: undefined,
  mac: parseMac("02:00:00:00:00:01"),
  ...change,
});
const address = (last: number): IpAddress => parseAddress(`192.0.2.${last}`)!;
/** Everything is reached over the link with number `index`. */
const over = (index: number) => ({
  wayTo: () => ({ link: decodeLinkIndex(index), gateway: undefined, source: undefined }),
});

describe("WayTable", () => {
  const one = [address(1)];
  const waysTo = (endpoints: Iterable<IpAddress>) => {
    const ways = new WayTable();
    ways.want(endpoints);
    return ways;
  };
  const cases: readonly (readonly [string, Partial<ActualLink>, boolean])[] = [
    ["an Ethernet card", {}, true],
    ["a bond", { kind: "bond" }, true],
    ["a virtual cable that does not exist any more", { kind: "veth" }, true],
    ["a link that is down", { up: false }, false],
    ["the loopback", { loopback: true }, false],
    ["a link without a MAC address", { mac: undefined }, false],
    ["wireguard", { kind: "wireguard", mac: undefined }, false],
    ["a TAP", { kind: "tun" }, false],
    ["ipvlan", { kind: "ipvlan" }, false],
  ];
  for (const [name, change, isFit] of cases) {
    test(`${name}: ${isFit ? "taken, and not for whole super-packets" : "left to user mode"}`, () => {
      const ways = waysTo(one);
      const changed = ways.follow({ kernel: over(7), links: [link(7, change)] });
      expect(changed).toBe(isFit);
      const way = { link: decodeLinkIndex(7), whole: false };
      expect(ways.get(address(1))).toEqual(isFit ? way : undefined);
    });
  }

  test("no route, an unknown link, an IPv6 endpoint: user mode", () => {
    const ways = waysTo(one);
    const links = [link(7)];
    const nowhere = { wayTo: () => undefined };
    expect(ways.follow({ kernel: nowhere, links })).toBe(false);
    ways.expire();
    expect(ways.follow({ kernel: over(8), links })).toBe(false);
    ways.want([parseAddress("2001:db8::1")!]);
    expect(ways.follow({ kernel: over(7), links })).toBe(false);
  });

  test("what is known is not asked for again before it expires; another way is a change", () => {
    const ways = waysTo(one);
    const links = [link(7), link(8)];
    const follow = (index: number) => ways.follow({ kernel: over(index), links });
    expect([follow(7), follow(8)]).toEqual([true, false]);
    ways.expire();
    expect([follow(8), follow(8)]).toEqual([true, false]);
    expect([...ways.links]).toEqual([decodeLinkIndex(8)]);
    ways.expire();
    expect(follow(8)).toBe(false);
  });

  test("endpoints that are gone are forgotten, and so are their links", () => {
    const ways = waysTo(one);
    const links = [link(7)];
    ways.follow({ kernel: over(7), links });
    ways.want([]);
    expect(ways.follow({ kernel: over(7), links })).toBe(true);
    expect(ways.follow({ kernel: over(7), links })).toBe(false);
    expect([...ways.links]).toEqual([]);
  });

  test("a thousand and more are looked up in slices", () => {
    let asked = 0;
    const kernel = {
      wayTo: () => {
        asked++;
        return over(7).wayTo();
      },
    };
    const endpoints = Array.from(
      { length: 1200 },
      (_, at) => parseAddress(`10.9.${at >> 8}.${at & 255}`)!,
    );
    const ways = waysTo(endpoints);
    const slices: number[] = [];
    while (ways.follow({ kernel, links: [link(7)] })) {
      slices.push(asked);
      asked = 0;
    }
    expect(slices).toEqual([500, 500, 200]);
    expect(endpoints.every((endpoint) => ways.get(endpoint) !== undefined)).toBe(true);
  });
});
