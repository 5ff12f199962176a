import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fromHex, hexWords, staleBuffer } from "../../../tests/support/hex.ts";
import { parseAddress, parseMac } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import { decodeAttributes } from "./attribute.ts";
import {
  decodeFdbEntry,
  decodeNeighbour,
  encodeFdbDelete,
  encodeFdbReplace,
  encodeNeighbourDelete,
  encodeNeighbourDump,
  encodeNeighbourReplace,
} from "./neighbour.ts";

const index = decodeLinkIndex(4);
const link = { index, name: "overlay.1" };
const mac = parseMac("02:00:00:00:00:07")!;
const address = parseAddress("10.0.7.0")!;
const endpoint = parseAddress("192.168.1.6")!;

describe("golden bytes, accepted by Linux 6.18", () => {
  const table = [
    {
      why: "list the IPv4 neighbours of one link",
      encode: (out: DataView) => encodeNeighbourDump(out, { family: 4, link: index }, 3),
      bytes: "24000000 1e000103 03000000 00000000 02000000 00000000 00000000 08000800 04000000",
    },
    {
      why: "list the FDB of one link: the family of bridges",
      encode: (out: DataView) => encodeNeighbourDump(out, { family: "fdb", link: index }, 3),
      bytes: "24000000 1e000103 03000000 00000000 07000000 00000000 00000000 08000800 04000000",
    },
    {
      why: "a permanent IPv6 neighbour",
      encode: (out: DataView) =>
        encodeNeighbourReplace(out, { link, mac, address: parseAddress("fd00::7")! }, 3),
      bytes:
        "3c000000 1c000505 03000000 00000000 0a000000 04000000 80000000 " +
        "14000100 fd000000 00000000 00000000 00000007 0a000200 02000000 00070000",
    },
    {
      why: "delete an FDB entry with all its endpoints",
      encode: (out: DataView) => encodeFdbDelete(out, { link, mac }, 3),
      bytes:
        "28000000 1d000500 03000000 00000000 07000000 04000000 00000200 0a000200 02000000 00070000",
    },
  ];
  for (const { bytes, encode, why } of table) {
    test(why, () => {
      const out = staleBuffer();
      expect(hexWords(out, encode(out))).toBe(bytes);
    });
  }
});

/**
 * The bodies of iproute2 6.1's requests, seen by `strace -e write=3` in a namespace with a VXLAN
 * link of index 4; attributes may come in another order.
 */
describe("the same as iproute2", () => {
  const table = [
    {
      why: "ip neigh replace 10.0.7.0 lladdr 02:00:00:00:00:07 dev overlay.1 nud permanent",
      encode: (out: DataView) => encodeNeighbourReplace(out, { link, address, mac }, 3),
      body: "02000000 04000000 80000000 08000100 0a000700 0a000200 02000000 00070000",
    },
    {
      why: "ip neigh del 10.0.7.0 dev overlay.1, whose state the kernel does not look at",
      encode: (out: DataView) => encodeNeighbourDelete(out, { link, address }, 3),
      body: "02000000 04000000 00000000 08000100 0a000700",
    },
    {
      why: "bridge fdb replace 02:… dev overlay.1 dst 192.168.1.6 self permanent, without NOARP",
      encode: (out: DataView) => encodeFdbReplace(out, { link, mac, endpoint }, 3),
      body: "07000000 04000000 80000200 0a000200 02000000 00070000 08000100 c0a80106",
    },
  ];
  for (const { body, encode, why } of table) {
    test(why, () => {
      const out = staleBuffer();
      const length = encode(out);
      const ours = new Uint8Array(out.buffer, 16, length - 16);
      const theirs = fromHex(body);
      expect(ours.slice(0, 12)).toEqual(theirs.slice(0, 12));
      const attributes = (bytes: Uint8Array) => [...decodeAttributes(bytes.slice(12))!].sort();
      expect(attributes(ours)).toEqual(attributes(theirs));
    });
  }
});

describe("decode what Linux 6.18 sent to iproute2", () => {
  const neighbour = fromHex(`
    02000000 04000000 80000001 08000100 0a000700 0a000200 02000000 00070000 08000400 00000000
    14000300 18000000 18000000 18000000 00000000`);
  const multicast = fromHex(`
    0a000000 04000000 40000005 14000100 ff020000 00000000 00000000 00000016
    0a000200 33330000 00160000 08000400 00000000 14000300 90170000 20000000 20000000 00000000`);
  const entry = fromHex(`
    07000000 04000000 c0000201 0a000200 02000000 00070000 08000100 c0a80106
    14000300 00000000 12000000 12000000 00000000`);

  test("a permanent neighbour, and none that the kernel made of its own accord", () => {
    expect(decodeNeighbour(neighbour)).toEqual({ link: index, address, mac });
    expect(decodeNeighbour(multicast)).toBeUndefined();
    expect(decodeNeighbour(entry)).toBeUndefined();
  });

  test("an FDB entry", () => {
    expect(decodeFdbEntry(entry)).toEqual({ link: index, mac, endpoint });
    expect(decodeFdbEntry(neighbour)).toBeUndefined();
  });

  test("a learned entry, and one of a link below 1, is none", () => {
    const learned = entry.slice();
    learned[8] = 0x02;
    const nowhere = entry.slice();
    nowhere.fill(0, 4, 8);
    expect([learned, nowhere].map(decodeFdbEntry)).toEqual([undefined, undefined]);
  });

  test("cut at every length and with any byte changed: undefined or an entry, no exception", () => {
    for (const bytes of [neighbour, multicast, entry]) {
      for (let length = 0; length < bytes.length; length++) {
        decodeNeighbour(bytes.subarray(0, length));
        decodeFdbEntry(bytes.subarray(0, length));
      }
    }
    fc.assert(
      fc.property(fc.constantFrom(neighbour, entry), fc.nat(51), fc.nat(255), (all, at, value) => {
        const bytes = all.slice();
        bytes[at] = value;
        for (const decode of [decodeNeighbour, decodeFdbEntry]) {
          const decoded = decode(bytes);
          if (decoded !== undefined) expect(decoded.link).toBeGreaterThan(0);
        }
      }),
    );
  });
});
