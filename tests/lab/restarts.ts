/**
 * An agent that goes and comes back under pings: the ways that packets take, the ways to go, and
 * what both ends see. For the tests of restarts and for their benchmark.
 *
 * @module
 */
import {
  addContainers,
  join,
  mustPutConfig,
  NETWORK_CONFIG,
  waitReaches,
  waitSettled,
} from "./cluster.ts";
import type { Container, Host } from "./host.ts";
import type { Lab } from "./lab.ts";
import type { PingReport } from "./ping.ts";
import { waitFor } from "./wait.ts";

const OFTEN = { intervalSeconds: 0.01 } as const;
/** Answers to wait for before and after each restart. */
const CALM_BEFORE_COUNT = 20;
const CALM_AFTER_COUNT = 50;

export const SEALED_CONFIG = {
  ...NETWORK_CONFIG,
  Backend: { Type: "udp", Encryption: "aes-256-gcm" },
};

/** The ways that packets take: the config, and the flags of the agents. */
export const PACKET_WAYS = {
  "plain, user mode": { config: NETWORK_CONFIG, args: ["--engine", "user"] },
  "plain, with the kernel": { config: NETWORK_CONFIG, args: [] },
  sealed: { config: SEALED_CONFIG, args: [] },
} as const;

export type PacketWay = (typeof PACKET_WAYS)[keyof typeof PACKET_WAYS];

/** The ways for an agent to go. */
export const AGENT_ENDS = {
  stopped: async (host: Host) => void (await host.agent.terminate()),
  killed: async (host: Host) => void (await host.agent.kill()),
} as const;

/** Makes the two hosts of `lab` one overlay; resolves to a container on each, in touch. */
export async function openPair(
  lab: Lab,
  { config, args }: PacketWay,
): Promise<readonly [Container, Container]> {
  await Promise.all(lab.hosts.map((host) => host.startHealthyAgent({ args })));
  await join(lab.host(1), lab.host(0));
  await waitSettled(lab.hosts);
  await mustPutConfig(lab.host(0), config);
  const [a, b] = await addContainers(lab);
  await waitReaches(a!, b!);
  return [a!, b!];
}

/** Sends a hundred pings a second both ways during `restart`, until answers come as before it. */
export async function pingThrough(
  [a, b]: readonly [Container, Container],
  restart: () => Promise<unknown>,
): Promise<readonly PingReport[]> {
  const pings = [a.startPing(b.address, OFTEN), b.startPing(a.address, OFTEN)];
  const receive = async (count: number) => {
    const goals = pings.map((ping) => ping.received() + count);
    await waitFor(() => pings.every((ping, i) => ping.received() >= goals[i]!), {
      describe: "answers",
    });
  };
  await receive(CALM_BEFORE_COUNT);
  await restart();
  await receive(CALM_AFTER_COUNT);
  return await Promise.all(pings.map((ping) => ping.stop()));
}
