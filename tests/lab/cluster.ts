/**
 * What a person does with three fresh hosts: start agents, join them, set a network, add
 * containers. Everything goes through the command line and the HTTP API.
 *
 * @module
 */
import type { ApiAnswer, Container, Host } from "./host.ts";
import type { Lab } from "./lab.ts";
import type { PingOptions, PingReport } from "./ping.ts";
import { waitFor } from "./wait.ts";

/** The parts of `GET /status` that tests and scripts look at. */
export interface Status {
  readonly node: { readonly id: string; readonly name: string; readonly role: string };
  readonly cluster: {
    readonly id: string;
    readonly leader: { readonly id: string; readonly name: string } | null;
    readonly term: number;
    readonly members: number;
    readonly voters: number;
    readonly quorum: boolean;
  };
  readonly network: Readonly<Record<string, unknown>> | null;
  readonly lease: { readonly subnet: string; readonly gateway: string } | null;
  readonly dataplane: {
    readonly encryption: string;
    readonly mtu: number;
    readonly interface: string;
    readonly counters: Readonly<Record<string, number>>;
  } | null;
  readonly peers: readonly { readonly name: string; readonly subnet: string }[];
  readonly warnings: readonly string[];
}

/** What `overlay token create --json` prints. */
export interface CreatedToken {
  readonly id: string;
  readonly token: string;
  readonly expiresAt: string;
  readonly joinCommand: string;
}

/** The config of most tests. */
export const NETWORK_CONFIG = { Network: "10.0.0.0/16" } as const;
const SETTLE_TIMEOUT_MS = 20_000;
/** After a failed try, for writes that the cluster cannot take at the moment. */
const RETRY_STATUSES: readonly number[] = [503, 504];

/** `GET /status` of one host. */
export async function statusOf(host: Host): Promise<Status> {
  const answer = await host.api("/status");
  if (answer.status !== 200) throw new Error(`${host.name}: /status said ${answer.text}`);
  return answer.json<Status>();
}

/** A fresh token from `host`, by its command line. */
export async function createToken(
  host: Host,
  options: readonly string[] = [],
): Promise<CreatedToken> {
  const text = await host.mustCli(["token", "create", "--json", ...options]);
  return JSON.parse(text) as CreatedToken;
}

/** Joins `joiner` to the cluster of `peer`, by the command line; throws when it is refused. */
export async function join(joiner: Host, peer: Host, token?: string): Promise<string> {
  const secret = token ?? (await createToken(peer)).token;
  return await joiner.mustCli(["join", peer.address, "--token", secret]);
}

/** Starts an agent on every host, and joins all of them to the first of `order`. */
export async function formCluster(lab: Lab, order: readonly Host[] = lab.hosts): Promise<void> {
  await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
  const [seed, ...joiners] = order;
  if (seed === undefined) return;
  for (const joiner of joiners) await join(joiner, seed);
  await waitSettled(order);
}

/** Waits until every one of `hosts` knows the same leader and counts the same members. */
export async function waitSettled(hosts: readonly Host[]): Promise<Host> {
  let last = "nothing";
  return await waitFor(
    async () => {
      const all = await Promise.all(hosts.map(statusOf));
      last = all.map(({ node, cluster }) => `${node.name}: ${JSON.stringify(cluster)}`).join(", ");
      const leaders = new Set(all.map((each) => each.cluster.leader?.id));
      const counts = new Set(all.map((each) => each.cluster.members));
      const leader = hosts[all.findIndex((each) => leaders.has(each.node.id))];
      return leaders.size === 1 && counts.size === 1 && leader;
    },
    { timeoutMs: SETTLE_TIMEOUT_MS, describe: "one leader known to all", details: () => last },
  );
}

/** `PUT /config` on `host`, as curl would send it; whatever the answer. */
export async function putConfig(host: Host, config: unknown, query = ""): Promise<ApiAnswer> {
  return await host.api(`/config${query}`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: typeof config === "string" ? config : JSON.stringify(config),
  });
}

/** Like `putConfig`, again and again while the cluster says "not now". Gives the revision. */
export async function mustPutConfig(host: Host, config: unknown): Promise<number> {
  const answer = await waitFor(
    async () => {
      const each = await putConfig(host, config);
      return !RETRY_STATUSES.includes(each.status) && each;
    },
    { timeoutMs: SETTLE_TIMEOUT_MS, describe: `${host.name} to take a config` },
  );
  if (answer.status !== 200) throw new Error(`${host.name}: PUT /config said ${answer.text}`);
  return answer.json<{ revision: number }>().revision;
}

/** A container on every host, once each has its lease. */
export async function addContainers(lab: Lab): Promise<Container[]> {
  const containers: Container[] = [];
  for (const host of lab.hosts) containers.push(await host.addContainer(await host.waitLease()));
  return containers;
}

/** One ping from a container to another, with who they are. */
export interface PairPing {
  readonly source: Container;
  readonly target: Container;
  readonly report: PingReport;
}

/** Pings every container from every other, all at the same time. */
export async function pingAll(
  containers: readonly Container[],
  options: PingOptions = {},
): Promise<PairPing[]> {
  const pairs = containers.flatMap((source) =>
    containers.filter((target) => target !== source).map((target) => ({ source, target })),
  );
  return await Promise.all(
    pairs.map(async ({ source, target }) => {
      return { source, target, report: await source.ping(target.address, options) };
    }),
  );
}

/** Resolves at the first answer; for links that are about to come up. */
export async function waitReaches(
  source: Container,
  target: Container,
  timeoutMs = SETTLE_TIMEOUT_MS,
): Promise<void> {
  const quick = { count: 1, waitSeconds: 0.2 };
  await waitFor(async () => (await source.ping(target.address, quick)).received > 0, {
    timeoutMs,
    describe: `${source.name} to reach ${target.name}`,
  });
}

/** Every pair reaches each other; otherwise the pairs that do not, by name. */
export async function unreachablePairs(containers: readonly Container[]): Promise<string[]> {
  const pings = await pingAll(containers);
  return pings
    .filter(({ report }) => report.received === 0)
    .map(({ source, target }) => `${source.name} to ${target.name}`);
}
