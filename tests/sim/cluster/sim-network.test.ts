/**
 * The simulated network delivers, delays, repeats, cuts and tells as it is told to.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../../src/base/ids.ts";
import type { PeerReceiver } from "../../../src/control/cluster/transport/peer-port.ts";
import type { PeerMessage } from "../../../src/control/raft/types.ts";
import { Coverage } from "./coverage.ts";
import { Scheduler } from "./scheduler.ts";
import { type NetworkWeather, SimNetwork } from "./sim-network.ts";
import { SimProcess } from "./sim-process.ts";
import { SimRandom } from "./sim-random.ts";

const [A, B] = [decodeNodeId(1), decodeNodeId(2)];
const FINE: NetworkWeather = {
  ...{ delayMinMs: 1, delayMeanMs: 5, tailChance: 0, tailMeanMs: 100, dropChance: 0 },
  ...{ duplicateChance: 0, corruptChance: 0, isOrdered: true, codecShare: 1 },
};

function heartbeat(number: number): PeerMessage {
  const head = { to: B, from: A, term: decodeTerm(1) };
  return { kind: "heartbeat_request", ...head, commit: decodeIndex(number), context: undefined };
}

/** Two nodes; what comes to B is kept by the number it carries. */
function createRig(weather: Partial<NetworkWeather> = {}) {
  const scheduler = new Scheduler();
  const coverage = new Coverage();
  const random = new SimRandom(5);
  const network = new SimNetwork({ scheduler, coverage, random, weather: { ...FINE, ...weather } });
  const got: number[] = [];
  const told: string[] = [];
  const receiverOf = (id: NodeId): PeerReceiver => ({
    receive: (message) => got.push("commit" in message ? Number(message.commit) : -1),
    receiveSnapshot: () => Promise.resolve(),
    unreachable: (node) => told.push(`${id}: ${node} is out of reach`),
    closed: (node) => told.push(`${id}: ${node} has closed`),
    expelled: () => told.push(`${id}: expelled`),
    answer: () => Promise.resolve({ ok: true, value: {} }),
    asked: () => true,
    told: () => undefined,
  });
  const processes = [A, B].map((node) => {
    const process = new SimProcess({ node, run: 1 }, scheduler, () => undefined);
    network.attach(process, receiverOf(node));
    return process;
  });
  const run = () => {
    for (let event = scheduler.take(); event !== undefined; event = scheduler.take()) {
      if (event.process?.isAlive !== false) event.run?.();
    }
  };
  const sendMany = (count: number) => {
    for (let i = 1; i <= count; i++) network.send(heartbeat(i));
  };
  return { network, scheduler, coverage, got, told, processes, run, sendMany };
}

const HUNDRED = Array.from({ length: 100 }, (_, i) => i + 1);

describe("simulated network", () => {
  test("delivers everything in order when it is fine", () => {
    const { got, run, sendMany } = createRig();
    sendMany(100);
    run();
    expect(got).toEqual(HUNDRED);
  });

  test("reorders, drops and repeats, each only when told to", () => {
    const unordered = createRig({ isOrdered: false });
    unordered.sendMany(100);
    unordered.run();
    expect(unordered.got).not.toEqual(HUNDRED);
    expect(unordered.got.toSorted((a, b) => a - b)).toEqual(HUNDRED);
    const lossy = createRig({ dropChance: 0.3 });
    lossy.sendMany(100);
    lossy.run();
    expect(lossy.got.length).toBeWithin(40, 95);
    expect(lossy.got.length + lossy.coverage.count("net.drop")).toBe(100);
    const repeating = createRig({ duplicateChance: 0.3 });
    repeating.sendMany(100);
    repeating.run();
    expect(repeating.got.length).toBe(100 + repeating.coverage.count("net.duplicate"));
  });

  test("a damaged message never arrives, and ends the connection", () => {
    const { got, told, run, sendMany } = createRig({ corruptChance: 1 });
    sendMany(5);
    run();
    expect(got).toEqual([]);
    expect(told).toContain("2: 1 has closed");
  });

  test("a cut is one-way, silent, takes what is on its way, and can be laid twice", () => {
    const { network, got, told, run, sendMany } = createRig();
    sendMany(1);
    network.cut(A, B);
    network.cut(A, B);
    network.mend(A, B);
    expect([network.isCut(A, B), network.isCut(B, A)]).toEqual([true, false]);
    sendMany(1);
    run();
    expect([got, told]).toEqual([[], []]);
    network.heal();
    sendMany(1);
    run();
    expect(got).toEqual([1]);
  });

  test("a clogged link holds everything back, then delivers it in order", () => {
    const { network, scheduler, got, run, sendMany } = createRig();
    network.clog(A, B, 500);
    sendMany(100);
    run();
    expect(scheduler.nowMs).toBeGreaterThanOrEqual(500);
    expect(got).toEqual(HUNDRED);
  });

  test("the end of a process is told to the others, that of a machine is not", () => {
    const process = createRig();
    process.network.detach(process.processes[1]!, false);
    process.run();
    expect(process.told).toContain("1: 2 has closed");
    const machine = createRig();
    machine.network.detach(machine.processes[1]!, true);
    machine.run();
    expect(machine.told).toEqual([]);
    machine.sendMany(20);
    machine.run();
    expect(machine.got).toEqual([]);
    expect(machine.told).toContain("1: 2 is out of reach");
  });

  test("a node that is not admitted is told so", () => {
    const { network, got, told, run, sendMany } = createRig();
    network.admits = () => false;
    sendMany(1);
    run();
    expect([got, told]).toEqual([[], ["1: expelled"]]);
  });

  test("a message that the codec changes is found", () => {
    const { network } = createRig();
    const broken = { ...heartbeat(1), commit: -5 } as PeerMessage;
    expect(() => network.copyMessage(broken)).toThrow("codec");
  });
});
