import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fromHex, hexWords, staleBuffer } from "../../../tests/support/hex.ts";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import {
  decodeRoute,
  decodeWay,
  encodeRouteAdd,
  encodeRouteDelete,
  encodeRouteDump,
  encodeRouteGet,
  encodeRouteReplace,
} from "./route.ts";

const index = decodeLinkIndex(7);
const network = {
  destination: parsePrefix("10.0.0.0/16")!,
  link: { index, name: "overlay0" },
  gateway: undefined,
  onlink: false,
  table: 254,
  metric: 0,
  protocol: 85,
};
const via = { ...network, gateway: parseAddress("192.168.1.2")!, onlink: true, metric: 9 };

describe("golden bytes, accepted by Linux 6.18", () => {
  const table: {
    readonly encode: (out: DataView) => number;
    readonly bytes: string;
    readonly why: string;
  }[] = [
    {
      why: "list the routes of one protocol in one table",
      encode: (out) => encodeRouteDump(out, { family: 4, protocol: 85, table: 254 }, 3),
      bytes: "24000000 1a000103 03000000 00000000 02000000 00550000 00000000 08000f00 fe000000",
    },
    {
      why: "list every IPv6 route",
      encode: (out) => encodeRouteDump(out, { family: 6, protocol: 0, table: 0 }, 3),
      bytes: "1c000000 1a000103 03000000 00000000 0a000000 00000000 00000000",
    },
    {
      why: "look up the way to an address",
      encode: (out) => encodeRouteGet(out, parseAddress("8.8.8.8")!, 3),
      bytes: "24000000 1a000100 03000000 00000000 02200000 00000000 00000000 08000100 08080808",
    },
    {
      why: "add (CREATE | EXCL) a route into a link: scope link, our protocol, unicast",
      encode: (out) => encodeRouteAdd(out, network, 3),
      bytes:
        "3c000000 18000506 03000000 00000000 02100000 0055fd01 00000000 " +
        "08000100 0a000000 08000400 07000000 08000600 00000000 08000f00 fe000000",
    },
    {
      why: "replace (CREATE | REPLACE) a route through an onlink gateway: scope global",
      encode: (out) => encodeRouteReplace(out, via, 3),
      bytes:
        "44000000 18000505 03000000 00000000 02100000 00550001 04000000 08000100 0a000000 " +
        "08000400 07000000 08000500 c0a80102 08000600 09000000 08000f00 fe000000",
    },
    {
      why: "add an IPv6 route: no scope",
      encode: (out) => {
        const destination = parsePrefix("fd00::/48")!;
        return encodeRouteAdd(out, { ...network, destination, metric: 1024 }, 3);
      },
      bytes:
        "48000000 18000506 03000000 00000000 0a300000 00550001 00000000 " +
        "14000100 fd000000 00000000 00000000 00000000 " +
        "08000400 07000000 08000600 00040000 08000f00 fe000000",
    },
    {
      why: "delete by all that the kernel can match",
      encode: (out) => encodeRouteDelete(out, { ...via, link: index }, 3),
      bytes:
        "44000000 19000500 03000000 00000000 02100000 0055ff01 00000000 08000100 0a000000 " +
        "08000400 07000000 08000500 c0a80102 08000600 09000000 08000f00 fe000000",
    },
    {
      why: "delete a route that leads to no link",
      encode: (out) => encodeRouteDelete(out, { ...network, link: undefined }, 3),
      bytes:
        "34000000 19000500 03000000 00000000 02100000 0055ff01 00000000 " +
        "08000100 0a000000 08000600 00000000 08000f00 fe000000",
    },
  ];
  for (const { bytes, encode, why } of table) {
    test(why, () => {
      const out = staleBuffer();
      expect(hexWords(out, encode(out))).toBe(bytes);
    });
  }

  test("a gateway of the other family is our bug", () => {
    const gateway = parseAddress("fd00::1")!;
    expect(() => encodeRouteAdd(staleBuffer(), { ...network, gateway }, 1)).toThrow("family");
  });
});

describe("decodeRoute", () => {
  test("what is encoded comes back, the link by number", () => {
    for (const route of [network, via]) {
      const out = staleBuffer();
      const length = encodeRouteAdd(out, route, 1);
      const { destination, gateway, metric, onlink, protocol, table } = route;
      expect(decodeRoute(new Uint8Array(out.buffer, 16, length - 16))).toEqual({
        destination,
        table,
        protocol,
        metric,
        unicast: true,
        link: index,
        gateway,
        onlink,
      });
    }
  });

  test("a default route has no destination attribute", () => {
    const route = decodeRoute(
      fromHex("02000000 fe030001 00000000 08000f00 fe000000 08000500 c0a80901 08000400 03000000"),
    );
    expect(route).toMatchObject({ protocol: 3, metric: 0, unicast: true });
    expect(String(route?.destination)).toBe("0.0.0.0/0");
    expect(String(route?.gateway)).toBe("192.168.9.1");
  });

  test("the table in the header counts when the attribute is missing", () => {
    expect(decodeRoute(fromHex("02000000 fe030001 00000000"))?.table).toBe(254);
  });

  test("several next hops: the first one's link, gateway and flags", () => {
    const hops = "24000900 10000400 03000000 08000500 c0a80901 10000000 04000000 08000500 c0a80a01";
    const route = decodeRoute(fromHex(`02100000 fe030001 00000000 08000100 0a000000 ${hops}`));
    expect(route).toMatchObject({ link: decodeLinkIndex(3), onlink: true });
    expect(String(route?.gateway)).toBe("192.168.9.1");
  });

  test("a blackhole leads to no link and is not unicast", () => {
    const route = decodeRoute(fromHex("02100000 fe030006 00000000 08000100 0a000000"));
    expect(route).toMatchObject({ unicast: false, link: undefined, gateway: undefined });
  });

  const senseless = {
    "a cached clone": "0a800000 fe030001 00020000 14000100 fd000000 00000000 00000000 00000001",
    "a destination of the wrong size": "0a300000 fe030001 00000000 08000100 0a000000",
    "a length without a destination": "02100000 fe030001 00000000",
    "a length past the family's": "02210000 fe030001 00000000 08000100 0a000000",
    "a family that we do not speak": "80000000 fe030001 00000000",
  };
  for (const [why, bytes] of Object.entries(senseless)) {
    test(`${why}: undefined`, () => expect(decodeRoute(fromHex(bytes))).toBeUndefined());
  }

  test("cut at every length and with any byte changed: never an exception", () => {
    const out = staleBuffer();
    const body = new Uint8Array(out.buffer, 16, encodeRouteAdd(out, via, 1) - 16).slice();
    for (let length = 0; length < body.length; length++) {
      decodeRoute(body.subarray(0, length));
      decodeWay(body.subarray(0, length));
    }
    fc.assert(
      fc.property(fc.nat(body.length - 1), fc.nat(255), (position, value) => {
        const bytes = body.slice();
        bytes[position] = value;
        decodeRoute(bytes);
        decodeWay(bytes);
      }),
    );
    const header = fromHex("02200000 fe030001 00000000");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (tail) => {
        const bytes = new Uint8Array([...header, ...tail]);
        decodeRoute(bytes);
        decodeWay(bytes);
      }),
    );
  });
});

describe("decodeWay", () => {
  const answer = "02200000 fe000001 00000000 08000400 03000000";

  test("link, gateway and source", () => {
    const way = decodeWay(fromHex(`${answer} 08000700 c0a80902 08000500 c0a80901`));
    expect(way).toEqual({
      link: decodeLinkIndex(3),
      gateway: parseAddress("192.168.9.1")!,
      source: parseAddress("192.168.9.2")!,
    });
  });

  test("on the link's own segment: no gateway", () => {
    expect(decodeWay(fromHex(answer))).toMatchObject({ gateway: undefined });
  });

  test("an address of this machine (a local route) is no way out", () => {
    const local = "02200000 ff000002 00000000 08000400 01000000";
    expect(decodeWay(fromHex(local))).toBeUndefined();
  });
});
