import { describe, expect, test } from "bun:test";
import { decodeNodeId } from "../base/ids.ts";
import { pathMetrics, pathView, silentPeerWarnings, type WatchedPeer } from "./path-status.ts";
import type { PathReport } from "./peer-prober.ts";

const GOOD: PathReport = {
  rttMs: 0.123456,
  rttMinMs: 0.1,
  rttLastMs: 0.2,
  lossPercent: 0,
  pathMtu: 1500,
  pathMtuBack: 1400,
  isNarrow: false,
  innerMtu: 1472,
  blackHoles: 0,
  isInUse: true,
  answeredAgoMs: 420,
  silentForMs: undefined,
  isDeaf: false,
};
const NOON_MS = Date.UTC(2026, 10, 22, 12, 0, 30);

function peer(change: Partial<WatchedPeer>, path: Partial<PathReport> = {}): WatchedPeer {
  return {
    node: decodeNodeId(11),
    name: "web2",
    endpoint: "192.0.2.2:8285",
    rxPackets: 5,
    live: null,
    path: { ...GOOD, ...path },
    ...change,
  };
}

describe("silentPeerWarnings", () => {
  const warn = (...peers: WatchedPeer[]) => silentPeerWarnings(peers, NOON_MS);

  test("which peer, since when, and the likely cause, by what the cluster hears", () => {
    const silent = { silentForMs: 12_000, answeredAgoMs: 13_000 };
    expect(warn(peer({ live: true }, silent))).toEqual([
      "Peer web2 (0000000000000b, 192.0.2.2:8285) does not answer (since 12:00:18 UTC, 12 s), and packets for it are lost: " +
        "the cluster hears from it, so look for a firewall that drops UDP port 8285 on the way",
    ]);
    expect(warn(peer({ live: false }, silent))[0]).toContain("host or agent is down");
    expect(warn(peer({ live: null }, silent))[0]).toContain("`overlay ping web2` tells when");
  });

  test("a peer that was never reached", () => {
    const path = { silentForMs: 6000, answeredAgoMs: undefined, isDeaf: true };
    expect(warn(peer({ rxPackets: 0 }, path))[0]).toContain("has never answered");
  });

  test("no warning: answered, just missed, idle, or a peer of another program", () => {
    expect(warn(peer({}))).toEqual([]);
    expect(warn(peer({}, { silentForMs: 1500 }))).toEqual([]);
    expect(warn(peer({}, { silentForMs: 60_000, isInUse: false }))).toEqual([]);
    expect(warn(peer({ rxPackets: 9 }, { silentForMs: 60_000, isDeaf: true }))).toEqual([]);
  });

  test("a thousand silent peers are a few lines, the longest silence first", () => {
    const all = Array.from({ length: 1000 }, (_, i) =>
      peer({ name: `n${i}` }, { silentForMs: 4000 + i }),
    );
    const lines = silentPeerWarnings(all, NOON_MS);
    expect(lines.length).toBe(6);
    expect(lines[0]).toContain("Peer n999 ");
    expect(lines[5]).toBe("995 more peers with traffic do not answer either");
  });
});

describe("pathView", () => {
  test("figures, rounded", () => {
    expect(pathView(GOOD, 90_000)).toEqual({
      rttMs: 0.123,
      rttMinMs: 0.1,
      rttLastMs: 0.2,
      lossPercent: 0,
      mtu: 1472,
      pathMtu: 1500,
      pathMtuBack: 1400,
      lastSeenSeconds: 0.4,
      inUse: true,
    });
  });

  test("nobody watches, or nothing was found: null, not a guess", () => {
    expect(pathView(GOOD, 100).lastSeenSeconds).toBe(0.1);
    expect(pathView(undefined, undefined)).toMatchObject({
      rttMs: null,
      lossPercent: null,
      mtu: null,
    });
    const deaf = { ...GOOD, pathMtu: undefined, isDeaf: true, lossPercent: 100 };
    expect(pathView(deaf, undefined)).toMatchObject({
      lossPercent: null,
      mtu: null,
      pathMtu: null,
    });
  });
});

test("pathMetrics: what is not known has no sample", () => {
  const node = decodeNodeId(11);
  const unknown = { ...GOOD, rttMs: undefined, pathMtu: undefined };
  const metrics = pathMetrics([
    { node, path: GOOD, packetAgoMs: undefined },
    { node, path: unknown, packetAgoMs: 7000 },
  ]);
  const count = (name: string) => metrics.find((metric) => metric.name === name)?.samples.length;
  expect([count("peer_rtt_seconds"), count("peer_path_mtu_bytes")]).toEqual([1, 1]);
  expect(count("peer_in_use")).toBe(2);
});
