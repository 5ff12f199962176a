import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { type IpAddress, parseAddress, parsePrefix } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import { decodeNodeId } from "../base/ids.ts";
import { createSilentLog } from "../base/log.ts";
import type { BackendConfig } from "../control/network/backend-config.ts";
import type { LeaseBackend } from "../control/network/lease.ts";
import { ChecksumKeeper, type TestedLink, testedLink } from "./checksum-keeper.ts";

const address = (text: string) => parseAddress(text)!;
const targets = (count: number) =>
  Array.from({ length: count }, (_, at) => address(`10.0.${at + 1}.0`));
const link = (count: number): TestedLink => ({
  ...{ name: "overlay.1", source: address("10.0.53.0"), targets: targets(count) },
});

/** What becomes of a datagram: "right" and "wrong" say how the card finishes checksums. */
type Path = "right" | "wrong" | "off" | "odd";

function open(paths: Readonly<Record<IpAddress, Path>> | Path) {
  const clock = new ManualClock();
  const machine = { index: 7 as number | undefined, isOn: true };
  const asked: string[] = [];
  const pathTo = (target: IpAddress) => (typeof paths === "string" ? paths : paths[target]!);
  const keeper = new ChecksumKeeper(clock, createSilentLog(), {
    indexOf() {
      if (machine.index !== undefined) return machine.index;
      throw new HostError({ operation: "ask for", object: "link", errno: "ENODEV" });
    },
    isOn: () => machine.isOn,
    setOn(_, isOn) {
      machine.isOn = isOn;
    },
    ask({ by, target }) {
      asked.push(`${target} ${by}${machine.isOn ? "" : ", off"}`);
      const isLeftToCard = by === "link" && machine.isOn;
      const path = pathTo(target);
      // "odd": something else than the checksum is wrong with these datagrams.
      const isAnswered =
        path === "right" ||
        (path === "wrong" && !isLeftToCard) ||
        (path === "odd" && by === "kernel");
      return { isAnswered: () => isAnswered, [Symbol.dispose]: () => undefined };
    },
  });
  return { clock, keeper, machine, asked };
}

describe("checksums that are left to the underlay", () => {
  test("are left there when one answer comes, of as many peers as it takes", async () => {
    const { asked, clock, keeper, machine } = open("right");
    keeper.follow(link(20));
    await clock.advance(10_000);
    expect(asked).toEqual(targets(8).map((target) => `${target} link`));
    expect([machine.isOn, keeper.warnings()]).toEqual([true, []]);
  });

  test("are finished here when only those arrive, and that helps", async () => {
    const { asked, clock, keeper, machine } = open("wrong");
    keeper.follow(link(2));
    await clock.advance(10_000);
    const pair = ["10.0.1.0 link", "10.0.1.0 kernel"];
    expect(asked).toEqual([...pair, ...pair, ...pair, "10.0.1.0 link, off"]);
    expect(machine.isOn).toBe(false);
    expect(keeper.warnings()).toEqual([
      "Packets are slower than they could be: tx-checksum-ip-generic of overlay.1 is off (checksums " +
        "that were left to the underlay's card did not arrive right at 10.0.1.0)",
    ]);
    // The link is made anew: it is right again before anybody has noticed.
    machine.index = undefined;
    keeper.look();
    Object.assign(machine, { index: 8, isOn: true });
    keeper.look();
    expect(machine.isOn).toBe(false);
    keeper.follow(undefined);
    expect(keeper.warnings()).toEqual([]);
  });

  test("stay there when nothing is known: no answer to anything", async () => {
    const { asked, clock, keeper, machine } = open("off");
    keeper.follow(link(2));
    await clock.advance(1900);
    expect(asked).toEqual(targets(2).flatMap((it) => [`${it} link`, `${it} kernel`]));
    await clock.advance(600_000);
    // Again after a second, ever more seldom, at last once a minute.
    expect(asked.length).toBeGreaterThan(4 * 12);
    expect(asked.length).toBeLessThan(4 * 18);
    expect(machine.isOn).toBe(true);
  });

  test("are left there again when finishing them here does not help", async () => {
    const { clock, keeper, machine } = open("odd");
    keeper.follow(link(1));
    await clock.advance(10_000);
    expect([machine.isOn, keeper.warnings()]).toEqual([true, []]);
  });

  test("are not asked about where somebody has switched it off", async () => {
    const { asked, clock, keeper, machine } = open("wrong");
    machine.isOn = false;
    keeper.follow(link(1));
    await clock.advance(10_000);
    expect([asked, machine.isOn]).toEqual([[], false]);
  });

  test("are asked about again on a link that was made anew, and by a peer that is new", async () => {
    const { asked, clock, keeper, machine } = open("right");
    keeper.follow(link(1));
    await clock.advance(10_000);
    keeper.follow(link(2));
    await clock.advance(10_000);
    machine.index = 8;
    keeper.look();
    await clock.advance(10_000);
    const words = targets(2).map((target) => `${target} link`);
    expect(asked).toEqual([...words, ...words]);
  });

  test("one peer on this very host does not hide the others", async () => {
    const { clock, keeper, machine } = open({
      [address("10.0.1.0")]: "right",
      [address("10.0.2.0")]: "off",
      [address("10.0.3.0")]: "wrong",
    });
    keeper.follow(link(3));
    await clock.advance(10_000);
    expect(machine.isOn).toBe(false);
  });
});

test("testedLink: the tunnel of the config, and those behind it", () => {
  const subnet = parsePrefix("10.0.53.0/24")!;
  const plain = { gbp: false, learning: false, directRouting: false, underlayMtu: undefined };
  const vxlan: BackendConfig = { kind: "vxlan", vni: 1, port: 4789, ...plain };
  const udp: LeaseBackend = { kind: "udp", port: 8285, partialChecksum: true };
  const peers = [
    udp,
    { kind: "other", type: "vxlan", data: null } as const,
    { kind: "other", type: "host-gw", data: null } as const,
  ].map((backend, at) => ({
    ...{ node: decodeNodeId(at + 1), subnet: parsePrefix(`10.0.${at}.0/24`)! },
    ...{ address: address(`192.168.1.${at + 1}`), backend },
  }));
  expect(testedLink(vxlan, subnet, peers)).toEqual({
    ...{ name: "overlay.1-4789", source: address("10.0.53.0"), targets: [address("10.0.1.0")] },
  });
  expect(testedLink({ kind: "host-gw" }, subnet, peers)).toBeUndefined();
});
