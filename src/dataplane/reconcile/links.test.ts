import { describe, expect, test } from "bun:test";
import { parseAddress, parseMac } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type { ActualLink } from "../../host/kernel-ports.ts";
import type { DesiredVxlan } from "../backends/desired-state.ts";
import { OURS } from "../backends/ownership.ts";
import { diffLinks } from "./links.ts";
import type { Obstacle } from "./parts.ts";

const LOCAL = parseAddress("192.168.1.5")!;
const MAC = parseMac("02:00:00:00:00:01")!;
const WANTED: DesiredVxlan = {
  ...{ kind: "vxlan", name: "overlay.1", mtu: 1450, mac: MAC, alias: "overlay" },
  ...{ vni: 1, port: 8472, underlay: "eth0", local: LOCAL, learning: false, gbp: false },
};
const link = (index: number, name: string, more: Partial<ActualLink> = {}): ActualLink => ({
  ...{ index: decodeLinkIndex(index), name, kind: "vxlan", up: true, mtu: 1450, mac: MAC },
  ...{ loopback: false, txQueueLength: 1000, gsoMaxSize: 65_536, ...more },
});
const ETH0 = link(2, "eth0", { kind: undefined });
const tunnel = (vni: number, port: number) => ({
  vxlan: { vni, port, underlay: ETH0.index, local: LOCAL, learning: false, gbp: false },
});

describe("a VXLAN link", () => {
  const rows: { why: string; there?: ActualLink; does: string[]; says?: string }[] = [
    { why: "is made", does: ["add overlay.1"] },
    {
      why: "without its alias gets it",
      there: link(3, "overlay.1", tunnel(1, 8472)),
      does: ["set alias"],
    },
    {
      why: "that encapsulates otherwise is made anew",
      there: link(3, "overlay.1", tunnel(1, 4789)),
      does: ["delete overlay.1", "add overlay.1"],
    },
    {
      why: "of ours under another name makes room",
      there: link(3, "gone", { alias: "overlay", ...tunnel(1, 8472) }),
      does: ["delete gone", "add overlay.1"],
    },
    {
      why: "for another port stays beside it",
      there: link(3, "overlay.1-4789", { alias: "overlay", ...tunnel(1, 4789) }),
      does: ["add overlay.1"],
    },
    {
      why: "of somebody else for another port stays beside it",
      there: link(3, "flannel.1", tunnel(1, 4789)),
      does: ["add overlay.1"],
    },
    {
      why: "of somebody else in its place is named, and left alone",
      there: link(3, "flannel.1", tunnel(1, 8472)),
      does: [],
      says: "link flannel.1 has the same VNI and port; delete it",
    },
  ];
  for (const { does, says, there, why } of rows) {
    test(why, () => {
      const actual = there === undefined ? [ETH0] : [ETH0, there];
      const obstacles: Obstacle[] = [];
      const byName = new Map(actual.map((each) => [each.name, each]));
      const operations = diffLinks([WANTED], actual, { byName, obstacles, ownership: OURS });
      const words = operations.map((it) => {
        if (it.kind === "add_link" || it.kind === "delete_link")
          return `${it.kind.split("_")[0]} ${it.link.name}`;
        return it.kind === "set_link" ? `set ${Object.keys(it.changes).join()}` : it.kind;
      });
      expect(words).toEqual(does);
      expect(obstacles.map(({ reason }) => reason)).toEqual(says === undefined ? [] : [says]);
    });
  }
});
