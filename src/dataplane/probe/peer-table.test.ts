import { describe, expect, test } from "bun:test";
import { parseAddress } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import { addressWords } from "../fib/table.ts";
import { encodePeerTable, PeerTableView, type ProbePeer } from "./peer-table.ts";

function peer(id: number, address: string, port = 8285): ProbePeer {
  return { peer: decodeNodeId(id), endpoint: { address: parseAddress(address)!, port } };
}

function words(address: string): Uint32Array {
  return Uint32Array.from([9, ...addressWords(parseAddress(address)!)]);
}

describe("PeerTableView", () => {
  const self = decodeNodeId(2 ** 52 + 5);
  const view = new PeerTableView(
    encodePeerTable(self, [
      peer(2 ** 53 - 1, "192.0.2.1"),
      undefined,
      undefined,
      peer(7, "2001:db8::7", 9000),
      peer(8, "255.255.255.255"),
    ]),
  );

  test("who we are, who is where", () => {
    expect([view.self, view.slotCount]).toEqual([2 ** 52 + 5, 5]);
    expect(view.slotAt(words("192.0.2.1"), 1)).toBe(0);
    expect(view.slotAt(words("2001:db8::7"), 1)).toBe(3);
    expect(view.slotAt(words("255.255.255.255"), 1)).toBe(4);
    expect([view.node(0), view.node(3), view.port(3)]).toEqual([2 ** 53 - 1, 7, 9000]);
    const out = new Uint32Array(5);
    view.copyEndpoint(0, out, 1);
    expect([...out]).toEqual([0, 0, 0, 0xffff, 0xc0000201]);
  });

  test("strangers: another address, a slot of nobody", () => {
    expect(view.slotAt(words("192.0.2.2"), 1)).toBe(-1);
    expect([view.has(0), view.has(1), view.has(5), view.has(-1)]).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  test("the empty table knows nobody, and not who it is of", () => {
    const empty = new PeerTableView(encodePeerTable(undefined, []));
    expect([empty.self, empty.slotAt(words("192.0.2.1"), 1)]).toEqual([0, -1]);
  });
});
