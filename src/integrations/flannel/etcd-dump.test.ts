import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { parseDump } from "./etcd-dump.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");

function dump(values: Readonly<Record<string, string>>, pinned: readonly string[] = []): string {
  const kvs = Object.entries(values).map(([key, value], position) => ({
    ...{ key: base64(key), value: base64(value), mod_revision: position + 1 },
    ...(pinned.includes(key) ? {} : { lease: 7_587_867_094_218_396_000 }),
  }));
  return JSON.stringify({ header: { revision: 9 }, kvs, count: kvs.length });
}

const CONFIG = '{"Network":"10.5.0.0/16"}';
/** Values as flanneld v0.20.2 wrote them. */
const VXLAN =
  '{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"b2:2a:04:63:64:bb"}}';
const UDP = '{"PublicIP":"10.99.0.2","PublicIPv6":null}';

test("parseDump: config and leases, as etcdctl prints them", () => {
  const text = dump(
    {
      "/coreos.com/network/config": CONFIG,
      "/coreos.com/network/subnets/10.5.34.0-24": VXLAN,
      "/coreos.com/network/subnets/10.5.35.0-24": UDP,
      "/coreos.com/network/subnets/10.5.36.0-24&fd00:12:13::-56": VXLAN,
      "/coreos.com/network/subnets/10.5.37.0-24": "{}",
      "/coreos.com/network/subnets/web1": UDP,
      "/coreos.com/networks/other": "x",
    },
    ["/coreos.com/network/subnets/10.5.35.0-24"],
  );
  const found = parseDump(text, "/coreos.com/network");
  if (!found.ok) throw new Error(found.error);
  const { config, leases, strange } = found.value;
  expect(config).toEqual(JSON.parse(CONFIG));
  const words = leases.map(
    ({ backendType, hasIpv6, modRevision, publicIp, reserved, subnet }) =>
      `${subnet} ${publicIp} ${backendType} ${reserved} ${hasIpv6} ${modRevision}`,
  );
  expect(words).toEqual([
    "10.5.34.0/24 10.99.0.1 vxlan false false 2",
    "10.5.35.0/24 10.99.0.2 udp true false 3",
    "10.5.36.0/24 10.99.0.1 vxlan false true 4",
  ]);
  expect(strange).toEqual([
    "/coreos.com/network/subnets/10.5.37.0-24",
    "/coreos.com/network/subnets/web1",
  ]);
});

/** As a real flanneld left it; where it comes from is in the file. */
const REAL: { readonly udp: object; readonly vxlan: object } = JSON.parse(
  readFileSync(join(import.meta.dir, "../../../tests/vectors/flannel.json"), "utf8"),
);
for (const backend of ["udp", "vxlan"] as const) {
  test(`parseDump: what flanneld left with its ${backend} backend`, () => {
    const found = parseDump(JSON.stringify(REAL[backend]), "/coreos.com/network");
    if (!found.ok) throw new Error(found.error);
    const { config, leases, strange } = found.value;
    expect(config).toEqual({ Network: "10.5.0.0/16", Backend: { Type: backend } });
    expect(strange).toEqual([]);
    expect(leases.map(({ publicIp }): string => publicIp).sort()).toEqual([
      ...["192.168.77.11", "192.168.77.12", "192.168.77.13"],
    ]);
    for (const lease of leases) {
      expect(lease).toMatchObject({ backendType: backend, reserved: false, hasIpv6: false });
    }
  });
}

test("parseDump: numbers as the gateway writes them", () => {
  const kvs = [
    { key: base64("/n/config"), value: base64(CONFIG), mod_revision: "3" },
    { key: base64("/n/subnets/10.5.1.0-24"), value: base64(UDP), mod_revision: "4", lease: "0" },
    { key: base64("/n/subnets/10.5.2.0-24"), value: base64(UDP), mod_revision: "5", lease: "9" },
  ];
  const found = parseDump(JSON.stringify({ kvs, count: "3" }), "/n");
  expect(found).toMatchObject({
    value: {
      leases: [
        { reserved: true, modRevision: 4 },
        { reserved: false, modRevision: 5 },
      ],
    },
  });
});

const NOTHING: readonly { text: string; says: string }[] = [
  { text: "", says: "not a JSON object" },
  { text: '{"kvs":{}}', says: '"kvs" is not a list' },
  { text: "{}", says: "there is no key /n/config" },
  {
    text: dump({ "/kube/network/config": CONFIG }),
    says: "there is no key /n/config; there is one at /kube/network: --prefix",
  },
  { text: dump({ "/n/config": "10.5.0.0/16" }), says: "/n/config is not a JSON object" },
];
for (const { text, says } of NOTHING) {
  test(`parseDump: ${says}`, () => {
    const found = parseDump(text, "/n");
    expect(found).toMatchObject({ ok: false, error: expect.stringContaining(says) });
  });
}

test("parseDump: takes any JSON", () => {
  const pair = fc.record({
    key: fc.base64String(),
    value: fc.base64String(),
    lease: fc.jsonValue(),
  });
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), fc.record({ kvs: fc.array(pair) })), (value) => {
      parseDump(JSON.stringify(value), "");
    }),
    { seed: 3, numRuns: 300 },
  );
});
