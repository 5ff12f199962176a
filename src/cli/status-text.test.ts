/**
 * The status as a person sees it.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { FAKE_STATUS } from "../admin/service.fake.ts";
import type { StatusView } from "../admin/service.ts";
import { formatStatus, type StatusLayout } from "./status-text.ts";

const LAYOUT: StatusLayout = { columns: 80, rows: 24, color: false, all: false };

function manyPeers(count: number): StatusView["peers"] {
  return Array.from({ length: count }, (_, at) => ({
    ...FAKE_STATUS.peers[0]!,
    name: `a-node-with-a-long-name-${at + 1}`,
    subnet: `10.0.${100 + at}.0/24`,
    endpoint: `192.168.100.${100 + at}:8285`,
    lossPercent: at === 30 ? 12.4 : null,
  }));
}

describe("formatStatus", () => {
  test("a healthy node, whole", () => {
    expect(formatStatus(FAKE_STATUS, LAYOUT)).toBe(
      [
        "web1: all is well",
        "",
        "Node        web1 (0a1b2c3d4e5f60), voter, running, overlay 1.2.3",
        "Cluster     2 members, 1 voter, leader web1, term 7, quorum",
        "            id 00112233445566778899aabbccddeeff, generation 1",
        "Network     10.0.0.0/16, subnets /24",
        "Lease       10.0.53.0/24, gateway 10.0.53.1, expires in 23 h 59 min",
        "Data plane  udp on overlay0, MTU 1472, not encrypted, engine ebpf+user",
        "Packets     1,200 sent, 1,100 received, 3 dropped (no route 3)",
        "",
        "PEER  SUBNET        ENDPOINT        PATH      RTT  LOSS   MTU      RX       TX",
        "web2  10.0.91.0/24  192.0.2.2:8285  udp   0.42 ms   0 %  1472  123 MB  2.05 kB",
      ].join("\n"),
    );
  });

  test("offloads that are off are named with their reasons", () => {
    const offloads = {
      on: ["tso", "gso"],
      off: [{ name: "gro", reason: "its test at start moved wrong bytes" }],
    };
    const dataplane = { ...FAKE_STATUS.dataplane!, offloads };
    expect(formatStatus({ ...FAKE_STATUS, dataplane }, LAYOUT)).toContain(
      "Offloads    tso, gso on; gro off (its test at start moved wrong bytes)",
    );
  });

  test("where nodes choose, the reason of each path, peers of one reason together", () => {
    const far = { path: "vxlan", pathReason: "not on a segment of this node" };
    const odd = { path: "udp", pathReason: "vxlan (UDP 8472) has not answered for 12 s" };
    const [one, two, three] = manyPeers(3);
    const peers = [
      { ...one!, ...far, name: "h2" },
      { ...two!, ...odd, name: "h3" },
      { ...three!, ...far, name: "h4" },
    ];
    const lines = formatStatus({ ...FAKE_STATUS, peers }, LAYOUT).split("\n");
    expect(lines).toContain("Paths       h2, h4 by vxlan: not on a segment of this node");
    expect(lines).toContain("            h3 by udp: vxlan (UDP 8472) has not answered for 12 s");
    const many = manyPeers(9).map((peer, at) => ({ ...peer, pathReason: `reason ${at}` }));
    const text = formatStatus({ ...FAKE_STATUS, peers: many }, { ...LAYOUT, rows: 60 });
    expect(text).toMatch(/reason 2\n +and more; "overlay status --all" shows them\n/);
    expect(formatStatus({ ...FAKE_STATUS, peers: many }, { ...LAYOUT, all: true })).toContain(
      "reason 8",
    );
  });

  test("what is wrong comes first, in words, wrapped", () => {
    const warnings = ["No lease yet", `${"long ".repeat(20)}end`];
    const lines = formatStatus({ ...FAKE_STATUS, warnings }, LAYOUT).split("\n");
    expect(lines.slice(0, 2)).toEqual(["web1: 2 things are wrong", "- No lease yet"]);
    expect(lines[2]).toStartWith("- long");
    expect(lines[3]).toStartWith("  long");
    expect(lines[4]).toBe("");
    const one = formatStatus({ ...FAKE_STATUS, warnings: ["x"] }, LAYOUT);
    expect(one).toStartWith("web1: 1 thing is wrong\n- x\n\n");
  });

  test("a node without anything says what there is not", () => {
    const text = formatStatus(
      {
        ...FAKE_STATUS,
        cluster: { ...FAKE_STATUS.cluster, leader: null, quorum: false },
        network: null,
        lease: null,
        dataplane: null,
        peers: [],
      },
      LAYOUT,
    );
    for (const part of ["no leader", "NO QUORUM", "Network     none yet", "Lease       none yet"]) {
      expect(text).toContain(part);
    }
    expect(text).not.toContain("PEER");
  });

  test("a spare says whom it follows, and how far it is behind", () => {
    const said = (feed: (typeof FAKE_STATUS)["cluster"]["feed"]) =>
      formatStatus(
        { ...FAKE_STATUS, cluster: { ...FAKE_STATUS.cluster, feed } },
        LAYOUT,
      ).replaceAll(/\s+/g, " ");
    const source = { id: "0a1b2c3d4e5f61", name: "web2" };
    expect(said({ source, behind: 0 })).toContain("quorum, following web2 id");
    expect(said({ source, behind: 2 })).toContain("following web2, 2 changes behind");
    expect(said({ source: null, behind: 0 })).toContain("looking for a member to follow");
  });

  test("fifty peers are one screen: the worst, a count, no line over 80", () => {
    const text = formatStatus({ ...FAKE_STATUS, peers: manyPeers(50) }, LAYOUT);
    const lines = text.split("\n");
    expect(lines).toHaveLength(24);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    expect(lines[11]).toContain("12 %");
    expect(lines.at(-1)).toBe('and 38 more; "overlay status --all" shows them');
    const all = formatStatus({ ...FAKE_STATUS, peers: manyPeers(50) }, { ...LAYOUT, all: true });
    expect(all.split("\n")).toHaveLength(lines.length + 37);
  });

  test("warnings give way before the peers are gone, and say how many they are", () => {
    const warnings = Array.from(
      { length: 40 },
      (_, at) => `Thing ${at + 1} is ${"long ".repeat(20)}`,
    );
    const status = { ...FAKE_STATUS, warnings, peers: manyPeers(50) };
    const lines = formatStatus(status, LAYOUT).split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(lines[0]).toBe("web1: 40 things are wrong");
    expect(lines[1]).toStartWith("- Thing 1 is");
    expect(lines.filter((line) => line.startsWith("a-node"))).not.toBeEmpty();
    const more = lines.find((line) => line.startsWith("- and"));
    expect(more).toMatch(/^- and 3\d more; "overlay status --all" shows them$/);
    const all = formatStatus(status, { ...LAYOUT, all: true });
    expect(all).toContain("- Thing 40 is");
    expect(all).not.toContain(" more; ");
  });

  for (const rows of [1, 12, 18, 40]) {
    test(`a screen of ${rows} lines has the first warning and three peers or more`, () => {
      const warnings = Array.from({ length: 9 }, (_, at) => `Thing ${at + 1}`);
      const status = { ...FAKE_STATUS, warnings, peers: manyPeers(9) };
      const lines = formatStatus(status, { ...LAYOUT, rows }).split("\n");
      expect(lines[1]).toBe("- Thing 1");
      const peerCount = lines.filter((line) => line.startsWith("a-node")).length;
      expect(peerCount).toBeGreaterThanOrEqual(3);
      if (rows >= 18) expect(lines.length).toBeLessThanOrEqual(rows);
      if (rows === 40) expect([peerCount, lines.includes("- Thing 9")]).toEqual([9, true]);
    });
  }

  test("peers follow each other as numbers do", () => {
    const layout = { ...LAYOUT, columns: Number.POSITIVE_INFINITY };
    const text = formatStatus({ ...FAKE_STATUS, peers: manyPeers(10) }, layout);
    expect(text.indexOf("name-2 ")).toBeLessThan(text.indexOf("name-10 "));
  });

  test("names from elsewhere cannot color or move the terminal", () => {
    const evil = "\u001b[2Jweb\n2";
    const text = formatStatus(
      {
        ...FAKE_STATUS,
        node: { ...FAKE_STATUS.node, name: evil, state: evil },
        cluster: { ...FAKE_STATUS.cluster, leader: { id: "", name: evil } },
        network: { Network: evil },
        peers: [{ ...FAKE_STATUS.peers[0]!, name: evil, endpoint: evil }],
        warnings: [evil],
      },
      LAYOUT,
    );
    expect(text).not.toContain("\u001b");
  });

  test("color is for the headline and the labels", () => {
    const text = formatStatus(FAKE_STATUS, { ...LAYOUT, color: true });
    expect(text).toStartWith("\u001b[32mweb1: all is well\u001b[39m");
    expect(text).toContain("\u001b[1mNode        \u001b[22m");
  });
});
