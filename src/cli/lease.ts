/**
 * `overlay lease list|release|reserve|unreserve`: who holds which subnet, and who is to.
 *
 * @module
 */
import type { Command } from "commander";
import type { LeaseView, ReservationView } from "../admin/service.ts";
import { type Prefix, parsePrefix } from "../base/address.ts";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { formatDuration, safe } from "./format.ts";

/** Adds the command to `program`. */
export function addLease(program: Command, cli: Cli): void {
  const lease = program.command("lease").description("list, release or reserve subnets");
  withExamples(
    lease,
    "overlay lease list",
    "overlay lease release 10.0.53.0/24",
    "overlay lease reserve 10.0.53.0/24 --public-ip 192.0.2.1",
  );
  addList(lease, cli);
  addRelease(lease, cli);
  addReserve(lease, cli);
  addUnreserve(lease, cli);
}

function addList(lease: Command, cli: Cli): void {
  const command = lease.command("list").description("list the leases");
  withExamples(withData(command), "overlay lease list");
  command.action(
    cli.action(async (options: DataOptions) => {
      const client = await cli.client(options);
      const answer = await client.leases();
      return cli.show("list the leases", answer, options, async (leases) => {
        const kept = await client.reservations();
        return formatLeases(cli, leases, kept.ok ? kept.value : []);
      });
    }),
  );
}

async function formatLeases(
  cli: Cli,
  leases: readonly LeaseView[],
  reservations: readonly ReservationView[],
): Promise<string> {
  const waiting = reservations.filter(({ held }) => !held);
  const lines = waiting.map((each) => `${safe(each.subnet)} is reserved for ${ownerOf(each)}`);
  if (leases.length === 0) return ["No leases", ...lines].join("\n");
  const { formatTable } = await import("./table.ts");
  const table = formatTable<LeaseView>(
    [
      { head: "SUBNET", cell: ({ subnet }) => subnet },
      { head: "NODE", cell: ({ node }) => node.name, shrinkTo: 8 },
      { head: "PUBLIC IP", cell: ({ publicIp }) => publicIp },
      { head: "BACKEND", cell: ({ backend }) => backend.type },
      { head: "EXPIRES IN", cell: expiry, right: true },
    ],
    leases,
    cli.terminal.columns,
  );
  return [table, ...lines].join("\n");
}

function ownerOf({ node, publicIp }: ReservationView): string {
  return safe(node === null ? `the node at ${publicIp}` : node.name);
}

function expiry({ draining, reserved, expiresInSeconds }: LeaseView): string {
  if (draining) return "draining";
  return reserved ? "reserved" : formatDuration(expiresInSeconds);
}

function addRelease(lease: Command, cli: Cli): void {
  const command = lease
    .command("release")
    .description("take a subnet from its node; a node that lives takes a new lease")
    .argument("<subnet>", "such as 10.0.53.0/24");
  withExamples(withData(command), "overlay lease release 10.0.53.0/24");
  command.action(
    cli.action(async (text: string, options: DataOptions) => {
      const subnet = parseSubnet(text);
      if (subnet === undefined) return cli.refuse(notSubnet("release lease", text));
      const answer = await (await cli.client(options)).releaseLease(subnet);
      return cli.show(
        `release lease "${subnet}"`,
        answer,
        options,
        (released) => `Released ${safe(released.subnet)} of ${safe(released.node.name)}`,
      );
    }),
  );
}

interface ReserveOptions extends DataOptions {
  readonly node?: string;
  readonly publicIp?: string;
}

function addReserve(lease: Command, cli: Cli): void {
  const command = lease
    .command("reserve")
    .description("keep a subnet for a node; one that has another subnet keeps that for now")
    .argument("<subnet>", "such as 10.0.53.0/24")
    .option("--node <node>", 'id or name, as "overlay member list" shows it')
    .option("--public-ip <address>", "for the node that first comes from this address");
  withExamples(
    withData(command),
    "overlay lease reserve 10.0.53.0/24 --node web1",
    "overlay lease reserve 10.0.54.0/24 --public-ip 192.0.2.4",
  );
  command.action(
    cli.action(async (text: string, options: ReserveOptions) => {
      const { node, publicIp } = options;
      const subnet = parseSubnet(text);
      if (subnet === undefined) return cli.refuse(notSubnet("reserve", text));
      if ((node === undefined) === (publicIp === undefined)) {
        return cli.refuse(`Cannot reserve ${subnet}: give either --node or --public-ip`);
      }
      const owner = node === undefined ? { publicIp: publicIp ?? "" } : { node };
      const answer = await (await cli.client(options)).reserve(subnet, owner);
      return cli.show(
        `reserve ${subnet}`,
        answer,
        options,
        (kept) => `Reserved ${safe(kept.subnet)} for ${ownerOf(kept)}`,
      );
    }),
  );
}

function addUnreserve(lease: Command, cli: Cli): void {
  const command = lease
    .command("unreserve")
    .description("end a reservation; whoever has the subnet keeps it")
    .argument("<subnet>", "such as 10.0.53.0/24");
  withExamples(withData(command), "overlay lease unreserve 10.0.53.0/24");
  command.action(
    cli.action(async (text: string, options: DataOptions) => {
      const subnet = parseSubnet(text);
      if (subnet === undefined) return cli.refuse(notSubnet("unreserve", text));
      const answer = await (await cli.client(options)).unreserve(subnet);
      return cli.show(
        `unreserve ${subnet}`,
        answer,
        options,
        (kept) => `${safe(kept.subnet)} is no longer reserved for ${ownerOf(kept)}`,
      );
    }),
  );
}

/** Also with flannel's dash. */
function parseSubnet(text: string): Prefix | undefined {
  return parsePrefix(text.replace(/-([0-9]+)$/, "/$1"));
}

function notSubnet(action: string, text: string): string {
  return `Cannot ${action} "${safe(text)}": not a subnet; write it like 10.0.53.0/24`;
}
