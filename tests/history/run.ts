/**
 * One run: a cluster of the built executable in a lab, clients and watches on it, faults, and the
 * verdict on everything that was seen.
 *
 * @module
 */
import type { Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { waitFor } from "../lab/wait.ts";
import { SimRandom } from "../sim/cluster/sim-random.ts";
import { Agents } from "./agents.ts";
import { checkHistory, type Verdict } from "./check.ts";
import { fromWire, type ItemView } from "./client.ts";
import { type FaultKind, Nemesis } from "./faults.ts";
import type { FinalState, Finding, History } from "./history.ts";
import { Watcher } from "./watcher.ts";
import { PREFIX, Workload } from "./workload.ts";

export interface RunOptions {
  readonly seed: number;
  readonly clientCount: number;
  readonly ratePerSecond: number;
  readonly kinds: readonly FaultKind[];
  /** The longest that a fault lasts; when absent, now and then longer than a request is tried. */
  readonly holdMaxMs?: number;
  /** Whether another episode of faults is to come. */
  goesOn(progress: RunProgress): boolean;
  say(line: string): void;
}

export interface RunProgress {
  readonly episodes: number;
  /** Requests. */
  readonly acknowledged: number;
  /** How often each kind of fault was done. */
  readonly counts: ReadonlyMap<FaultKind, number>;
}

export interface RunReport {
  readonly seed: number;
  readonly acknowledged: number;
  readonly written: number;
  readonly refused: number;
  readonly unknown: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly longestOutageMs: number;
  readonly watchedEvents: number;
  readonly watchSessions: number;
  readonly resyncs: number;
  readonly verdict: Verdict;
  /** Everything that was found, that of the checks included. */
  readonly findings: readonly Finding[];
}

const WHOLE_TIMEOUT_MS = 90_000;
const FILLER_CLIENTS = 24;
/** More than the store writes between two comparisons of its replicas. */
const FILLER_WRITES = 1_200;
const LIST_LIMIT = 1_000;
const QUIET_MS = 3_000;

/** Runs a cluster in `lab`, which must be fresh. */
export async function runHistory(
  lab: Lab,
  options: RunOptions,
): Promise<{ readonly report: RunReport; readonly history: History }> {
  const { seed, kinds, say, clientCount, ratePerSecond } = options;
  const random = (stream: number) => new SimRandom(seed, stream);
  const draw = random(0);
  const smallDisk = kinds.includes("disk-full") ? draw.pick(lab.hosts) : undefined;
  const agents = await Agents.form(lab, { smallDisk, canSetClocks: kinds.includes("clock") });
  const workload = new Workload({
    random: random(1),
    clientCount,
    ratePerSecond,
    hosts: () => agents.members(),
    runOf: (host) => agents.runOf(host),
  });
  const startRevision = await workload.mustPut(lab.host(0), "/before/x");
  workload.calls.length = 0;
  const watchers = startWatchers(agents, startRevision, random(2));
  workload.start();
  const { holdMaxMs } = options;
  const nemesis = new Nemesis({ agents, workload, random: draw, kinds, say, holdMaxMs });
  const findings: Finding[] = [];
  const startTime = performance.now();
  try {
    for (let episodes = 0; ; episodes++) {
      const { acknowledgedCount: acknowledged } = workload;
      if (!options.goesOn({ episodes, acknowledged, counts: nemesis.counts })) break;
      await nemesis.episode();
    }
    await agents.waitWhole(WHOLE_TIMEOUT_MS);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    findings.push({ check: "it recovers", message });
  }
  await workload.stop();
  say(`${Math.round((performance.now() - startTime) / 1000)} s of work; the end`);
  const finals: FinalState[] = [];
  try {
    // What is left of a cluster that did not recover may still be told, and is judged as it is.
    if (findings.length > 0) await waitQuiet(watchers);
    else finals.push(...(await finish(agents, workload, watchers)));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    findings.push({ check: "it recovers", message });
  }
  await Promise.all(watchers.map((watcher) => watcher.stop()));
  agents.excuseAll();
  const sessions = watchers.flatMap((watcher) => watcher.sessions);
  const history: History = {
    calls: workload.calls,
    sessions,
    finals,
    startRevision,
    prefix: PREFIX,
  };
  const verdict = checkHistory(history);
  for (const watcher of watchers) findings.push(...watcher.findings);
  for (const message of agents.unexpectedEnds) {
    findings.push({ check: "agents run", message });
  }
  const count = (kind: string) =>
    workload.calls.filter(({ outcome }) => outcome.kind === kind).length;
  const report: RunReport = {
    seed,
    acknowledged: count("told"),
    written: workload.writtenCount,
    refused: count("refused"),
    unknown: count("unknown"),
    faults: Object.fromEntries(nemesis.counts),
    longestOutageMs: Math.round(workload.longestOutageMs),
    watchedEvents: sessions.reduce((sum, { events }) => sum + events.length, 0),
    watchSessions: sessions.length,
    resyncs: watchers.reduce((sum, { resyncCount }) => sum + resyncCount, 0),
    verdict,
    findings: [...findings, ...verdict.findings],
  };
  return { report, history };
}

/** Three that watch everything, and some that watch a part. */
function startWatchers(agents: Agents, since: number, random: SimRandom): Watcher[] {
  const prefixes = ["", "", "", `${PREFIX}0-`, `${PREFIX}counter-`];
  return prefixes.map((prefix, i) => {
    const own = new SimRandom(random.word(), i);
    return new Watcher({
      name: `watcher ${i + 1}`,
      hosts: () => agents.members(),
      prefix,
      since,
      wantsPrevious: i % 2 === 1,
      random: own,
    });
  });
}

/** The replicas compare their states; every watch hears of the end; what each node has. */
async function finish(
  agents: Agents,
  workload: Workload,
  watchers: readonly Watcher[],
): Promise<FinalState[]> {
  const { lab } = agents;
  const appliedIndex = Math.max(...(await Promise.all(lab.hosts.map(metricOf("raft_applied")))));
  let left = FILLER_WRITES;
  const fillers = Array.from({ length: FILLER_CLIENTS }, async (_, i) => {
    while (left-- > 0) {
      await workload.mustPut(lab.host(i % lab.hosts.length), `${PREFIX}filler-${i}/x`);
    }
  });
  await Promise.all(fillers);
  let last: readonly number[] = [];
  await waitFor(
    async () => {
      last = await Promise.all(lab.hosts.map(metricOf("store_agreed")));
      return last.every((each) => each >= appliedIndex);
    },
    {
      timeoutMs: WHOLE_TIMEOUT_MS,
      describe: `the replicas to agree about entry ${appliedIndex}`,
      details: () => last.join(", "),
    },
  );
  await waitExpired(lab.host(0));
  const revision = await workload.mustPut(lab.host(0), `${PREFIX}end/x`);
  await waitFor(() => watchers.every(({ reached }) => reached >= revision), {
    timeoutMs: WHOLE_TIMEOUT_MS,
    describe: `every watch to reach ${revision}`,
    details: () => watchers.map(({ reached }) => reached).join(", "),
  });
  return await Promise.all(lab.hosts.map(listAll));
}

/** Waits until no watch has heard anything for a while. */
async function waitQuiet(watchers: readonly Watcher[]): Promise<void> {
  let last = "";
  let since = performance.now();
  await waitFor(
    () => {
      const now = watchers.map(({ reached }) => reached).join();
      if (now !== last) since = performance.now();
      last = now;
      return performance.now() - since > QUIET_MS;
    },
    { timeoutMs: WHOLE_TIMEOUT_MS, describe: "the watches to have heard everything" },
  );
}

function metricOf(name: string): (host: Host) => Promise<number> {
  const pattern = new RegExp(`^overlay_${name}_index (\\d+)$`, "m");
  return async (host) => {
    const { text } = await host.api("/metrics");
    return Number(pattern.exec(text)?.[1] ?? 0);
  };
}

/** Keys with a time to live go by themselves, a while after the last of them was put. */
export async function waitExpired(host: Host): Promise<void> {
  let left = "";
  await waitFor(
    async () => {
      const answer = await host.api(`/kv?prefix=${PREFIX}ttl-&limit=3`);
      left = answer.text;
      return answer.status === 200 && answer.json<{ items: unknown[] }>().items.length === 0;
    },
    { timeoutMs: WHOLE_TIMEOUT_MS, describe: "the last keys to expire", details: () => left },
  );
}

/** Every key that a node has, by a linearizable read. */
export async function listAll(host: Host): Promise<FinalState> {
  interface Page {
    readonly revision: number;
    readonly items: readonly ItemView[];
    readonly more: boolean;
  }
  const items: ItemView[] = [];
  let revision = 0;
  for (let after = ""; ; ) {
    const page = revision === 0 ? "" : `&revision=${revision}&after=${after}`;
    const answer = await host.api(`/kv?prefix=${PREFIX}&limit=${LIST_LIMIT}${page}`);
    const view = answer.json<Page>();
    if (revision === 0) ({ revision } = view);
    for (const item of view.items) items.push({ ...item, value: fromWire(item.value) });
    if (!view.more) return { node: host.name, revision, items };
    after = items.at(-1)?.key ?? "";
  }
}
