/**
 * Closed-loop load: so many clients, each on its own connection, each with one request at a time.
 *
 * @module
 */
import { type Address, HttpConnection } from "./http-connection.ts";
import type { StoreMember, StoreSystem } from "./system.ts";

/** Whom the clients are connected to. */
export type Placement = "leader" | "follower" | "all";

/** One kind of load. */
export interface LoadCase {
  readonly name: string;
  readonly clientCount: number;
  readonly at: Placement;
  /** The request number `sequence` to `member`. */
  readonly request: (system: StoreSystem, member: StoreMember, sequence: number) => Uint8Array;
}

/** What one run of one case gave. */
export interface LoadFigures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers other than 200. */
  readonly failedCount: number;
  /** Processor time of all three members for one request. */
  readonly serverMicros: number;
  /** Processor time of this process for one request. */
  readonly clientMicros: number;
}

/** Requests rendered beforehand for each member. */
const REQUEST_COUNT = 2048;
const WARM_UP_MS = 300;
const STATUS_OK = 200;

/** Connects to the members that `at` names, `count` connections in turn. */
export function placeClients(
  members: readonly StoreMember[],
  leader: StoreMember,
  placement: { readonly at: Placement; readonly count: number },
): readonly StoreMember[] {
  const followers = members.filter((member) => member !== leader);
  const targets = { leader: [leader], follower: followers, all: [leader, ...followers] };
  const chosen = targets[placement.at];
  return Array.from({ length: placement.count }, (_, i) => chosen[i % chosen.length]!);
}

/** Sends every one of the case's requests once, so that what is read later is there. */
export async function sendAll(system: StoreSystem, load: LoadCase): Promise<void> {
  const leader = await system.settled();
  let next = 0;
  const clients = Array.from({ length: load.clientCount }, async () => {
    const connection = await HttpConnection.open(leader);
    while (next < REQUEST_COUNT) {
      const { status } = await connection.send(load.request(system, leader, next++));
      if (status !== STATUS_OK) throw new Error(`${leader.name} answered ${status}`);
    }
    connection.close();
  });
  await Promise.all(clients);
}

/** Runs `load` against `system` for `seconds`, after a short warm-up that is not counted. */
export async function runLoad(
  system: StoreSystem,
  load: LoadCase,
  seconds: number,
): Promise<LoadFigures> {
  const leader = await system.settled();
  const placed = placeClients(system.members, leader, { at: load.at, count: load.clientCount });
  const requests = new Map(
    [...new Set(placed)].map((member) => [
      member,
      Array.from({ length: REQUEST_COUNT }, (_, i) => load.request(system, member, i)),
    ]),
  );
  const connections = await Promise.all(
    placed.map((member: Address) => HttpConnection.open(member)),
  );
  const run = new LoadRun();
  const loops = connections.map((connection, i) =>
    run.loop(
      connection,
      requests.get(placed[i]!)!,
      Math.floor((i * REQUEST_COUNT) / placed.length),
    ),
  );
  await Bun.sleep(WARM_UP_MS);
  const serverBefore = serverSeconds(system);
  const clientBefore = process.cpuUsage();
  const startMs = performance.now();
  run.begin();
  await Bun.sleep(seconds * 1000);
  run.end();
  const elapsedMs = performance.now() - startMs;
  const client = process.cpuUsage(clientBefore);
  const serverMicros = (serverSeconds(system) - serverBefore) * 1e6;
  await Promise.all(loops);
  for (const connection of connections) connection.close();
  return run.figures({ elapsedMs, serverMicros, clientMicros: client.user + client.system });
}

/** Latencies as they are collected. */
class LoadRun {
  #isCounting = false;
  #isOver = false;
  #failedCount = 0;
  readonly #latenciesMs: number[] = [];

  begin(): void {
    this.#isCounting = true;
  }

  end(): void {
    this.#isCounting = false;
    this.#isOver = true;
  }

  async loop(connection: HttpConnection, requests: readonly Uint8Array[], first: number) {
    for (let i = first; !this.#isOver; i++) {
      const startMs = performance.now();
      const { status } = await connection.send(requests[i % requests.length]!);
      if (!this.#isCounting) continue;
      if (status === STATUS_OK) this.#latenciesMs.push(performance.now() - startMs);
      else this.#failedCount += 1;
    }
  }

  figures(run: {
    readonly elapsedMs: number;
    readonly serverMicros: number;
    readonly clientMicros: number;
  }): LoadFigures {
    const sorted = new Float64Array(this.#latenciesMs).sort();
    const count = sorted.length;
    const at = (share: number) =>
      sorted[Math.min(count - 1, Math.floor(count * share))] ?? Number.NaN;
    return {
      perSecond: (count / run.elapsedMs) * 1000,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      failedCount: this.#failedCount,
      serverMicros: run.serverMicros / count,
      clientMicros: run.clientMicros / count,
    };
  }
}

function serverSeconds(system: StoreSystem): number {
  return system.members.reduce((sum, member) => sum + member.process.cpuSeconds(), 0);
}
