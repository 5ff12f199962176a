/**
 * `overlay token [create|list|revoke]`: the tokens that let nodes join. Alone it creates one and
 * prints the join command, the only line on standard output; with `--install` the line for a
 * machine without overlay.
 *
 * @module
 */
import type { Command } from "commander";
import {
  TOKEN_LIFE_SECONDS_DEFAULT,
  TOKEN_LIFE_SECONDS_MAX,
  TOKEN_LIFE_SECONDS_MIN,
  TOKEN_USES_MAX,
} from "../admin/limits.ts";
import type { CreatedToken, TokenView } from "../admin/service.ts";
import {
  type Cli,
  type DataOptions,
  timeSpan,
  wholeNumber,
  withData,
  withExamples,
} from "./cli.ts";
import { formatDuration, formatPlural, safe, shortTime } from "./format.ts";

interface CreateOptions extends DataOptions {
  readonly life?: number;
  readonly uses?: number;
  readonly install?: true;
}

const LIFE = { minSeconds: TOKEN_LIFE_SECONDS_MIN, maxSeconds: TOKEN_LIFE_SECONDS_MAX };

/** Adds the command to `program`. */
export function addToken(program: Command, cli: Cli): void {
  const token = program
    .command("token")
    .description("print a join command with a new token; list and revoke tokens");
  withExamples(
    token,
    "overlay token",
    "overlay token create --life 1h --uses 1 --json",
    "overlay token revoke k3vq7m2p",
  );
  addCreate(token, cli);
  addList(token, cli);
  addRevoke(token, cli);
}

function addCreate(token: Command, cli: Cli): void {
  const command = token
    .command("create", { isDefault: true })
    .description("create a token and print the join command")
    .option(
      "--life <time>",
      `how long it can be used: 90s, 30m, 24h, 7d (default: ${TOKEN_LIFE_SECONDS_DEFAULT / 3600}h)`,
      timeSpan(LIFE, "from 60s to 365d, such as 24h"),
    )
    .option("--uses <number>", "how many nodes may join with it", wholeNumber(1, TOKEN_USES_MAX))
    .option("--install", "print the line that also installs overlay, from this node");
  withExamples(
    withData(command),
    "overlay token create --life 1h --uses 3",
    "overlay token --install",
  );
  command.action(cli.action((options: CreateOptions) => runCreate(cli, options)));
}

async function runCreate(cli: Cli, options: CreateOptions): Promise<number> {
  const client = await cli.client(options);
  const answer = await client.createToken({ lifeSeconds: options.life, usesMax: options.uses });
  if (answer.ok && options.json !== true && cli.terminal.isTerminal) {
    const life = formatDuration(options.life ?? TOKEN_LIFE_SECONDS_DEFAULT);
    const uses = options.uses === undefined ? "" : ` and ${formatPlural(options.uses, "node")}`;
    const id = safe(answer.value.id);
    await cli.terminal.tell(`Run this on the node that is to join (good for ${life}${uses}):`);
    await cli.terminal.print(safe(commandOf(answer.value, options)));
    if (options.install !== true) {
      await cli.terminal.tell("Or, where overlay is not installed yet, as root:");
      await cli.terminal.tell(safe(answer.value.installCommand));
    }
    await cli.terminal.tell(`Take it back with: overlay token revoke ${id}`);
    return 0;
  }
  return cli.show("create a token", answer, options, (created) =>
    safe(commandOf(created, options)),
  );
}

function commandOf(created: CreatedToken, { install }: CreateOptions): string {
  return install === true ? created.installCommand : created.joinCommand;
}

function addList(token: Command, cli: Cli): void {
  const command = token.command("list").description("list the tokens, without their secrets");
  withExamples(withData(command), "overlay token list");
  command.action(
    cli.action(async (options: DataOptions) => {
      const answer = await (await cli.client(options)).tokens();
      return cli.show("list the tokens", answer, options, (tokens) => formatTokens(cli, tokens));
    }),
  );
}

async function formatTokens(cli: Cli, tokens: readonly TokenView[]): Promise<string> {
  if (tokens.length === 0) return 'No tokens; "overlay token" creates one';
  const { formatTable } = await import("./table.ts");
  return formatTable<TokenView>(
    [
      { head: "ID", cell: ({ id }) => id },
      { head: "CREATED", cell: ({ createdAt }) => shortTime(createdAt) },
      { head: "EXPIRES", cell: ({ expiresAt }) => shortTime(expiresAt) },
      { head: "USES LEFT", cell: ({ usesLeft }) => String(usesLeft ?? "any"), right: true },
      { head: "STATE", cell: stateOf },
    ],
    tokens,
    cli.terminal.columns,
  );
}

/** The first reason why nobody can join with it, or "good". */
function stateOf({ revoked, expired, usesLeft }: TokenView): string {
  if (revoked) return "revoked";
  if (expired) return "expired";
  return usesLeft === 0 ? "used up" : "good";
}

function addRevoke(token: Command, cli: Cli): void {
  const command = token
    .command("revoke")
    .description("make a token useless")
    .argument("<id>", 'its id, as "overlay token list" shows it');
  withExamples(withData(command), "overlay token revoke k3vq7m2p");
  command.action(
    cli.action(async (id: string, options: DataOptions) => {
      const answer = await (await cli.client(options)).revokeToken(id);
      return cli.show(
        `revoke token "${safe(id)}"`,
        answer,
        options,
        (revoked) => `Revoked token ${safe(revoked.id)}`,
      );
    }),
  );
}
