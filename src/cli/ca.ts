/**
 * `overlay ca [status|rotate]`: the cluster's CA and the certificates of its nodes.
 *
 * @module
 */
import type { Command } from "commander";
import {
  CA_KEEP_SECONDS_DEFAULT,
  CA_KEEP_SECONDS_MAX,
  CA_KEEP_SECONDS_MIN,
} from "../admin/limits.ts";
import type { AuthorityView, CertificateView } from "../admin/service.ts";
import { type Cli, type DataOptions, timeSpan, withData, withExamples } from "./cli.ts";
import { safe, shortTime } from "./format.ts";

interface RotateOptions extends DataOptions {
  readonly keep?: number;
}

/** Adds the command to `program`. */
export function addCa(program: Command, cli: Cli): void {
  const ca = program
    .command("ca")
    .description("show the cluster's CA and the nodes' certificates, or change the CA");
  withExamples(ca, "overlay ca", "overlay ca rotate --keep 7d");
  addStatus(ca, cli);
  addRotate(ca, cli);
}

function addStatus(ca: Command, cli: Cli): void {
  const command = ca
    .command("status", { isDefault: true })
    .description("show the CAs, and until when each node's certificate is good");
  withExamples(withData(command), "overlay ca status --json");
  command.action(
    cli.action(async (options: DataOptions) => {
      const answer = await (await cli.client(options)).authority();
      return cli.show("show the CA", answer, options, (view) => formatAuthority(cli, view));
    }),
  );
}

async function formatAuthority(cli: Cli, view: AuthorityView): Promise<string> {
  const { formatTable } = await import("./table.ts");
  const lines = view.authorities.map(
    ({ pin, state, expiresAt }) => `CA ${safe(pin)}: ${state}, until ${shortTime(expiresAt)}`,
  );
  if (view.dropsAt !== null) {
    const who = view.waiting.map(({ name }) => safe(name)).join(", ");
    const reason = who === "" ? "as soon as this is known everywhere" : `or when ${who} renewed`;
    lines.push(`The retiring CA is dropped at ${shortTime(view.dropsAt)}, ${reason}`);
  }
  const signing = view.authorities.find(({ state }) => state === "signing")?.pin;
  const table = formatTable<CertificateView>(
    [
      { head: "NAME", cell: ({ name }) => name, shrinkTo: 8 },
      { head: "ID", cell: ({ id }) => id },
      { head: "CERTIFICATE UNTIL", cell: ({ expiresAt }) => shortTime(expiresAt) },
      { head: "CA", cell: ({ pin }) => (pin === signing ? "signing" : "retiring") },
    ],
    view.certificates,
    cli.terminal.columns,
  );
  return [...lines, "", table].join("\n");
}

function addRotate(ca: Command, cli: Cli): void {
  const range = { minSeconds: CA_KEEP_SECONDS_MIN, maxSeconds: CA_KEEP_SECONDS_MAX };
  const command = ca
    .command("rotate")
    .description("make a new CA; nodes renew by themselves, and the old one is dropped")
    .option(
      "--keep <time>",
      "how long the old CA is trusted for nodes that are off: 1h, 7d, 90d " +
        `(default: ${CA_KEEP_SECONDS_DEFAULT / 86_400}d)`,
      timeSpan(range, "from 60s to 90d, such as 7d"),
    );
  withExamples(withData(command), "overlay ca rotate", "overlay ca rotate --keep 1h");
  command.action(
    cli.action(async (options: RotateOptions) => {
      const answer = await (await cli.client(options)).rotateCa({ keepSeconds: options.keep });
      return cli.show(
        "change the CA",
        answer,
        options,
        () => 'The cluster has a new CA; nodes renew within seconds, see "overlay ca"',
      );
    }),
  );
}
