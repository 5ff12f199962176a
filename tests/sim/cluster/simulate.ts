/**
 * One seed from its beginning to its end: a workload, faults, healing, and the verdict.
 *
 * @module
 */
import { Admin } from "./admin.ts";
import { Clients } from "./clients.ts";
import { directedFaults } from "./faults-directed.ts";
import { DISK_FAULTS } from "./faults-disk.ts";
import { loadFaults } from "./faults-load.ts";
import { membershipFaults } from "./faults-membership.ts";
import { NETWORK_FAULTS } from "./faults-network.ts";
import { PROCESS_FAULTS } from "./faults-process.ts";
import { LeaseHolders } from "./lease-holders.ts";
import { type Ending, ending, heal, missed, replaceLost } from "./liveness.ts";
import { type Fault, Nemesis } from "./nemesis.ts";
import { QuorumWatch } from "./quorum-watch.ts";
import type { Scenario } from "./scenario.ts";
import { TtlKeys } from "./ttl-keys.ts";
import { must, onViolation, Violation } from "./violation.ts";
import { Watchers } from "./watchers.ts";
import { World } from "./world.ts";

/** Steps between two turns of the real event loop, where rejections of promises show up. */
const TURN_STEPS = 128;
const TAIL_STEPS = 60;
const LAST_TURNS = 3;
/** A healthy simulation takes some thousands; one that goes round in circles is stopped. */
const STEPS_MAX = 400_000;

/** What came of one seed. */
export interface SeedResult {
  readonly seed: number;
  readonly steps: number;
  readonly trueMs: number;
  /** Of every step; the same for the same seed. */
  readonly digest: string;
  readonly operationCount: number;
  readonly committedIndex: number;
  readonly coverage: Readonly<Record<string, number>>;
  readonly failure: SeedFailure | undefined;
}

export interface SeedFailure {
  readonly property: string;
  readonly message: string;
  /** The last steps, in words. */
  readonly tail: readonly string[];
}

export interface SimulateOptions {
  readonly tailSteps?: number;
  /** Changes the world before its first step; for bugs made on purpose. */
  readonly sabotage?: (world: World) => void;
  /** Whether every rejection is to be found at its own step; slower. */
  readonly isPrecise?: boolean;
}

/** Runs `scenario` to its end. */
export async function simulate(
  scenario: Scenario,
  options: SimulateOptions = {},
): Promise<SeedResult> {
  const world = new World(scenario);
  options.sabotage?.(world);
  const uncaught = (cause: unknown) => world.uncaught(cause);
  onViolation(uncaught);
  process.on("uncaughtException", uncaught);
  process.on("unhandledRejection", uncaught);
  try {
    const turnSteps = options.isPrecise ? 1 : TURN_STEPS;
    const failure = await run(world, (until) => advance(world, until, turnSteps));
    const tail = world.trace.tail(options.tailSteps ?? TAIL_STEPS);
    return {
      seed: scenario.seed,
      steps: world.trace.steps,
      trueMs: Math.round(world.scheduler.nowMs),
      digest: world.trace.digest(),
      operationCount: failure.operationCount,
      committedIndex: world.safety.committedIndex,
      coverage: world.coverage.toRecord(),
      failure: failure.violation && {
        property: failure.violation.property,
        message: failure.violation.message,
        tail,
      },
    };
  } finally {
    // What is still to be rejected is this simulation's, not the next one's.
    for (let i = 0; i < LAST_TURNS; i++) await new Promise((resolve) => setImmediate(resolve));
    onViolation(undefined);
    process.off("uncaughtException", uncaught);
    process.off("unhandledRejection", uncaught);
  }
}

/** Takes steps until the condition holds; false when it cannot any more, or true time passed. */
type Advance = (until: {
  readonly limitMs: number;
  readonly limitSteps?: number;
  readonly holds?: () => boolean;
}) => Promise<boolean>;

async function run(
  world: World,
  go: Advance,
): Promise<{ readonly violation: Violation | undefined; readonly operationCount: number }> {
  const { scenario, coverage } = world;
  const admin = new Admin(world);
  const watchers = new Watchers(world);
  new QuorumWatch(world);
  const leases = scenario.leaseNetwork === undefined ? undefined : new LeaseHolders(world);
  const ttlKeys = new TtlKeys(world);
  world.found(scenario.voterCount);
  for (let i = 0; i < scenario.spareCount; i++) world.addSpare();
  if (scenario.isAutopilot) for (const id of world.nodes.keys()) admin.enlist(id);
  const clients = new Clients(world);
  const nemesis = new Nemesis(world, chooseFaults(scenario, { admin, clients, ttlKeys }));
  coverage.hit("clock.skew");
  if (scenario.profile === "damage") replaceLost(world, admin);
  await go({ limitMs: scenario.chaosMs, limitSteps: scenario.chaosSteps });

  const parts: Ending = { world, nemesis, clients, watchers, admin, leases, ttlKeys };
  clients.stop();
  ttlKeys.stop();
  if (world.failure === undefined) heal(parts);
  for (const wait of ending(parts)) {
    if (world.failure !== undefined) break;
    const isReached = await go({ limitMs: wait.limitMs, holds: wait.holds });
    if (!isReached && world.failure === undefined) world.uncaught(missed(world, wait));
  }
  if (world.failure === undefined) judge(world, clients);
  const { failure } = world;
  const violation =
    failure === undefined || failure instanceof Violation
      ? failure
      : new Violation("nothing fails", failure.message);
  return { violation, operationCount: clients.history.length };
}

/** Holds everything that clients were told against everything that happened. */
function judge(world: World, clients: Clients): void {
  try {
    const verdict = clients.check();
    world.coverage.hit(`history.${verdict.kind}`);
    must(
      verdict.kind !== "violation",
      "linearizability",
      () => `${verdict.kind === "violation" ? verdict.longest.length : 0} operations in order`,
    );
  } catch (cause) {
    world.uncaught(cause);
  }
}

async function advance(
  world: World,
  until: Parameters<Advance>[0],
  turnSteps: number,
): Promise<boolean> {
  const { holds = () => false, limitMs, limitSteps = Number.POSITIVE_INFINITY } = until;
  const endMs = world.scheduler.nowMs + limitMs;
  const endSteps = world.trace.steps + limitSteps;
  while (world.failure === undefined) {
    await new Promise((resolve) => setImmediate(resolve));
    for (let i = 0; i < turnSteps; i++) {
      if (holds()) return true;
      if (world.scheduler.nowMs >= endMs || world.trace.steps >= endSteps) return false;
      if (!world.step()) break;
      if (world.trace.steps > STEPS_MAX) {
        world.uncaught(new Violation("bounded work", `more than ${STEPS_MAX} steps`));
      }
    }
  }
  return false;
}

/** Who acts in the simulation beside the nodes. */
interface Actors {
  readonly admin: Admin;
  readonly clients: Clients;
  readonly ttlKeys: TtlKeys;
}

/** The faults of `scenario` by name. */
function chooseFaults(scenario: Scenario, { admin, clients, ttlKeys }: Actors): Fault[] {
  const all = [
    ...[...PROCESS_FAULTS, ...NETWORK_FAULTS, ...DISK_FAULTS, ...membershipFaults(admin)],
    ...[...loadFaults(clients, ttlKeys), ...directedFaults(clients)],
  ];
  return scenario.faults.map((name) => {
    const fault = all.find((each) => each.name === name);
    if (fault === undefined) throw new Error(`there is no fault "${name}"`);
    return fault;
  });
}
