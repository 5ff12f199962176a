import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseAddress, parseMac, parsePrefix } from "../../base/address.ts";
import { decodeNodeId, decodeRevision } from "../../base/ids.ts";
import type { KeyValue } from "../kv/types.ts";
import { leaseKey } from "./keys.ts";
import {
  decodeLease,
  encodeLease,
  type Lease,
  type LeaseBackend,
  parseAttributes,
} from "./lease.ts";
import { BACKEND_DATA_SIZE_MAX_BYTES } from "./limits.ts";

const SUBNET = parsePrefix("10.0.53.0/24")!;

function pair(value: Uint8Array | string, key = leaseKey(SUBNET)): KeyValue {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  const [createRevision, modRevision] = [decodeRevision(3), decodeRevision(9)];
  return { key, value: bytes, createRevision, modRevision, version: 2 };
}

function lease(backend: LeaseBackend, publicIpv6: string | null = null): Lease {
  return {
    subnet: SUBNET,
    node: decodeNodeId(0xabc),
    state: "held",
    attributes: {
      publicIp: parseAddress("192.0.2.7")!,
      publicIpv6: publicIpv6 === null ? null : parseAddress(publicIpv6)!,
      backend,
    },
    epoch: decodeRevision(9),
    grantRevision: decodeRevision(3),
    ttlSeconds: 60,
    modRevision: decodeRevision(9),
  };
}

const KEY = { epoch: 2, publicKey: "0a".repeat(32) };
const OLD_KEY = { epoch: 1, publicKey: "ff".repeat(32) };

const WAYS = {
  direct: true,
  vxlan: { vni: 1, mac: parseMac("02:00:00:00:00:07")!, port: 8472 },
};

describe("encodeLease and decodeLease", () => {
  const rows: { some: Lease; why: string }[] = [
    { some: lease({ kind: "udp", port: 8285, partialChecksum: true }), why: "udp" },
    { some: lease({ kind: "udp", port: 1, partialChecksum: false }, "2001:db8::1"), why: "IPv6" },
    {
      some: lease({ kind: "udp", port: 1, partialChecksum: true, sealKeys: [KEY, OLD_KEY] }),
      why: "keys for sealed packets",
    },
    ...[WAYS, { ...WAYS, vxlan: null }, { ...WAYS, direct: false }].map((ways) => ({
      some: lease({ kind: "udp", port: 1, partialChecksum: true, ways }),
      why: `ways to choose from, ${JSON.stringify(ways)}`,
    })),
    {
      some: lease({ kind: "other", type: "vxlan", data: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" } }),
      why: "a backend of a newer version",
    },
    { some: lease({ kind: "other", type: "host-gw", data: null }), why: "one without data" },
    {
      some: { ...lease({ kind: "other", type: "x", data: [1] }), state: "expired" },
      why: "expired",
    },
  ];
  for (const { some, why } of rows) {
    test(`round trip: ${why}`, () => {
      expect(decodeLease(pair(encodeLease(some)))).toEqual(some);
    });
  }

  const ours = '"Node":"00000000000abc","State":"held","Epoch":9,"GrantRevision":3,"TTLSeconds":60';
  test("a record with flannel's attributes, and keys of a newer version, is understood", () => {
    const text = `{"PublicIP":"192.0.2.7","PublicIPv6":null,${ours},"Zone":"a"}`;
    expect(decodeLease(pair(text))).toEqual(
      lease({ kind: "udp", port: 8285, partialChecksum: false }),
    );
  });

  test("keys that are not to be understood count as none", () => {
    const keys = [[{ Epoch: 1, PublicKey: "x" }], "key", [1], [{ Epoch: 0 }]];
    for (const SealKeys of keys) {
      const data = JSON.stringify({ Port: 8285, SealKeys });
      const text = `{"PublicIP":"192.0.2.7","BackendType":"udp","BackendData":${data},${ours}}`;
      expect(decodeLease(pair(text))?.attributes.backend).toEqual({
        kind: "udp",
        port: 8285,
        partialChecksum: false,
      });
    }
  });

  test("ways that are not to be understood are none", () => {
    for (const ways of [
      { Direct: "yes" },
      { VNI: 1, VtepMAC: "02:00:00:00:00:07" },
      { VNI: 0, VtepMAC: "02:00:00:00:00:07", VxlanPort: 8472 },
      { VNI: 1, VtepMAC: "02:00:00:00:00:0A", VxlanPort: 8472 },
    ]) {
      const data = JSON.stringify({ Port: 1, ...ways });
      const text = `{"PublicIP":"192.0.2.7","BackendType":"udp","BackendData":${data},${ours}}`;
      const backend = { kind: "udp" as const, port: 1, partialChecksum: false };
      expect(decodeLease(pair(text))?.attributes.backend).toEqual(backend);
    }
  });

  test("with ways to choose from, a lease is still one of the udp backend", () => {
    const made = lease({ kind: "udp", port: 1, partialChecksum: true, ways: WAYS });
    expect(JSON.parse(new TextDecoder().decode(encodeLease(made)))).toMatchObject({
      BackendType: "udp",
      BackendData: {
        ...{ Port: 1, PartialChecksum: true },
        ...{ Direct: true, VNI: 1, VtepMAC: "02:00:00:00:00:07", VxlanPort: 8472 },
      },
    });
  });

  for (const [text, why] of [
    ["", "nothing"],
    ["{", "broken JSON"],
    ["[]", "no object"],
    ['{"PublicIP":"192.0.2.7"}', "flannel's own lease has no node"],
    [`{"PublicIP":"192.0.2.777",${ours}}`, "an address that is none"],
    [`{"PublicIP":"2001:DB8::1",${ours}}`, "an address in another spelling"],
    [`{"PublicIP":"192.0.2.7",${ours.replace("held", "lost")}}`, "an unknown state"],
    [`{"PublicIP":"192.0.2.7",${ours.replace(":9", ":-9")}}`, "a negative epoch"],
    [`{"PublicIP":"192.0.2.7","BackendType":7,${ours}}`, "a type that is no text"],
  ] as const) {
    test(`not understood: ${why}`, () => expect(decodeLease(pair(text))).toBeUndefined());
  }

  test("not understood: a key that is no subnet's", () => {
    const value = encodeLease(lease({ kind: "udp", port: 1, partialChecksum: false }));
    for (const name of ["10.0.53.0", "10.0.53.1-24", "10.0.053.0-24", "x-24", "-", ""]) {
      expect(decodeLease(pair(value, `/overlay/network/subnets/${name}`))).toBeUndefined();
    }
  });

  test("never throws", () => {
    const bytes = fc.oneof(
      fc.uint8Array(),
      fc.json().map((json) => new TextEncoder().encode(json)),
    );
    fc.assert(
      fc.property(bytes, (value) => {
        decodeLease(pair(value));
      }),
      { seed: 8, numRuns: 500 },
    );
  });
});

describe("parseAttributes", () => {
  const good = {
    publicIp: "192.0.2.7",
    publicIpv6: null,
    backend: { kind: "other", type: "x", data: {} },
  };
  const rows: { change: object; ok: boolean; why: string }[] = [
    { change: {}, ok: true, why: "as it should be" },
    { change: { publicIpv6: "2001:db8::1" }, ok: true, why: "with IPv6" },
    { change: { publicIpv6: "192.0.2.7" }, ok: false, why: "IPv4 in the place of IPv6" },
    { change: { publicIp: undefined }, ok: false, why: "without an address" },
    { change: { publicIp: "192.0.02.7" }, ok: false, why: "another spelling" },
    { change: { backend: null }, ok: false, why: "without a backend" },
    {
      change: { backend: { kind: "udp", port: 0, partialChecksum: true } },
      ok: false,
      why: "port 0",
    },
    {
      change: { backend: { kind: "udp", port: 8285 } },
      ok: false,
      why: "half of the udp backend",
    },
    ...[
      { sealKeys: [KEY, OLD_KEY], ok: true, why: "with keys" },
      { sealKeys: [{ ...KEY, epoch: 0 }], ok: false, why: "a key without an epoch" },
      { sealKeys: [{ ...KEY, publicKey: "0A".repeat(32) }], ok: false, why: "upper-case digits" },
      { sealKeys: [{ ...KEY, publicKey: "0a".repeat(31) }], ok: false, why: "a short key" },
      { sealKeys: [KEY, KEY, KEY, KEY, KEY], ok: false, why: "too many keys" },
      { sealKeys: "key", ok: false, why: "keys that are none" },
    ].map(({ sealKeys, ok, why }) => ({
      change: { backend: { kind: "udp", port: 8285, partialChecksum: true, sealKeys } },
      ok,
      why,
    })),
    ...[
      { ways: WAYS, ok: true, why: "with ways" },
      { ways: { direct: true, vxlan: null }, ok: true, why: "with one way" },
      { ways: { direct: false, vxlan: null }, ok: false, why: "with none, said at length" },
      { ways: { vxlan: WAYS.vxlan }, ok: false, why: "half of the ways" },
      { ways: { direct: true, vxlan: { ...WAYS.vxlan, vni: 2 ** 24 } }, ok: false, why: "a VNI" },
      { ways: { direct: true, vxlan: { ...WAYS.vxlan, mac: "x" } }, ok: false, why: "no MAC" },
      { ways: "vxlan", ok: false, why: "ways that are none" },
    ].map(({ ways, ok, why }) => ({
      change: { backend: { kind: "udp", port: 8285, partialChecksum: true, ways } },
      ok,
      why,
    })),
    {
      change: { backend: { kind: "other", type: "udp", data: null } },
      ok: false,
      why: "udp under another name",
    },
    {
      change: { backend: { kind: "other", type: "x".repeat(33), data: null } },
      ok: false,
      why: "a type over its limit",
    },
    {
      change: {
        backend: { kind: "other", type: "x", data: "y".repeat(BACKEND_DATA_SIZE_MAX_BYTES) },
      },
      ok: false,
      why: "data over its limit",
    },
    {
      change: { backend: { kind: "other", type: "x", data: new Uint8Array(1) } },
      ok: false,
      why: "data that is no JSON",
    },
  ];
  for (const { change, ok, why } of rows) {
    test(`${ok ? "taken" : "refused"}: ${why}`, () => {
      expect(parseAttributes({ ...good, ...change }) !== undefined).toBe(ok);
    });
  }
});
