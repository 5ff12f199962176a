/**
 * `overlay member list|remove`: the nodes of the cluster.
 *
 * @module
 */
import type { Command } from "commander";
import type { ClientFailure } from "../admin/ask.ts";
import type { AdminClient } from "../admin/client.ts";
import type { MemberView } from "../admin/service.ts";
import { parseNodeId } from "../base/ids.ts";
import { err, ok, type Result } from "../base/result.ts";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { safe } from "./format.ts";

/** Adds the command to `program`. */
export function addMember(program: Command, cli: Cli): void {
  const member = program.command("member").description("list or remove members of the cluster");
  withExamples(member, "overlay member list", "overlay member remove web3");
  addList(member, cli);
  addRemove(member, cli);
}

function addList(member: Command, cli: Cli): void {
  const command = member.command("list").description("list the members");
  withExamples(withData(command), "overlay member list");
  command.action(
    cli.action(async (options: DataOptions) => {
      const answer = await (await cli.client(options)).members();
      return cli.show("list the members", answer, options, (members) =>
        formatMembers(cli, members),
      );
    }),
  );
}

async function formatMembers(cli: Cli, members: readonly MemberView[]): Promise<string> {
  const { formatTable } = await import("./table.ts");
  return formatTable<MemberView>(
    [
      { head: "NAME", cell: ({ name }) => name, shrinkTo: 8 },
      { head: "ID", cell: ({ id }) => id },
      { head: "ROLE", cell: ({ role, leader }) => (leader ? `${role}, leader` : role) },
      { head: "ADDRESS", cell: ({ address }) => address },
      { head: "STATE", cell: memberState },
    ],
    members,
    cli.terminal.columns,
  );
}

function memberState({ live, self }: MemberView): string {
  if (self) return "this node";
  if (live === null) return "-";
  return live ? "up" : "down";
}

function addRemove(member: Command, cli: Cli): void {
  const command = member
    .command("remove")
    .description("remove a member that will not come back")
    .argument("<node>", 'its id or name, as "overlay member list" shows it');
  withExamples(withData(command), "overlay member remove web3");
  command.action(
    cli.action(async (node: string, options: DataOptions) => {
      const action = `remove member "${safe(node)}"`;
      const client = await cli.client(options);
      const id = await resolveMember(client, node);
      if (!id.ok) return cli.fail(action, id.error);
      const answer = await client.removeMember(id.value);
      return cli.show(
        action,
        answer,
        options,
        (removed) => `Removed ${safe(removed.name)} (${safe(removed.id)})`,
      );
    }),
  );
}

/** The id of the member that `node` means; a name that two members have is refused. */
async function resolveMember(
  client: AdminClient,
  node: string,
): Promise<Result<string, ClientFailure>> {
  if (parseNodeId(node) !== undefined) return ok(node);
  const members = await client.members();
  if (!members.ok) return members;
  const matches = members.value.filter(({ name }) => name === node);
  if (matches.length === 1) return ok(matches[0]!.id);
  const detail =
    matches.length === 0
      ? 'no member has that id or name; see "overlay member list"'
      : `${matches.length} members have that name; give the id instead`;
  return err({ kind: "not_found", detail });
}
