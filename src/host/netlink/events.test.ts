import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fromHex } from "../../../tests/support/hex.ts";
import { parsePrefix } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type { KernelChange } from "../kernel-ports.ts";
import { decodeChange } from "./events.ts";

const index = decodeLinkIndex(7);
const event = (type: number, body: string) =>
  decodeChange({ type, flags: 0, sequence: 0, body: fromHex(body) });

describe("decodeChange", () => {
  const link = "00000000 07000000 00000000 00000000 09000300 6f767431 00000000 08000400 c0050000";
  const address = "02200000 07000000 08000200 0a003500";
  const route = "02100000 0055fd01 00000000 08000100 0a000000 08000400 07000000";
  const table: { type: number; body: string; change: KernelChange; why: string }[] = [
    { type: 16, body: link, change: { kind: "link", link: { index, name: "ovt1" } }, why: "link" },
    { type: 17, body: link, change: { kind: "link", link: { index, name: "ovt1" } }, why: "gone" },
    { type: 20, body: address, change: { kind: "address", link: index }, why: "address" },
    { type: 21, body: address, change: { kind: "address", link: index }, why: "address gone" },
    {
      type: 25,
      body: route,
      change: {
        kind: "route",
        destination: parsePrefix("10.0.0.0/16")!,
        link: index,
        protocol: 85,
      },
      why: "route gone",
    },
    {
      type: 28,
      body: "02000000 07000000 02000001",
      change: { kind: "neighbour", link: index },
      why: "neighbour",
    },
    {
      type: 80,
      body: "02000000 08000100 07000000",
      change: { kind: "settings", link: index },
      why: "settings of one link",
    },
    {
      type: 80,
      body: "02000000 08000100 ffffffff",
      change: { kind: "settings", link: undefined },
      why: "settings of all links",
    },
  ];
  for (const { body, change, type, why } of table) {
    test(why, () => expect(event(type, body)).toEqual(change));
  }

  test("unknown types and any bytes: undefined or a change, never an exception", () => {
    expect(event(52, link)).toBeUndefined();
    const types = fc.constantFrom(16, 17, 20, 21, 24, 25, 28, 29, 80, 81, 99);
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 64 }), (type, body) => {
        decodeChange({ type, flags: 0, sequence: 0, body });
      }),
    );
  });
});
