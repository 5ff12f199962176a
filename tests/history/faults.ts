/**
 * What is done to a cluster while clients work: one fault at a time or two together, each for a
 * while, then undone; drawn from a seed, every kind in turn.
 *
 * @module
 */
import type { Host } from "../lab/host.ts";
import type { SimRandom } from "../sim/cluster/sim-random.ts";
import type { Agents } from "./agents.ts";
import type { Workload } from "./workload.ts";

/** Every kind there is. */
export const FAULT_KINDS = [
  "kill",
  "stop",
  "pause",
  "cut",
  "oneway",
  "loss",
  "restart-all",
  "disk-full",
  "clock",
  "replace",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Ends a fault. */
type Undo = () => Promise<void>;

export interface NemesisOptions {
  readonly agents: Agents;
  readonly workload: Workload;
  readonly random: SimRandom;
  readonly kinds: readonly FaultKind[];
  /** The longest that a fault lasts; now and then longer than a request is tried when undefined. */
  readonly holdMaxMs: number | undefined;
  /** Told of everything that is done. */
  say(line: string): void;
}

const HOLD_MIN_MS = 300;
const HOLD_MAX_MS = 4_000;
/** Longer than a request is tried: clients hear that it failed. */
const HOLD_LONG_MAX_MS = 12_000;
const HOLD_LONG_CHANCE = 0.2;
const CALM_MIN_MS = 200;
const CALM_MAX_MS = 2_500;
/** Acknowledged writes after which a cluster counts as working again. */
const RECOVERED_WRITES = 20;
const RECOVERY_TIMEOUT_MS = 60_000;
const LEADER_CHANCE = 0.5;
const BOTH_CHANCE = 0.25;
/** A voter more than a cluster can spare. */
const MAJORITY_CHANCE = 0.2;
const LONG_SHARE_FULL_DISK = 0.5;
const CLOCK_JUMPS_SECONDS = [-86_400, -3_600, -60, 60, 3_600, 86_400, 30 * 86_400];

/** Does faults, one episode after the other. */
export class Nemesis {
  /** How often each kind was done. */
  readonly counts = new Map<FaultKind, number>();
  readonly #options: NemesisOptions;
  readonly #paused = new Set<Host>();
  #turn: FaultKind[] = [];

  constructor(options: NemesisOptions) {
    this.#options = options;
  }

  /** One fault or two, until it is undone and writes are acknowledged again. */
  async episode(): Promise<void> {
    const { random, workload, say } = this.#options;
    const kinds = this.#nextKinds();
    const undos: Undo[] = [];
    try {
      for (const kind of new Set(kinds)) {
        undos.push(await this.#begin(kind));
        this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
        await Bun.sleep(random.between(0, CALM_MIN_MS));
      }
      const drawnMaxMs = random.chance(HOLD_LONG_CHANCE) ? HOLD_LONG_MAX_MS : HOLD_MAX_MS;
      await Bun.sleep(random.between(HOLD_MIN_MS, this.#options.holdMaxMs ?? drawnMaxMs));
    } finally {
      for (const undo of random.shuffled(undos)) await undo();
    }
    const before = workload.writtenCount;
    const startTime = performance.now();
    while (workload.writtenCount < before + RECOVERED_WRITES) {
      if (performance.now() - startTime > RECOVERY_TIMEOUT_MS) {
        throw new Error(`No writes for ${RECOVERY_TIMEOUT_MS} ms after ${kinds.join(" and ")}`);
      }
      await Bun.sleep(20);
    }
    say(`  writes again after ${Math.round(performance.now() - startTime)} ms`);
    await Bun.sleep(random.between(CALM_MIN_MS, CALM_MAX_MS));
  }

  /** One, or two that are done together. */
  #nextKinds(): readonly FaultKind[] {
    const first = this.#nextKind();
    if (first === "replace" || !this.#options.random.chance(BOTH_CHANCE)) return [first];
    const second = this.#nextKind();
    if (second !== "replace") return [first, second];
    // A new node needs a cluster that works: it is done next, by itself.
    this.#turn.push(second);
    return [first];
  }

  /** Each kind once before any comes again. */
  #nextKind(): FaultKind {
    if (this.#turn.length === 0) this.#turn = this.#options.random.shuffled(this.#options.kinds);
    const kind = this.#turn.pop();
    if (kind === undefined) throw new Error("There is no fault to do");
    return kind;
  }

  async #begin(kind: FaultKind): Promise<Undo> {
    switch (kind) {
      case "kill":
        return await this.#end(kind, (host) => this.#options.agents.kill(host));
      case "stop":
        return await this.#end(kind, (host) => this.#options.agents.terminate(host));
      case "pause":
        return await this.#pause();
      case "cut":
        return await this.#cut();
      case "oneway":
        return await this.#cutOneWay();
      case "loss":
        return await this.#lose();
      case "restart-all":
        return await this.#restartAll();
      case "disk-full":
        return await this.#fillDisk();
      case "clock":
        return await this.#setClock();
      case "replace":
        return await this.#replace();
    }
  }

  /** The leader, as often as not; sometimes so many that no majority is left. */
  async #victims(): Promise<Host[]> {
    const { random, agents } = this.#options;
    const { hosts } = agents.lab;
    const leader = random.chance(LEADER_CHANCE) ? await agents.leader() : undefined;
    const others = random.shuffled(hosts.filter((host) => host !== leader));
    const order = leader === undefined ? others : [leader, ...others];
    const count = random.chance(MAJORITY_CHANCE) ? Math.ceil(hosts.length / 2) : 1;
    return order.slice(0, count);
  }

  async #end(kind: FaultKind, end: (host: Host) => Promise<void>): Promise<Undo> {
    const { agents, say } = this.#options;
    // One that is paused hears no SIGTERM.
    const victims = (await this.#victims()).filter((host) => {
      return agents.isUp(host) && (kind === "kill" || !this.#paused.has(host));
    });
    say(`${kind} ${namesOf(victims)}`);
    await Promise.all(victims.map(end));
    return async () => {
      await Promise.all(victims.map((host) => agents.start(host)));
    };
  }

  async #pause(): Promise<Undo> {
    const victims = await this.#victims();
    this.#options.say(`pause ${namesOf(victims)}`);
    const agents = victims.map((host) => host.agent);
    for (const agent of agents) agent.stop();
    for (const host of victims) this.#paused.add(host);
    return async () => {
      for (const agent of agents) agent.continue();
      for (const host of victims) this.#paused.delete(host);
    };
  }

  /** Apart from all, from one other, or in two parts. */
  async #cut(): Promise<Undo> {
    const { random, agents, say } = this.#options;
    const { lab } = agents;
    const victims = await this.#victims();
    const [first] = victims;
    const others = lab.hosts.filter((host) => !victims.includes(host));
    if (first === undefined) return async () => undefined;
    const isPair = random.chance(0.3);
    const pairs = isPair
      ? [[first, random.pick(others)] as const]
      : victims.flatMap((a) => others.map((b) => [a, b] as const));
    say(`cut ${pairs.map(([a, b]) => `${a.name}-${b.name}`).join(" ")}`);
    for (const [a, b] of pairs) await lab.cut(a, b);
    return async () => await lab.heal();
  }

  /** What a node sends is lost, or what it is sent, or what goes from one to one other. */
  async #cutOneWay(): Promise<Undo> {
    const { random, agents, say } = this.#options;
    const { lab } = agents;
    const [victim] = await this.#victims();
    if (victim === undefined) return async () => undefined;
    const all = lab.hosts.filter((host) => host !== victim);
    const others = random.chance(0.3) ? [random.pick(all)] : all;
    const isOut = random.chance(0.5);
    const pairs = others.map((other) => {
      return isOut ? { source: victim, target: other } : { source: other, target: victim };
    });
    say(`oneway ${pairs.map(({ source, target }) => `${source.name}>${target.name}`).join(" ")}`);
    for (const { source, target } of pairs) await lab.cut(source, target, { oneWay: true });
    return async () => await lab.heal();
  }

  async #lose(): Promise<Undo> {
    const { random, agents, say } = this.#options;
    const victims = await this.#victims();
    const percent = random.integer(5, 50);
    say(`loss ${namesOf(victims)} ${percent} %`);
    for (const victim of victims) await agents.lab.loss(victim, percent);
    return async () => await agents.lab.heal();
  }

  async #restartAll(): Promise<Undo> {
    const { agents, say } = this.#options;
    const { hosts } = agents.lab;
    say("restart-all");
    await Promise.all(hosts.filter((host) => agents.isUp(host)).map((host) => agents.kill(host)));
    return async () => {
      await Promise.all(hosts.map((host) => agents.start(host)));
    };
  }

  /** No byte left for one node, while much is written. */
  async #fillDisk(): Promise<Undo> {
    const { agents, workload, say } = this.#options;
    const { smallDisk } = agents;
    if (smallDisk === undefined) return async () => undefined;
    const { host } = smallDisk;
    say(`disk-full ${host.name}`);
    if (agents.isUp(host)) agents.excuse(host);
    const before = workload.longShare;
    workload.longShare = LONG_SHARE_FULL_DISK;
    await smallDisk.fill();
    return async () => {
      workload.longShare = before;
      await smallDisk.free();
      if (!agents.isUp(host)) {
        say(`  ${host.name} had ended: ${host.agent.tail(1)}`);
        await agents.start(host);
      }
    };
  }

  /** A node is lost for good: removed, its files gone, and a new one joins in its place. */
  async #replace(): Promise<Undo> {
    const { agents, random, say } = this.#options;
    const { hosts } = agents.lab;
    const leader = random.chance(LEADER_CHANCE) ? await agents.leader() : undefined;
    const victim = leader ?? random.pick(hosts);
    const peer = random.pick(hosts.filter((host) => host !== victim));
    await agents.waitSpare(peer);
    say(`replace ${victim.name} by ${peer.name}`);
    await agents.kill(victim);
    return async () => await agents.replace(victim, peer);
  }

  async #setClock(): Promise<Undo> {
    const { agents, random, say } = this.#options;
    const { clock } = agents;
    if (clock === undefined) return async () => undefined;
    const victims = await this.#victims();
    const jump = random.pick(CLOCK_JUMPS_SECONDS);
    say(`clock ${namesOf(victims)} ${jump} s`);
    for (const { name } of victims) clock.set(name, jump);
    return async () => {
      for (const { name } of victims) clock.set(name, 0);
    };
  }
}

function namesOf(hosts: readonly Host[]): string {
  return hosts.map(({ name }) => name).join(" ");
}
