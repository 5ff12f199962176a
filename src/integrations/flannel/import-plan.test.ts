import { expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import type { JsonRecord } from "../../base/json-record.ts";
import type { FlannelLease } from "./etcd-dump.ts";
import { planImport } from "./import-plan.ts";

const NETWORK = { Network: "10.5.0.0/16" };

function lease(subnet: string, publicIp: string, more: Partial<FlannelLease> = {}): FlannelLease {
  return {
    subnet: parsePrefix(subnet)!,
    publicIp: parseAddress(publicIp)!,
    ...{ backendType: "udp", reserved: false, hasIpv6: false, modRevision: 1, ...more },
  };
}

function planned(config: JsonRecord, ...leases: readonly FlannelLease[]) {
  const { config: taken, notes, reservations } = planImport({ config, leases, strange: [] });
  return { config: taken, notes, kept: reservations.map((it) => `${it.subnet} ${it.publicIp}`) };
}

test("planImport: a udp network is taken as it is", () => {
  const config = { ...NETWORK, SubnetLen: 24, Backend: { Type: "udp", Port: 7890 } };
  const leases = [lease("10.5.34.0/24", "192.0.2.3"), lease("10.5.9.0/24", "192.0.2.1")];
  expect(planned(config, ...leases)).toEqual({
    config,
    notes: [],
    kept: ["10.5.9.0/24 192.0.2.1", "10.5.34.0/24 192.0.2.3"],
  });
});

const CONFIGS: readonly { from: JsonRecord; to: JsonRecord; notes: RegExp[]; why: string }[] = [
  { from: NETWORK, to: NETWORK, notes: [], why: "nothing but a network" },
  {
    from: { network: "10.5.0.0/16", SUBNETLEN: 26, backend: { type: "UDP", port: 0 } },
    to: { Network: "10.5.0.0/16", SubnetLen: 26, Backend: { Type: "udp" } },
    notes: [],
    why: "keys in any case",
  },
  {
    from: { ...NETWORK, Backend: { type: "VXLAN", vni: 7, Port: 4789, directrouting: true } },
    to: { ...NETWORK, Backend: { Type: "vxlan", VNI: 7, Port: 4789, DirectRouting: true } },
    notes: [],
    why: "vxlan with its options",
  },
  {
    from: { ...NETWORK, Backend: { Type: "vxlan", Port: 0, MTU: 9000, MacPrefix: "0E-2A" } },
    to: { ...NETWORK, Backend: { Type: "vxlan", MTU: 9000 } },
    notes: [/^Backend option "MacPrefix" is left behind$/],
    why: "an option of another system",
  },
  {
    from: { ...NETWORK, Backend: { Type: "host-gw" } },
    to: { ...NETWORK, Backend: { Type: "host-gw" } },
    notes: [],
    why: "host-gw",
  },
  {
    from: { ...NETWORK, Backend: { Type: "wireguard", PSK: "x" } },
    to: { ...NETWORK, Backend: { Type: "udp" } },
    notes: [/^Backend "wireguard" becomes "udp": /],
    why: "a backend that is not here",
  },
  {
    from: { ...NETWORK, Backend: { Type: "extension", SubnetAddCommand: "ip route add …" } },
    to: { ...NETWORK, Backend: { Type: "udp" } },
    notes: [/^Backend "extension" becomes "udp": .*write them as programs/],
    why: "commands for a shell",
  },
  {
    from: { ...NETWORK, Backend: { Type: "udp", Mode: "x" } },
    to: { ...NETWORK, Backend: { Type: "udp" } },
    notes: [/^Backend option "Mode" is left behind$/],
    why: "an option that no udp backend has",
  },
  {
    from: { ...NETWORK, EnableIPv6: true, IPv6Network: "fd00::/48", EnableNFTables: true },
    to: NETWORK,
    notes: [/^IPv6 is left behind/],
    why: "two families",
  },
  {
    from: { ...NETWORK, Comment: "ours" },
    to: NETWORK,
    notes: [/^"Comment" is left behind/],
    why: "a key that nobody knows",
  },
];
for (const { from, to, notes, why } of CONFIGS) {
  test(`planImport: ${why}`, () => {
    const plan = planned(from);
    expect(plan.config).toEqual(to);
    expect(plan.notes).toEqual(notes.map((note) => expect.stringMatching(note)));
  });
}

test("planImport: defaults of old versions are written out", () => {
  const plan = planned(
    { Network: "10.5.0.0/23" },
    lease("10.5.0.0/24", "192.0.2.1"),
    lease("10.5.1.0/24", "192.0.2.2"),
  );
  expect(plan.config).toEqual({ Network: "10.5.0.0/23", SubnetLen: 24, SubnetMin: "10.5.0.0" });
  expect(plan.kept).toHaveLength(2);
  expect(plan.notes).toHaveLength(2);
});

test("planImport: what does not fit, and what is there twice, is left behind", () => {
  const { kept, notes } = planned(
    NETWORK,
    lease("10.5.1.0/24", "192.0.2.1", { modRevision: 5 }),
    lease("10.5.2.0/24", "192.0.2.1", { modRevision: 9, hasIpv6: true }),
    lease("10.6.3.0/24", "192.0.2.3"),
    lease("10.5.4.0/26", "192.0.2.4"),
  );
  expect(kept).toEqual(["10.5.2.0/24 192.0.2.1"]);
  expect(notes).toEqual([
    "10.5.2.0/24: its IPv6 half is left behind",
    "10.5.1.0/24 of 192.0.2.1 is left behind: a later lease of that address is taken",
    "10.6.3.0/24 of 192.0.2.3 is left behind: it is not in 10.5.0.0/16",
    "10.5.4.0/26 of 192.0.2.4 is left behind: subnets have 24 bits",
  ]);
});

test("planImport: a config that says no network is for the agent to refuse", () => {
  for (const config of [{}, { Network: 7 }, { Network: "fd00::/48" }]) {
    expect(planned(config, lease("10.5.1.0/24", "192.0.2.1"))).toEqual({
      ...{ config, notes: [], kept: [] },
    });
  }
});
