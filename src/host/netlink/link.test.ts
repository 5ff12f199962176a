import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fromHex, hexWords, staleBuffer } from "../../../tests/support/hex.ts";
import { parseAddress, parseMac } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import {
  decodeLink,
  encodeLinkAdd,
  encodeLinkChange,
  encodeLinkDelete,
  encodeLinkDump,
} from "./link.ts";

const index = decodeLinkIndex(7);

/** RTM_NEWLINK of a TUN as Linux 6.18 sent it, without the attributes that are not read. */
const TUN = fromHex(`
  00 00 fe ff 07000000 90100100 00000000
  0d000300 6f766572 6c617930 00000000
  08000d00 e8030000
  08000400 c0050000
  08002900 30f20000
  0c001200 08000100 74756e00`);

describe("golden bytes, accepted by Linux 6.18", () => {
  test("list the links without their statistics", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeLinkDump(out, 1))).toBe(
      "28000000 12000103 01000000 00000000 " + // RTM_GETLINK, REQUEST | DUMP
        "00000000 00000000 00000000 00000000 " +
        "08001d00 08000000", // IFLA_EXT_MASK RTEXT_FILTER_SKIP_STATS
    );
  });

  test("set up, MTU, queue length and largest super-packet in one request", () => {
    const out = staleBuffer();
    const change = { index, up: true, mtu: 1472, txQueueLength: 1000, gsoMaxSize: 62_000 };
    expect(hexWords(out, encodeLinkChange(out, change, 2))).toBe(
      "38000000 10000500 02000000 00000000 " + // RTM_NEWLINK, REQUEST | ACK: nothing is created
        "00000000 07000000 01000000 01000000 " + // index 7, IFF_UP of mask IFF_UP
        "08000400 c0050000 08000d00 e8030000 08002900 30f20000",
    );
  });

  test("set down", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeLinkChange(out, { index, up: false }, 2))).toBe(
      "20000000 10000500 02000000 00000000 00000000 07000000 00000000 01000000",
    );
  });

  test("rename, flags untouched", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeLinkChange(out, { index, name: "ovt1" }, 2))).toBe(
      "2c000000 10000500 02000000 00000000 00000000 07000000 00000000 00000000 " +
        "09000300 6f767431 00000000",
    );
  });

  test("delete", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeLinkDelete(out, index, 3))).toBe(
      "20000000 11000500 03000000 00000000 00000000 07000000 00000000 00000000",
    );
  });
});

const settings = {
  vni: 1,
  port: 8472,
  underlay: decodeLinkIndex(3),
  local: parseAddress("192.168.1.5")!,
  learning: false,
  gbp: true,
};
const mac = parseMac("02:00:00:00:00:01")!;
const vxlan = { kind: "vxlan", name: "overlay.1", mac, mtu: 1450, vxlan: settings } as const;

test("a VXLAN link as iproute2 6.1 makes it, by strace: the same attributes", () => {
  const out = staleBuffer();
  const length = encodeLinkAdd(out, vxlan, 2);
  expect(hexWords(out, length)).toBe(
    "84000000 10000506 02000000 00000000 00000000 00000000 00000000 00000000 " +
      "0e000300 6f766572 6c61792e 31000000 0a000100 02000000 00010000 08000400 aa050000 " +
      "40001280 0a000100 76786c61 6e000000 30000280 " + // iproute2: no NUL, no "nested" flag
      "08000100 01000000 08000300 03000000 08000400 c0a80105 05000700 00000000 " +
      "06000f00 21180000 04001700",
  );
});

test("decodeLink: what was encoded for a VXLAN link says the same", () => {
  const out = staleBuffer();
  const length = encodeLinkAdd(out, vxlan, 2);
  const body = new Uint8Array(out.buffer, 16, length - 16).slice();
  body[4] = 7;
  expect(decodeLink(body)).toMatchObject({ ...vxlan, index });
  for (let size = 0; size < body.length; size++) decodeLink(body.subarray(0, size));
  fc.assert(
    fc.property(fc.nat(body.length - 1), fc.nat(255), (at, value) => {
      const bytes = body.slice();
      bytes[at] = value;
      decodeLink(bytes);
    }),
  );
});

describe("decodeLink", () => {
  test("a TUN that is down", () => {
    expect(decodeLink(TUN)).toEqual({
      index,
      name: "overlay0",
      kind: "tun",
      up: false,
      loopback: false,
      mtu: 1472,
      txQueueLength: 1000,
      gsoMaxSize: 62_000,
      mac: undefined,
    });
  });

  test("a loopback: flags, MAC, no kind, no size", () => {
    const body = fromHex(`
      00 00 0403 01000000 49000100 00000000
      07000300 6c6f0000 08000400 00000100 0a000100 00000000 00000000`);
    expect(decodeLink(body)).toMatchObject({ name: "lo", up: true, loopback: true, mtu: 65_536 });
    expect(decodeLink(body)).toMatchObject({ kind: undefined, gsoMaxSize: undefined });
    expect(String(decodeLink(body)?.mac)).toBe("00:00:00:00:00:00");
  });

  test("without a name, an MTU or a positive index it is no link", () => {
    expect(decodeLink(fromHex("00000000 07000000 00000000 00000000"))).toBeUndefined();
    const noMtu = TUN.slice(0, 32);
    expect(decodeLink(noMtu)).toBeUndefined();
    const negative = TUN.slice();
    negative[7] = 0xff;
    expect(decodeLink(negative)).toBeUndefined();
  });

  test("cut at every length and with any byte changed: undefined or a link, never an exception", () => {
    for (let length = 0; length < TUN.length; length++) decodeLink(TUN.subarray(0, length));
    fc.assert(
      fc.property(fc.nat(TUN.length - 1), fc.nat(255), (position, value) => {
        const bytes = TUN.slice();
        bytes[position] = value;
        const link = decodeLink(bytes);
        if (link !== undefined) expect(link.index).toBeGreaterThan(0);
      }),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => void decodeLink(bytes)));
  });
});
