/**
 * Two keepers on one loopback, which is the segment of both: their plain route to each other.
 */
import { expect } from "bun:test";
import { waitFor } from "../../tests/lab/wait.ts";
import { networkTest, sh } from "../../tests/support/network-test.ts";
import { parseAddress, parsePrefix } from "../base/address.ts";
import { decodeNodeId } from "../base/ids.ts";
import { createSilentLog } from "../base/log.ts";
import { PROBE_ANSWER, PROBE_QUESTION, PROBE_SIZE, ProbeFrame } from "../dataplane/probe/frame.ts";
import type { Way } from "../dataplane/ways/way.ts";
import { openSystemClock } from "../host/clock/system-clock.ts";
import { openSystemRandom } from "../host/random/system-random.ts";
import { LinkSocket } from "../host/udp/link-socket.ts";
import { WayKeeper } from "./way-keeper.ts";

const PORT = 8285;
const MTU = 1450;
const clock = openSystemClock();
const subnetOf = (number: number) => parsePrefix(`10.0.${number}.0/24`)!;
const addressOf = (number: number) => parseAddress(`10.0.${number}.0`)!;

/** Node `self`, which knows of `other`. */
function keep(self: number, other: number, inForce?: Way) {
  const moved: number[] = [];
  const keeper = new WayKeeper({
    ...{ clock, random: openSystemRandom(), log: createSilentLog() },
    prober: () => undefined,
    inForce: () => new Map(inForce === undefined ? [] : [[subnetOf(other), inForce]]),
    onMove: () => moved.push(self),
  });
  const ways = { direct: true, vxlan: null };
  const address = parseAddress("127.0.0.1")!;
  const network = {
    self: decodeNodeId(self),
    subnets: [subnetOf(self)],
    config: { kind: "auto", port: PORT, vni: 1, vxlanPort: 8472 } as const,
    peers: [
      {
        ...{ node: decodeNodeId(other), subnet: subnetOf(other), address },
        backend: { kind: "udp", port: PORT, partialChecksum: true, ways } as const,
      },
    ],
    host: {
      ...{ link: "lo", underlayAddress: address, underlayMtu: 1500 },
      segments: [parsePrefix("127.0.0.0/8")!],
    },
    mtu: MTU,
  };
  keeper.follow(network);
  return { keeper, moved, current: () => keeper.choices.get(subnetOf(other)) };
}

const SET_UP = "ip link set lo up; for n in 1 2 3; do ip address add 10.0.$n.0/32 dev lo; done";

networkTest("two nodes prove the plain route between them, and tell of the move", async () => {
  sh(SET_UP);
  const [a, b] = [keep(1, 2), keep(2, 1)];
  expect([a.current(), b.current()]).toEqual(["udp", "udp"]);
  const areDirect = () =>
    [a, b].every(({ current, moved }) => {
      return current() === "direct" && moved.length === 1;
    });
  await waitFor(areDirect, { describe: "both to go direct" });
  expect(a.keeper.view(subnetOf(2))).toEqual({ way: "direct", obstacles: [] });
  expect(a.keeper.moves).toEqual({ direct: 1, vxlan: 0, udp: 0 });
  b.keeper.stop();
  expect(b.keeper.choices.size).toBe(0);
  a.keeper.stop();
});

networkTest("a way that does not carry whole packets is none", async () => {
  sh(`${SET_UP}; ip link set lo mtu ${MTU - 1}`);
  const [a, b] = [keep(1, 2), keep(2, 1)];
  const isTried = () => a.keeper.view(subnetOf(2))?.obstacles[0]?.obstacle.kind === "silent";
  await waitFor(isTried, { describe: "a question to be lost" });
  expect(a.current()).toBe("udp");
  for (const { keeper } of [a, b]) keeper.stop();
});

networkTest("begins with what is in force", () => {
  sh(SET_UP);
  const { keeper, current } = keep(1, 2, "direct");
  expect(current()).toBe("direct");
  keeper.stop();
});

networkTest("answers nobody but peers, and nothing but questions to itself", async () => {
  sh(SET_UP);
  const { keeper } = keep(2, 1);
  const open = (number: number) =>
    new LinkSocket({ link: "lo", address: addressOf(number), port: PORT + 1, sizeMax: MTU });
  using stranger = open(3);
  using peer = open(1);
  const ask = (socket: LinkSocket, change: Partial<ProbeFrame>, length = 100) => {
    const frame = new ProbeFrame();
    const usual = { kind: PROBE_QUESTION, size: 100, sequence: 7, sender: 1, target: 2 };
    Object.assign(frame, usual, { token: 9, ...change }).encode(socket.memory.view, 0);
    socket.send(length, addressOf(2), PORT);
  };
  const answers: ProbeFrame[] = [];
  /** Asks what is to be answered until it is: whatever was asked before has been looked at then. */
  const isAnswered = (sequence: number) => () => {
    ask(peer, { sequence });
    for (let one = peer.receive(); one !== undefined; one = peer.receive()) {
      const answer = new ProbeFrame();
      expect(one.length).toBe(PROBE_SIZE);
      expect(answer.decode(peer.memory.view, 0, one.length)).toBeTrue();
      answers.push(answer);
    }
    return answers.some((answer) => answer.sequence === sequence);
  };
  await waitFor(isAnswered(98), { describe: "an answer" });
  ask(stranger, {});
  ask(peer, { sender: 3 });
  ask(peer, { target: 3 });
  ask(peer, { kind: PROBE_ANSWER });
  ask(peer, { size: 101 });
  ask(peer, {}, 10);
  await waitFor(isAnswered(99), { describe: "another answer" });
  expect(new Set(answers.map(({ sequence }) => sequence))).toEqual(new Set([98, 99]));
  expect(answers[0]).toMatchObject({ kind: PROBE_ANSWER, token: 9, questionSize: 100 });
  expect(stranger.receive()).toBeUndefined();
  keeper.stop();
});
