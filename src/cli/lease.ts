/**
 * `overlay lease list|release`: who holds which subnet.
 *
 * @module
 */
import type { Command } from "commander";
import type { LeaseView } from "../admin/service.ts";
import { parsePrefix } from "../base/address.ts";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { formatDuration, safe } from "./format.ts";

/** Adds the command to `program`. */
export function addLease(program: Command, cli: Cli): void {
  const lease = program.command("lease").description("list or release subnet leases");
  withExamples(lease, "overlay lease list", "overlay lease release 10.0.53.0/24");
  addList(lease, cli);
  addRelease(lease, cli);
}

function addList(lease: Command, cli: Cli): void {
  const command = lease.command("list").description("list the leases");
  withExamples(withData(command), "overlay lease list");
  command.action(
    cli.action(async (options: DataOptions) => {
      const answer = await (await cli.client(options)).leases();
      return cli.show("list the leases", answer, options, (leases) => formatLeases(cli, leases));
    }),
  );
}

async function formatLeases(cli: Cli, leases: readonly LeaseView[]): Promise<string> {
  if (leases.length === 0) return "No leases";
  const { formatTable } = await import("./table.ts");
  return formatTable<LeaseView>(
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
}

function expiry({ reserved, expiresInSeconds }: LeaseView): string {
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
      const subnet = parsePrefix(text.replace(/-([0-9]+)$/, "/$1"));
      if (subnet === undefined) {
        return cli.refuse(
          `Cannot release lease "${safe(text)}": not a subnet; write it like 10.0.53.0/24`,
        );
      }
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
