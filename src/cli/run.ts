/**
 * The command line: which commands there are, and how wrong usage is told.
 *
 * @module
 */
import { Command, CommanderError } from "commander";
import { HostError } from "../base/host-error.ts";
import { VERSION } from "../base/version.ts";
import { addAgent } from "./agent.ts";
import { addCa } from "./ca.ts";
import { Cli, withExamples } from "./cli.ts";
import { addCni } from "./cni.ts";
import { addCompletion } from "./completion.ts";
import { addConfig } from "./config.ts";
import { addDebug } from "./debug.ts";
import { addDockerEnv } from "./docker-env.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_USAGE } from "./exit-code.ts";
import { safe } from "./format.ts";
import { addImport } from "./import.ts";
import { addJoin } from "./join.ts";
import { addKv } from "./kv.ts";
import { addLease } from "./lease.ts";
import { addLeave } from "./leave.ts";
import { addMan } from "./man.ts";
import { addMember } from "./member.ts";
import { addPing } from "./ping.ts";
import { addRecover } from "./recover.ts";
import { addSnapshot } from "./snapshot.ts";
import { addStatus } from "./status.ts";
import type { Terminal } from "./terminal.ts";
import { addToken } from "./token.ts";
import { addUninstall } from "./uninstall.ts";
import { addUnit } from "./unit.ts";
import { addVersion } from "./version.ts";

/** Carries out `argv` (without the program's name); resolves to the exit code. */
export async function runCli(argv: readonly string[], terminal: Terminal): Promise<number> {
  const cli = new Cli(terminal);
  const said = { out: "", err: "", wrong: "" };
  const program = createProgram(cli, said);
  try {
    await program.parseAsync(argv, { from: "user" });
    return cli.exitCode;
  } catch (error) {
    if (error instanceof HostError) {
      await terminal.tell(safe(error.message));
      return EXIT_FAILED;
    }
    if (!(error instanceof CommanderError)) throw error;
    if (said.out !== "") await terminal.print(said.out.trimEnd());
    const complaint = said.wrong !== "" ? said.wrong : said.err.trimEnd();
    if (complaint !== "") await terminal.tell(complaint);
    return complaint === "" ? EXIT_DONE : EXIT_USAGE;
  }
}

/** What the parser wants to say. Collected, to be written and awaited in one place. */
interface Said {
  /** Help that was asked for, and the version. */
  out: string;
  /** Help for who gave no command. */
  err: string;
  /** Wrong usage, as one line. */
  wrong: string;
}

function createProgram(cli: Cli, said: Said): Command {
  const program = new Command("overlay")
    .description("Overlay network: gives each node a subnet and carries packets between them")
    .version(`overlay ${VERSION}`, "--version", "print the version")
    .helpOption("-h, --help", "show this help")
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        said.out += text;
      },
      writeErr: (text) => {
        said.err += text;
      },
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  withExamples(
    program,
    "overlay token                                   # on one node: prints the join command",
    "overlay join 192.0.2.1 --token OVL1.…           # on the others",
    `overlay config set '{"Network":"10.0.0.0/16"}'  # once`,
    "overlay status",
  );
  for (const add of [
    addStatus,
    addPing,
    addJoin,
    addLeave,
    addConfig,
    addToken,
    addCa,
    addMember,
    addLease,
    addKv,
    addSnapshot,
    addRecover,
    addImport,
    addDockerEnv,
    addCni,
    addAgent,
    addUninstall,
    addCompletion,
    addVersion,
    addDebug,
    addMan,
    addUnit,
  ]) {
    add(program, cli);
  }
  tellUsage(program, said, "overlay");
  return program;
}

/** Words wrong usage in the form of all our errors, with the help to look into. */
function tellUsage(command: Command, said: Said, name: string): void {
  command.configureOutput({
    outputError: (text) => {
      said.wrong = `Cannot run "${name}": ${rewordUsage(text)}; see "${name} --help"`;
    },
  });
  for (const each of command.commands) tellUsage(each, said, `${name} ${each.name()}`);
}

/** The parser's complaint as a part of our sentence. */
function rewordUsage(text: string): string {
  return safe(text.trim())
    .replace(/^error: /, "")
    .replaceAll("'", '"')
    .replace(/^too many arguments for .* Expected 0 .*: (.*)\.$/, 'unexpected argument "$1"')
    .replace(
      /^too many arguments for .* Expected ([0-9]+ arguments?) but got ([0-9]+): (.*)\.$/,
      'expected $1 and got $2 ("$3")',
    )
    .replace(/ is invalid\. (.*)\.$/, " is not valid: $1")
    .replace(/\(Did you/, "(did you");
}
