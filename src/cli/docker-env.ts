/**
 * `overlay docker-env`: options for dockerd, with flannel's `mk-docker-opts.sh` options.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import { COMBINED_KEY_DEFAULT, isVariableName } from "../integrations/docker/docker-options.ts";
import { type Cli, wholeNumber, withExamples } from "./cli.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";
import { safe } from "./format.ts";

const SOURCE_DEFAULT = "/run/flannel/subnet.env";
const TARGET_DEFAULT = "/run/docker_opts.env";
const WAIT_SECONDS_MAX = 3600;

interface DockerEnvOptions {
  readonly f: string;
  readonly d: string;
  readonly i?: true;
  readonly c?: true;
  readonly m?: true;
  readonly k: string;
  readonly wait: number;
}

/** Adds the command to `program`. */
export function addDockerEnv(program: Command, cli: Cli): void {
  const command = program
    .command("docker-env")
    .description("write this node's subnet as options for dockerd (flannel's mk-docker-opts.sh)")
    .option("-f <file>", "subnet.env to read", SOURCE_DEFAULT)
    .option("-d <file>", 'file to write; "-" for standard output', TARGET_DEFAULT)
    .option("-i", "write each option as a variable of its own, such as DOCKER_OPT_MTU")
    .option("-c", "write all options into one variable; without -i and -c, both")
    .option("-k <name>", "name of that one variable", parseName, COMBINED_KEY_DEFAULT)
    .option("-m", "leave --ip-masq out")
    .option("--wait <seconds>", "wait for the subnet", wholeNumber(0, WAIT_SECONDS_MAX), 0);
  withExamples(
    command,
    "overlay docker-env -d - -i                  # look at the options",
    "overlay docker-env --wait 60 -c -k DOCKER_NETWORK_OPTIONS -d /run/overlay/docker.env",
  );
  command.action(cli.action((options: DockerEnvOptions) => writeOptions(cli, options)));
}

async function writeOptions(cli: Cli, options: DockerEnvOptions): Promise<number> {
  const { writeDockerEnv } = await import("../integrations/docker/docker-env.ts");
  const toOutput = options.d === "-";
  const both = options.i !== true && options.c !== true;
  const report = await writeDockerEnv({
    source: options.f,
    target: toOutput ? undefined : options.d,
    individual: both || options.i === true,
    combined: both || options.c === true,
    key: options.k,
    masquerade: options.m !== true,
    waitMs: options.wait * 1000,
    env: cli.terminal.env,
  });
  const action = "make Docker's options";
  if (!report.ok) {
    await cli.terminal.tell(safe(`Cannot ${action}: ${report.error}`));
    return EXIT_FAILED;
  }
  const { blocked, text, warning } = report.value;
  if (toOutput) await cli.terminal.write(new TextEncoder().encode(text));
  if (warning !== undefined) await cli.terminal.tell(safe(warning));
  if (blocked === undefined) return EXIT_DONE;
  await cli.terminal.tell(safe(`Cannot use Docker's options: ${blocked}`));
  return EXIT_FAILED;
}

function parseName(text: string): string {
  if (isVariableName(text)) return text;
  throw new InvalidArgumentError("expected the name of a variable.");
}
