import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fromHex, hexWords, staleBuffer } from "../../../tests/support/hex.ts";
import { parseAddress } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import {
  decodeInterfaceAddress,
  encodeAddressDelete,
  encodeAddressDump,
  encodeAddressReplace,
} from "./address.ts";

const link = { index: decodeLinkIndex(7), name: "overlay0" };
const v4 = { link, address: parseAddress("10.0.53.0")!, prefixLength: 32 };
const v6 = { link, address: parseAddress("fd00::35")!, prefixLength: 128 };

describe("golden bytes, accepted by Linux 6.18", () => {
  test("list the IPv6 addresses", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeAddressDump(out, 6, 3))).toBe(
      "18000000 16000103 03000000 00000000 0a000000 00000000",
    );
  });

  test("add or replace an IPv4 address", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeAddressReplace(out, v4, 3))).toBe(
      "28000000 14000505 03000000 00000000 " + // RTM_NEWADDR, REQUEST | ACK | CREATE | REPLACE
        "02200000 07000000 " + // AF_INET /32, scope global, index 7
        "08000200 0a003500 08000100 0a003500", // IFA_LOCAL, IFA_ADDRESS
    );
  });

  test("add or replace an IPv6 address, without duplicate detection", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeAddressReplace(out, v6, 3))).toBe(
      "48000000 14000505 03000000 00000000 0a800000 07000000 " +
        "14000200 fd000000 00000000 00000000 00000035 " +
        "14000100 fd000000 00000000 00000000 00000035 " +
        "08000800 02000000", // IFA_FLAGS IFA_F_NODAD
    );
  });

  test("delete", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeAddressDelete(out, v4, 3))).toBe(
      "28000000 15000500 03000000 00000000 02200000 07000000 08000200 0a003500 08000100 0a003500",
    );
  });

  test("a prefix length that the family lacks is our bug", () => {
    expect(() => encodeAddressReplace(staleBuffer(), { ...v4, prefixLength: 33 }, 1)).toThrow();
  });
});

describe("decodeInterfaceAddress", () => {
  const body = fromHex("02188000 07000000 08000200 c0a80102 08000100 c0a80109 08000800 81000000");

  test("IFA_LOCAL is ours on a point-to-point link; the wide flags count", () => {
    expect(decodeInterfaceAddress(body)).toEqual({
      link: link.index,
      address: parseAddress("192.168.1.2")!,
      prefixLength: 24,
      scope: "global",
      secondary: true,
    });
  });

  test("IPv6 has only IFA_ADDRESS; scopes by name", () => {
    const address = (scope: string) =>
      decodeInterfaceAddress(
        fromHex(`0a4080${scope} 03000000 14000100 fe800000 00000000 00000000 00000001`),
      );
    expect(address("fd")).toMatchObject({ scope: "link", secondary: false, prefixLength: 64 });
    expect(String(address("fd")?.address)).toBe("fe80::1");
    expect(address("00")?.scope).toBe("global");
    expect(address("c8")?.scope).toBe("global");
    expect(address("fe")?.scope).toBe("host");
  });

  const senseless = {
    "an address of the wrong size": "0a400000 07000000 08000100 c0a80102",
    "a prefix length past the family's": "02210000 07000000 08000100 c0a80102",
    "a family that we do not speak": "1c200000 07000000 08000100 c0a80102",
    "no address at all": "02200000 07000000",
    "no link": "02200000 00000000 08000100 c0a80102",
  };
  for (const [why, bytes] of Object.entries(senseless)) {
    test(`${why}: undefined`, () => expect(decodeInterfaceAddress(fromHex(bytes))).toBeUndefined());
  }

  test("cut at every length and with any byte changed: never an exception", () => {
    for (let length = 0; length < body.length; length++) {
      decodeInterfaceAddress(body.subarray(0, length));
    }
    fc.assert(
      fc.property(fc.nat(body.length - 1), fc.nat(255), (position, value) => {
        const bytes = body.slice();
        bytes[position] = value;
        const address = decodeInterfaceAddress(bytes);
        if (address !== undefined) expect(address.prefixLength).toBeLessThanOrEqual(128);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => void decodeInterfaceAddress(bytes)),
    );
  });
});
