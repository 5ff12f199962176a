/**
 * `overlay join`: moves this node into the cluster of a peer.
 *
 * @module
 */
import type { Command } from "commander";
import { type Cli, type DataOptions, withData, withExamples } from "./cli.ts";
import { EXIT_FAILED } from "./exit-code.ts";
import { safe } from "./format.ts";
import { readTextArgument } from "./text-argument.ts";

interface JoinOptions extends DataOptions {
  readonly token?: string;
  readonly reset?: true;
}

const HOW_TO_GET_ONE = 'get one with "overlay token" on a node of that cluster';

/** Adds the command to `program`. */
export function addJoin(program: Command, cli: Cli): void {
  const command = program
    .command("join")
    .description("join the cluster of a peer")
    .argument("<peer>", "address of a node of the cluster, port 8286 unless given")
    .option("--token <token>", 'what "overlay token" printed there; "-" or "@file" to read it')
    .option("--reset", "give up this node's own config, leases and members");
  withExamples(
    withData(command),
    "overlay join 192.0.2.1 --token OVL1.…",
    "overlay join node1.example.com:8286 --token @/root/join-token",
  );
  command.action(cli.action((peer: string, options: JoinOptions) => runJoin(cli, peer, options)));
}

async function runJoin(cli: Cli, peer: string, options: JoinOptions): Promise<number> {
  const given = options.token ?? (await askToken(cli, peer));
  if (given === undefined) {
    return cli.refuse(
      `Cannot join "${safe(peer)}": no token; ${HOW_TO_GET_ONE} and give it with --token`,
    );
  }
  const token = await readTextArgument(given, cli.terminal);
  if (!token.ok) {
    await cli.terminal.tell(token.error);
    return EXIT_FAILED;
  }
  if (cli.terminal.isTerminal) await cli.terminal.tell(`Joining the cluster of ${safe(peer)} …`);
  const client = await cli.client(options);
  const request = { peer, token: token.value.trim(), reset: options.reset === true };
  const answer = await client.join(request);
  return cli.show(`join "${safe(peer)}"`, answer, options, ({ clusterId, nodeId }) =>
    [
      `Joined cluster ${safe(clusterId)} as node ${safe(nodeId)}`,
      'See it with "overlay status"',
    ].join("\n"),
  );
}

/** Undefined when there is nobody to ask, or no answer. */
async function askToken(cli: Cli, peer: string): Promise<string | undefined> {
  if (!cli.terminal.canAsk) return undefined;
  await cli.terminal.tell(`To join the cluster of ${safe(peer)}, ${HOW_TO_GET_ONE}`);
  const answer = (await cli.terminal.ask("Token: "))?.trim();
  return answer === "" ? undefined : answer;
}
