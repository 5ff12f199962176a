/**
 * TCP over the vxlan backend beside a VXLAN that was made by hand.
 *
 *     scripts/bench vxlan [--rounds N] [--seconds N] [--json FILE]
 *
 * Four hosts of the lab on one segment. Two run agents (the executable of `scripts/build`) with
 * `Backend.Type: "vxlan"`; on the other two flannel's setup is done by iproute2: a link without
 * learning, a neighbour, an FDB entry and an onlink route. Once none has firewall rules
 * (`--ip-masq=false`), once all masquerade, by flannel's rules where it is done by hand: those make
 * the kernel track connections, which costs the same in both. The pairs take turns at each measure
 * in each round; a ratio is the median of the rounds' ratios. Single ones scatter by a tenth on two
 * cores, so the target, at least 0.98, is for the median over all measures of a setup. Needs root;
 * the exit code is 1 when it is missed.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { join, mustPutConfig, waitReaches } from "../../tests/lab/cluster.ts";
import type { Container, Host } from "../../tests/lab/host.ts";
import { openLab } from "../../tests/lab/lab.ts";
import type { Namespace } from "../../tests/lab/namespace.ts";
import { transferTcp } from "../../tests/lab/transfer.ts";
import { runScript, UsageError, wholeCount } from "../lib/usage.ts";
import { table } from "./store/report.ts";

const ROUNDS_DEFAULT = 9;
const SECONDS_DEFAULT = 1;
const RATIO_TARGET = 0.98;
const MTU = 1450;
const HAND_NETWORK = "10.9.0.0/16";
const HAND_SUBNETS = ["10.9.1", "10.9.2"] as const;
const FLOWS = [1, 4] as const;

/** What both pairs do beside carrying packets. */
interface Setup {
  readonly name: string;
  readonly agentArgs: readonly string[];
  /** Rules for a host that is set up by hand, whose containers are in `subnet`. */
  readonly rules: (subnet: string) => readonly string[];
}

const SETUPS: readonly Setup[] = [
  { name: "no rules", agentArgs: ["--ip-masq=false"], rules: () => [] },
  { name: "masquerading", agentArgs: [], rules: masqueradeLikeFlannel },
];

/** Two ends of a VXLAN, inside the hosts and in a container of each. */
interface Pair {
  readonly hosts: readonly [Host, Host];
  readonly containers: readonly [Container, Container];
  /** Address of the second host's VXLAN link. */
  readonly linkAddress: string;
}

/** One way to send, measured over both pairs. */
interface Measure {
  readonly name: string;
  readonly flows: number;
  readonly ends: (pair: Pair) => readonly [source: Namespace, target: Namespace, address: string];
}

interface Figures {
  readonly name: string;
  /** Gbit/s of each round. */
  readonly ours: number[];
  readonly byHand: number[];
}

const MEASURES: readonly Measure[] = FLOWS.flatMap((flows): Measure[] => [
  {
    name: `host to host, ${flows} flow${flows === 1 ? "" : "s"}`,
    flows,
    ends: ({ hosts, linkAddress }) => [...hosts, linkAddress],
  },
  {
    name: `container to container, ${flows} flow${flows === 1 ? "" : "s"}`,
    flows,
    ends: ({ containers }) => [...containers, containers[1].address],
  },
]);

async function openOurs(hosts: readonly [Host, Host], { agentArgs }: Setup): Promise<Pair> {
  await Promise.all(hosts.map((host) => host.startHealthyAgent({ args: agentArgs })));
  await join(hosts[1], hosts[0]);
  await mustPutConfig(hosts[0], { Network: "10.0.0.0/16", Backend: { Type: "vxlan" } });
  const containers = [
    await hosts[0].addContainer(await hosts[0].waitLease()),
    await hosts[1].addContainer(await hosts[1].waitLease()),
  ] as const;
  await waitReaches(...containers);
  return { hosts, containers, linkAddress: containers[1].address.replace(/\d+$/, "0") };
}

/** What flannel does on each of two hosts, in the order in which it does it. */
async function openByHand(hosts: readonly [Host, Host], { rules }: Setup): Promise<Pair> {
  const macOf = (index: number) => `02:00:00:00:09:0${index + 1}`;
  for (const [index, host] of hosts.entries()) {
    const other = 1 - index;
    const [own, theirs] = [HAND_SUBNETS[index]!, HAND_SUBNETS[other]!];
    const tunnel = `id 1 dev eth0 local ${host.address} dstport 8472 nolearning`;
    const lines = [
      `ip link add flannel.1 address ${macOf(index)} mtu ${MTU} type vxlan ${tunnel}`,
      `ip address add ${own}.0/32 dev flannel.1`,
      "ip link set flannel.1 up",
      `ip neighbour add ${theirs}.0 lladdr ${macOf(other)} dev flannel.1 nud permanent`,
      `bridge fdb add ${macOf(other)} dev flannel.1 dst ${hosts[other]!.address} self permanent`,
      `ip route add ${theirs}.0/24 via ${theirs}.0 dev flannel.1 onlink`,
      ...rules(`${own}.0/24`),
    ];
    await host.mustRun(["sh", "-ec", lines.join("\n")]);
    await host.sysctl("net.ipv4.ip_forward", 1);
  }
  const envOf = (subnet: string) => ({
    network: HAND_NETWORK,
    subnet: `${subnet}.1/24`,
    gateway: `${subnet}.1`,
    mtu: MTU,
  });
  const containers = [
    await hosts[0].addContainer(envOf(HAND_SUBNETS[0])),
    await hosts[1].addContainer(envOf(HAND_SUBNETS[1])),
  ] as const;
  await waitReaches(...containers);
  return { hosts, containers, linkAddress: `${HAND_SUBNETS[1]}.0` };
}

/** What `--ip-masq` of flannel does, said to nft. */
function masqueradeLikeFlannel(subnet: string): string[] {
  const chain = "nft add rule ip flannel postrouting";
  return [
    "nft add table ip flannel",
    "nft add chain ip flannel postrouting '{ type nat hook postrouting priority srcnat; }'",
    `${chain} meta mark and 0x4000 == 0x4000 return`,
    `${chain} ip saddr ${subnet} ip daddr ${HAND_NETWORK} return`,
    `${chain} ip saddr ${HAND_NETWORK} ip daddr ${subnet} return`,
    `${chain} ip saddr != ${subnet} ip daddr ${HAND_NETWORK} return`,
    `${chain} ip saddr ${HAND_NETWORK} ip daddr != 224.0.0.0/4 masquerade fully-random`,
    `${chain} ip saddr != ${HAND_NETWORK} ip daddr ${HAND_NETWORK} masquerade fully-random`,
  ];
}

async function send(pair: Pair, { ends, flows }: Measure, seconds: number): Promise<number> {
  const [source, target, address] = ends(pair);
  return (await transferTcp(source, target, { address, flows, seconds })).gigabitsPerSecond;
}

async function measureSetup(setup: Setup, rounds: number, seconds: number): Promise<Figures[]> {
  await using lab = await openLab({ hosts: 4 });
  const ours = await openOurs([lab.host(0), lab.host(1)], setup);
  const byHand = await openByHand([lab.host(2), lab.host(3)], setup);
  const figures = MEASURES.map(({ name }): Figures => {
    return { name: `${setup.name}, ${name}`, ours: [], byHand: [] };
  });
  for (let round = 0; round < rounds; round++) {
    for (const [index, measure] of MEASURES.entries()) {
      // Who begins changes, so that what warms up or slows down in between helps neither.
      const order = round % 2 === 0 ? (["ours", "byHand"] as const) : (["byHand", "ours"] as const);
      for (const who of order) {
        const pair = who === "ours" ? ours : byHand;
        figures[index]![who].push(await send(pair, measure, seconds));
      }
    }
  }
  return figures;
}

const median = (values: readonly number[]) =>
  [...values].sort((x, y) => x - y)[Math.floor(values.length / 2)] ?? Number.NaN;

const ratiosOf = ({ ours, byHand }: Figures) => ours.map((value, round) => value / byHand[round]!);

function rowOf(each: Figures): string[] {
  const cells = [median(each.ours).toFixed(2), median(each.byHand).toFixed(2)];
  return [each.name, ...cells, median(ratiosOf(each)).toFixed(3)];
}

await runScript(async () => {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string" },
      seconds: { type: "string" },
      json: { type: "string" },
    },
  });
  const rounds = wholeCount(values.rounds, "rounds") ?? ROUNDS_DEFAULT;
  const seconds = wholeCount(values.seconds, "seconds") ?? SECONDS_DEFAULT;
  if (rounds === 0 || seconds === 0) {
    throw new UsageError("Cannot measure nothing: --rounds and --seconds must be at least 1");
  }
  const rows: string[][] = [["Gbit/s", "vxlan backend", "by hand", "ratio"]];
  const all: Figures[] = [];
  let isMet = true;
  for (const setup of SETUPS) {
    const figures = await measureSetup(setup, rounds, seconds);
    const ratio = median(figures.flatMap(ratiosOf));
    isMet &&= ratio >= RATIO_TARGET;
    rows.push(...figures.map(rowOf), [`${setup.name}, all`, "", "", ratio.toFixed(3)]);
    all.push(...figures);
  }
  console.log(table(rows).join("\n"));
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(all, null, 2));
  return isMet ? 0 : 1;
});
