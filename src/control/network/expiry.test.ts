import { describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import { EXPIRIES_PER_SECOND_MAX, EXPIRY_RETRY_MS } from "../kv/limits.ts";
import type { Command, StateMachine } from "../kv/types.ts";
import {
  acquireLease,
  type ExpireLeases,
  expireLeases,
  putConfig,
  releaseLease,
  renewLeases,
} from "./commands.ts";
import { LeaseClock } from "./expiry.ts";
import { EXPIRE_BATCH_MAX } from "./limits.ts";
import { newestMachine } from "./newest-machine.fake.ts";
import { readNetwork } from "./view.ts";

const TTL_SECONDS = 10;
const TTL_MS = TTL_SECONDS * 1000;
const backend = { kind: "udp", port: 8285, partialChecksum: false } as const;
const attributes = { publicIp: parseAddress("192.0.2.1")!, publicIpv6: null, backend };
const PLACE = parsePrefix("10.0.5.0/24")!;

/** A store and the clock that follows it, at a time of the test's choice. */
class World {
  readonly machine: StateMachine = newestMachine();
  readonly clock = new LeaseClock();
  nowMs = 1_000_000;
  term = 1;

  constructor(network = "10.0.0.0/16") {
    this.run(putConfig({ config: { Network: network, LeaseTTLSeconds: TTL_SECONDS } }));
  }

  run(command: Command): void {
    const index = decodeIndex(this.machine.appliedIndex + 1);
    const term = decodeTerm(this.term);
    const context = { index, term, proposedAtMs: 0, request: undefined };
    this.clock.observe(this.machine.apply(command, context).events, this.nowMs);
  }

  acquire(id: number, wanted?: typeof PLACE): void {
    this.run(acquireLease({ node: decodeNodeId(id), attributes, wanted }));
  }

  renew(id: number): void {
    const lease = readNetwork(this.machine.reader).byNode.get(decodeNodeId(id))!;
    this.run(renewLeases([{ subnet: lease.subnet, node: lease.node, attributes }]));
  }

  lead(): void {
    this.clock.becameLeader(decodeTerm(this.term), this.nowMs);
  }

  /** Lets time pass, looking every second like the agent does; what was due on the way. */
  pass(ms: number): ExpireLeases[] {
    const end = this.nowMs + ms;
    const due: ExpireLeases[] = [];
    while (this.nowMs < end) {
      this.nowMs = Math.min(end, this.nowMs + 1000);
      due.push(...this.clock.due(this.nowMs));
    }
    return due;
  }

  remaining(): number | undefined {
    return this.clock.remainingSeconds(PLACE, this.nowMs);
  }
}

describe("remainingSeconds", () => {
  test("counts down from the renewal as it was applied here, on every node", () => {
    const world = new World();
    expect(world.remaining()).toBeUndefined();
    world.acquire(1, PLACE);
    expect(world.remaining()).toBe(10);
    world.nowMs += 4500;
    expect(world.remaining()).toBe(6);
    world.renew(1);
    expect(world.remaining()).toBe(10);
    world.nowMs += 60_000;
    expect(world.remaining()).toBe(0);
  });

  test("an expired lease has no time, and neither has one that is gone", () => {
    const world = new World();
    world.acquire(1, PLACE);
    const { epoch } = readNetwork(world.machine.reader).leases.get(PLACE)!;
    world.run(expireLeases(decodeTerm(1), [{ subnet: PLACE, node: decodeNodeId(1), epoch }]));
    expect(world.remaining()).toBeUndefined();
    world.acquire(1);
    expect(world.remaining()).toBe(10);
    const other = { Network: "10.1.0.0/16", LeaseTTLSeconds: TTL_SECONDS };
    world.run(putConfig({ config: other, renumber: true }));
    world.run(releaseLease({ subnet: PLACE, node: decodeNodeId(1) }));
    expect(world.remaining()).toBeUndefined();
  });

  test("starts over after a restore", () => {
    const world = new World();
    world.acquire(1, PLACE);
    world.nowMs += 9000;
    world.clock.reset(readNetwork(world.machine.reader).leases.values(), world.nowMs);
    expect(world.remaining()).toBe(10);
  });
});

describe("due", () => {
  test("a lease that drains has the time that it had, and goes back with all of it", () => {
    const world = new World();
    const config = (Network: string) => ({ Network, LeaseTTLSeconds: TTL_SECONDS });
    world.acquire(1, PLACE);
    world.lead();
    world.pass(TTL_MS / 2);
    world.run(putConfig({ config: config("10.1.0.0/16"), renumber: true }));
    expect(world.remaining()).toBe(TTL_SECONDS);
    expect(world.pass(TTL_MS - 1000)).toEqual([]);
    world.run(putConfig({ config: config("10.0.0.0/16"), renumber: true }));
    expect(world.remaining()).toBe(TTL_SECONDS);
    const subnets = world.pass(TTL_MS + 1000).flatMap(({ leases }) => leases);
    expect(subnets.map(({ subnet }) => subnet)).toContain(PLACE);
  });

  test("nothing on a node that does not lead", () => {
    const world = new World();
    world.acquire(1);
    expect(world.pass(5 * TTL_MS)).toEqual([]);
    world.lead();
    world.clock.lostLeadership();
    expect(world.pass(5 * TTL_MS)).toEqual([]);
  });

  test("exactly the leases whose whole time has passed without renewal", () => {
    const world = new World();
    world.lead();
    world.acquire(1, PLACE);
    world.acquire(2);
    expect(world.pass(6000)).toEqual([]);
    world.renew(2);
    expect(world.pass(3000)).toEqual([]);
    const [command, ...rest] = world.pass(1000);
    expect(rest).toEqual([]);
    expect(command).toMatchObject({ term: 1, leases: [{ subnet: PLACE, node: 1 }] });
    if (command !== undefined) world.run(command);
    expect([...readNetwork(world.machine.reader).byNode.keys()].map(Number)).toEqual([2]);
    expect(world.pass(5000)).toEqual([]);
  });

  test("a lease that is made while all others are far from their end", () => {
    const world = new World();
    world.lead();
    world.pass(3000);
    world.acquire(1);
    expect(world.pass(TTL_MS - 1000)).toEqual([]);
    expect(world.pass(1000)).toHaveLength(1);
  });

  test("a new leader gives every lease its whole time again, once", () => {
    const world = new World();
    world.acquire(1);
    world.nowMs += 50 * TTL_MS;
    world.lead();
    expect(world.pass(9000)).toEqual([]);
    world.lead();
    expect(world.pass(1000)).toHaveLength(1);
  });

  test("a leader that slept gives every lease its whole time again", () => {
    const world = new World();
    world.lead();
    world.acquire(1);
    world.pass(5000);
    world.nowMs += 3 * TTL_MS;
    expect(world.clock.due(world.nowMs)).toEqual([]);
    expect(world.pass(9000)).toEqual([]);
    expect(world.pass(1000)).toHaveLength(1);
  });

  test("a proposal that got lost is made again, not at every look", () => {
    const world = new World();
    world.lead();
    world.acquire(1);
    expect(world.pass(TTL_MS)).toHaveLength(1);
    expect(world.pass(EXPIRY_RETRY_MS - 1000)).toEqual([]);
    expect(world.pass(1000)).toHaveLength(1);
  });

  test("a renewal applied meanwhile makes the proposal void, also for the clock", () => {
    const world = new World();
    world.lead();
    world.acquire(1);
    const [command] = world.pass(TTL_MS);
    world.renew(1);
    if (command !== undefined) world.run(command);
    expect(readNetwork(world.machine.reader).leases.size).toBe(1);
    expect(world.pass(TTL_MS - 1000)).toEqual([]);
  });

  test("a mass expiry is spread over time and over commands", () => {
    const world = new World("10.0.0.0/8");
    world.lead();
    const count = EXPIRIES_PER_SECOND_MAX * 2 + 50;
    for (let id = 1; id <= count; id++) world.acquire(id);
    world.pass(TTL_MS - 1000);
    const perLook: number[] = [];
    while (readNetwork(world.machine.reader).leases.size > 0 && perLook.length < 10) {
      const commands = world.pass(1000);
      for (const command of commands) {
        expect(command.leases.length).toBeLessThanOrEqual(EXPIRE_BATCH_MAX);
        world.run(command);
      }
      perLook.push(commands.reduce((sum, { leases }) => sum + leases.length, 0));
    }
    expect(perLook).toEqual([EXPIRIES_PER_SECOND_MAX, EXPIRIES_PER_SECOND_MAX, 50]);
  }, 60_000);
});
