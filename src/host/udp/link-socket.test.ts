import { describe, expect, test } from "bun:test";
import { networkTest, sh } from "../../../tests/support/network-test.ts";
import { parseAddress } from "../../base/address.ts";
import { HostError } from "../../base/host-error.ts";
import { LinkSocket } from "./link-socket.ts";

const EMSGSIZE = 90;
const PORT = 8285;
const address = (text: string) => parseAddress(text)!;

const CABLE = `
  ip link set lo up
  ip link add a0 mtu 1400 type veth peer name a1 mtu 1400
  ip link add b0 type veth peer name b1
  for link in a0 a1 b0 b1; do ip link set $link up; done
`;

describe("LinkSocket", () => {
  networkTest("asks by its own link, though another route is better", () => {
    sh(`${CABLE}
      ip addr add 10.0.1.0/32 dev a0
      ip route add 10.0.2.0/24 dev b0
      ip route add 10.0.2.0/24 dev a0 metric 1
      ip neigh add 10.0.2.0 lladdr 02:00:00:00:00:01 dev a0
      ip neigh add 10.0.2.0 lladdr 02:00:00:00:00:02 dev b0`);
    const sent = (link: string) =>
      Number(/TX:.*\n\s*\d+\s+(\d+)/.exec(sh(`ip -s link show dev ${link}`))?.[1]);
    const from = { address: address("10.0.1.0"), port: PORT, sizeMax: 2000 };
    using second = new LinkSocket({ ...from, link: "a0" });
    using first = new LinkSocket({ ...from, link: "b0" });
    const before = [sent("a0"), sent("b0")];
    for (let i = 0; i < 50; i++) second.send(100, address("10.0.2.0"), PORT);
    const after = [sent("a0"), sent("b0")];
    expect(after[0]! - before[0]!).toBeGreaterThanOrEqual(50);
    expect(after[1]! - before[1]!).toBeLessThan(50);
    expect(first.send(100, address("10.0.2.0"), PORT)).toBe(0);
    // What does not fit the link is refused, not cut into fragments.
    expect(second.send(1400 - 27, address("10.0.2.0"), PORT)).toBe(EMSGSIZE);
    expect(second.send(1400 - 28, address("10.0.2.0"), PORT)).toBe(0);
  });

  networkTest("knows whether its link is still there", () => {
    sh("ip link set lo up; ip link add a0 type bridge; ip link add b0 type bridge");
    const options = { address: address("127.0.0.1"), port: PORT, sizeMax: 9 };
    using a = new LinkSocket({ ...options, link: "a0" });
    using b = new LinkSocket({ ...options, link: "b0" });
    expect([a.isOfLink(), b.isOfLink()]).toEqual([true, true]);
    sh("ip link del a0; ip link add a0 type bridge; ip link set b0 name c0");
    expect([a.isOfLink(), b.isOfLink()]).toEqual([false, false]);
  });

  for (const [text, why] of [
    ["127.0.0.1", "IPv4"],
    ["::1", "IPv6"],
  ] as const) {
    networkTest(`gets what is sent to it, with its source: ${why}`, () => {
      sh("ip link set lo up");
      using socket = new LinkSocket({ link: "lo", address: address(text), port: PORT, sizeMax: 9 });
      expect(socket.receive()).toBeUndefined();
      socket.memory.bytes.set([1, 2, 3]);
      expect(socket.send(3, address(text), PORT)).toBe(0);
      expect(socket.receive()).toEqual({ length: 3, address: address(text), port: PORT });
      expect([...socket.memory.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
      expect(socket.receive()).toBeUndefined();
    });
  }

  networkTest("a datagram that does not fit counts as empty", () => {
    sh("ip link set lo up");
    const at = { link: "lo", address: address("127.0.0.1") };
    using small = new LinkSocket({ ...at, port: PORT, sizeMax: 10 });
    using large = new LinkSocket({ ...at, port: PORT + 1, sizeMax: 11 });
    large.send(11, address("127.0.0.1"), PORT);
    expect(small.receive()).toMatchObject({ length: 0, port: PORT + 1 });
  });

  test("says what is missing: no such link, no such address", () => {
    const options = { address: address("127.0.0.1"), port: 0, sizeMax: 64 };
    expect(() => new LinkSocket({ ...options, link: "none0" })).toThrow(HostError);
    const other = { ...options, address: address("192.0.2.1"), link: "lo" };
    expect(() => new LinkSocket(other)).toThrow("UDP 192.0.2.1 port 0 on lo");
  });
});
