/**
 * `overlay member list|promote|demote|remove|target`: the nodes of the cluster and their roles.
 *
 * @module
 */
import type { Command } from "commander";
import type { ClientFailure } from "../admin/ask.ts";
import type { AdminClient } from "../admin/client.ts";
import { VOTER_TARGETS } from "../admin/limits.ts";
import type { MemberView, VotersView } from "../admin/service.ts";
import { parseNodeId } from "../base/ids.ts";
import { err, ok, type Result } from "../base/result.ts";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { safe } from "./format.ts";

/** Adds the command to `program`. */
export function addMember(program: Command, cli: Cli): void {
  const member = program
    .command("member")
    .description("list members of the cluster, choose who votes, remove members");
  withExamples(
    member,
    "overlay member list",
    "overlay member demote web3",
    "overlay member remove web3",
  );
  addList(member, cli);
  for (const order of ORDERS) addOrder(member, cli, order);
  addTarget(member, cli);
}

/** What can be done with one member. */
interface Order {
  readonly verb: "promote" | "demote" | "remove";
  readonly description: string;
  readonly done: (member: MemberView) => string;
}

const ORDERS: readonly Order[] = [
  {
    verb: "promote",
    description: "have a standby vote, in the place of another where enough do",
    done: (member) => `${named(member)} is preferred as a voter; it votes within seconds`,
  },
  {
    verb: "demote",
    description: "have a member vote only while nobody else can",
    done: (member) =>
      member.role === "voter"
        ? `${named(member)} gives its vote to another within seconds`
        : `${named(member)} does not get a vote while another can`,
  },
  {
    verb: "remove",
    description: "remove a member that will not come back; its subnet is free at once",
    done: (member) => `Removed ${named(member)}`,
  },
];

function named({ name, id }: MemberView): string {
  return `${safe(name)} (${safe(id)})`;
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
      { head: "ROLE", cell: memberRole },
      ...(members.some(({ zone }) => zone !== "") ? [ZONE_COLUMN] : []),
      { head: "ADDRESS", cell: ({ address }) => address },
      { head: "STATE", cell: memberState },
    ],
    members,
    cli.terminal.columns,
  );
}

const ZONE_COLUMN = { head: "ZONE", cell: ({ zone }: MemberView) => zone };

function memberRole({ role, leader, wish }: MemberView): string {
  const wished = wish === null || wish === role ? [] : [`to be ${wish}`];
  return [role, ...(leader ? ["leader"] : []), ...wished].join(", ");
}

function memberState({ live, self }: MemberView): string {
  if (self) return "this node";
  if (live === null) return "-";
  return live ? "up" : "down";
}

function addOrder(member: Command, cli: Cli, { verb, description, done }: Order): void {
  const command = member
    .command(verb)
    .description(description)
    .argument("<node>", 'its id or name, as "overlay member list" shows it');
  withExamples(withData(command), `overlay member ${verb} web3`);
  command.action(
    cli.action(async (node: string, options: DataOptions) => {
      const action = `${verb} member "${safe(node)}"`;
      const client = await cli.client(options);
      const id = await resolveMember(client, node);
      if (!id.ok) return cli.fail(action, id.error);
      const ask = {
        promote: () => client.promoteMember(id.value),
        demote: () => client.demoteMember(id.value),
        remove: () => client.removeMember(id.value),
      };
      return cli.show(action, await ask[verb](), options, done);
    }),
  );
}

function addTarget(member: Command, cli: Cli): void {
  const command = member
    .command("target")
    .description("show how many members should vote, or set it: 1, 3, 5 or 7")
    .argument("[number]", "how many should vote; an even number of members has one less");
  withExamples(withData(command), "overlay member target", "overlay member target 5");
  command.action(
    cli.action(async (number: string | undefined, options: DataOptions) => {
      const target = VOTER_TARGETS.find((each) => String(each) === number);
      if (number !== undefined && target === undefined) {
        const count = VOTER_TARGETS.join(", ");
        return cli.refuse(
          `Cannot set the number of voters to "${safe(number)}": give one of ${count}`,
        );
      }
      const client = await cli.client(options);
      const answer = await (target === undefined ? client.voters() : client.setVoters(target));
      const action = target === undefined ? "show the voters" : "set the number of voters";
      return cli.show(action, answer, options, formatVoters);
    }),
  );
}

function formatVoters({ target, voters }: VotersView): string {
  const names = voters.map(({ name }) => safe(name)).join(", ");
  return `${target} should vote where there are as many members; these do: ${names}`;
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
