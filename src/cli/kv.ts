/**
 * `overlay kv get|put|delete|list|txn|compact`, and `watch` (kv-watch.ts): the store by hand.
 *
 * Values go in and out byte for byte, so that `kv get` into a file and `kv put` from it are a copy;
 * only on a terminal they are made safe to look at.
 *
 * @module
 */
import type { Command } from "commander";
import type { ItemView, ResultView, TxnView } from "../admin/kv-api.ts";
import { type Cli, type DataOptions, wholeNumber, withData, withExamples } from "./cli.ts";
import { EXIT_DONE, EXIT_FAILED } from "./exit-code.ts";
import { formatPlural, safe } from "./format.ts";
import { bytesOf, formatValue, safeText } from "./kv-value.ts";
import { addWatch } from "./kv-watch.ts";
import { readBytesArgument, readTextArgument } from "./text-argument.ts";

interface ReadOptions extends DataOptions {
  readonly revision?: number;
  readonly serializable?: true;
}

interface ListOptions extends ReadOptions {
  readonly limit: number;
  readonly keys?: true;
}

interface PutOptions extends DataOptions {
  readonly ttl?: number;
  readonly ifRevision?: number;
}

interface DeleteOptions extends DataOptions {
  readonly prefix?: true;
  readonly ifRevision?: number;
}

const LIST_LIMIT_DEFAULT = 1000;
const LIST_LIMIT_MAX = 10_000;

/** Adds the command to `program`. */
export function addKv(program: Command, cli: Cli): void {
  const kv = program.command("kv").description("read, change and watch the cluster's store");
  withExamples(
    kv,
    "overlay kv put /app/color blue",
    "overlay kv get /app/color",
    "overlay kv list /app/",
    "overlay kv watch /app/",
  );
  addGet(kv, cli);
  addPut(kv, cli);
  addDelete(kv, cli);
  addList(kv, cli);
  addWatch(kv, cli);
  addTxn(kv, cli);
  addCompact(kv, cli);
}

function withRead(command: Command): Command {
  return command
    .option("--revision <number>", "as it was at this revision", revisionNumber())
    .option("--serializable", "as this node knows it: may be old, needs no quorum");
}

function consistencyOf(options: ReadOptions): "serializable" | undefined {
  return options.serializable === true ? "serializable" : undefined;
}

function revisionNumber(): (text: string) => number {
  return wholeNumber(0, Number.MAX_SAFE_INTEGER);
}

function addGet(kv: Command, cli: Cli): void {
  const command = kv
    .command("get")
    .description("print the value of a key, byte for byte")
    .argument("<key>");
  withExamples(
    withData(withRead(command)),
    "overlay kv get /app/color",
    "overlay kv get /app/color --json  # with revisions",
  );
  command.action(cli.action((key: string, options: ReadOptions) => get(cli, key, options)));
}

async function get(cli: Cli, key: string, options: ReadOptions): Promise<number> {
  const { revision } = options;
  const client = await cli.client(options);
  const answer = await client.kv.get(key, { revision, consistency: consistencyOf(options) });
  const action = `get "${safe(key)}"`;
  if (!answer.ok) return cli.fail(action, answer.error);
  if (options.json === true) return cli.show(action, answer, options, () => "");
  const { value } = answer.value.item;
  if (!cli.terminal.isTerminal) await cli.terminal.write(bytesOf(value));
  else if (typeof value === "string") await cli.terminal.print(safeText(value));
  else await cli.terminal.tell(`${formatValue(value)}; write them to a file, or use --json`);
  return EXIT_DONE;
}

function addPut(kv: Command, cli: Cli): void {
  const command = kv
    .command("put")
    .description("set the value of a key")
    .argument("<key>")
    .argument("<value>", 'the value, "-" for standard input, or "@file"')
    .option("--ttl <seconds>", "delete it after that, unless it is put again", ttlSeconds())
    .option(
      "--if-revision <number>",
      "only if it is at this revision; 0: is new",
      revisionNumber(),
    );
  withExamples(
    withData(command),
    "overlay kv put /app/color blue",
    "overlay kv put /app/logo @logo.png",
    "overlay kv put /app/leader web1 --ttl 30 --if-revision 0",
  );
  command.action(
    cli.action((key: string, value: string, options: PutOptions) => put(cli, key, value, options)),
  );
}

function ttlSeconds(): (text: string) => number {
  return wholeNumber(1, Number.MAX_SAFE_INTEGER);
}

async function put(cli: Cli, key: string, argument: string, options: PutOptions): Promise<number> {
  const value = await readBytesArgument(argument, cli.terminal);
  if (!value.ok) {
    await cli.terminal.tell(value.error);
    return EXIT_FAILED;
  }
  const client = await cli.client(options);
  const answer = await client.kv.put({
    key,
    value: value.value,
    ttlSeconds: options.ttl,
    expectedRevision: options.ifRevision,
  });
  return cli.show(
    `put "${safe(key)}"`,
    answer,
    options,
    ({ revision }) => `Put ${safe(key)}, at revision ${revision}`,
  );
}

function addDelete(kv: Command, cli: Cli): void {
  const command = kv
    .command("delete")
    .description("delete a key")
    .argument("<key>")
    .option("--prefix", "all keys that start with it")
    .option("--if-revision <number>", "only if it is at this revision", revisionNumber());
  withExamples(
    withData(command),
    "overlay kv delete /app/color",
    "overlay kv delete --prefix /app/",
  );
  command.action(cli.action((key: string, options: DeleteOptions) => remove(cli, key, options)));
}

async function remove(cli: Cli, key: string, options: DeleteOptions): Promise<number> {
  const client = await cli.client(options);
  const action = `delete "${safe(key)}"`;
  if (options.prefix === true) {
    if (options.ifRevision !== undefined) {
      return cli.refuse(
        `Cannot ${action}: --prefix and --if-revision exclude each other; drop one`,
      );
    }
    const body = JSON.stringify({ success: [{ op: "deletePrefix", prefix: key }] });
    const answer = await client.kv.txn(body);
    return cli.show(action, answer, options, ({ revision, results }) => {
      const done = results[0];
      const count = done?.op === "deletePrefix" ? done.deleted : 0;
      return `Deleted ${formatPlural(count, "key")} under ${safe(key)}, at revision ${revision}`;
    });
  }
  const answer = await client.kv.delete({ key, expectedRevision: options.ifRevision });
  return cli.show(
    action,
    answer,
    options,
    ({ revision }) => `Deleted ${safe(key)}, at revision ${revision}`,
  );
}

function addList(kv: Command, cli: Cli): void {
  const command = kv
    .command("list")
    .description("list keys and values")
    .argument("[prefix]", "of the keys", "")
    .option("--keys", "only the keys, one a line")
    .option(
      "--limit <number>",
      "at most so many",
      wholeNumber(1, LIST_LIMIT_MAX),
      LIST_LIMIT_DEFAULT,
    );
  withExamples(
    withData(withRead(command)),
    "overlay kv list /app/",
    "overlay kv list --keys /overlay/",
  );
  command.action(cli.action((prefix: string, options: ListOptions) => list(cli, prefix, options)));
}

async function list(cli: Cli, prefix: string, options: ListOptions): Promise<number> {
  const { limit, revision } = options;
  const client = await cli.client(options);
  const consistency = consistencyOf(options);
  const answer = await client.kv.list({ prefix, limit, revision, consistency });
  const action = prefix === "" ? "list the keys" : `list the keys under "${safe(prefix)}"`;
  const code = await cli.show(action, answer, options, ({ items }) => {
    if (options.keys === true) return items.map(({ key }) => safe(key)).join("\n");
    return items.length === 0 ? "No keys" : formatItems(cli, items);
  });
  if (answer.ok && answer.value.more && options.json !== true) {
    await cli.terminal.tell("There are more keys; give a longer prefix, or a larger --limit");
  }
  return code;
}

async function formatItems(cli: Cli, items: readonly ItemView[]): Promise<string> {
  const { formatTable } = await import("./table.ts");
  return formatTable<ItemView>(
    [
      { head: "KEY", cell: ({ key }) => key, shrinkTo: 16 },
      { head: "REVISION", cell: ({ modRevision }) => String(modRevision), right: true },
      { head: "VERSION", cell: ({ version }) => String(version), right: true },
      {
        head: "TTL",
        cell: ({ ttlSeconds }) => (ttlSeconds ? `${ttlSeconds} s` : "-"),
        right: true,
      },
      { head: "VALUE", cell: ({ value }) => formatValue(value), shrinkTo: 12 },
    ],
    items,
    cli.terminal.columns,
  );
}

function addTxn(kv: Command, cli: Cli): void {
  const command = kv
    .command("txn")
    .description("change several keys at once, under conditions")
    .argument("<txn>", 'the transaction in JSON, "-" for standard input, or "@file"');
  withExamples(
    withData(command),
    `overlay kv txn '{"compare":[{"key":"/a","target":"version","op":"=","value":0}],` +
      `"success":[{"op":"put","key":"/a","value":"mine"}],"failure":[{"op":"get","key":"/a"}]}'`,
  );
  command.action(
    cli.action(async (argument: string, options: DataOptions) => {
      const body = await readTextArgument(argument, cli.terminal);
      if (!body.ok) {
        await cli.terminal.tell(body.error);
        return EXIT_FAILED;
      }
      const answer = await (await cli.client(options)).kv.txn(body.value);
      return cli.show("do the transaction", answer, options, formatTxn);
    }),
  );
}

function formatTxn({ succeeded, revision, results }: TxnView): string {
  const which = succeeded ? "every comparison held: success" : "a comparison did not hold: failure";
  return [`Done, ${which}, at revision ${revision}`, ...results.flatMap(formatResult)].join("\n");
}

function formatResult(result: ResultView): string[] {
  switch (result.op) {
    case "put":
      return ["  put"];
    case "renew": {
      const { ttlSeconds } = result;
      return [ttlSeconds === null ? "  renew: nothing to renew" : `  renew: ${ttlSeconds} s`];
    }
    case "get":
      return [result.item === null ? "  get: no such key" : `  get: ${formatItem(result.item)}`];
    case "range": {
      const count = `  range: ${formatPlural(result.items.length, "key")}`;
      const more = result.more ? " and more" : "";
      return [count + more, ...result.items.map((item) => `    ${formatItem(item)}`)];
    }
    case "delete":
    case "deletePrefix":
      return [`  delete: ${formatPlural(result.deleted, "key")}`];
  }
}

function formatItem({ key, value }: ItemView): string {
  return `${safe(key)} = ${formatValue(value)}`;
}

function addCompact(kv: Command, cli: Cli): void {
  const command = kv
    .command("compact")
    .description("forget what was before a revision")
    .argument("<revision>", "the oldest one to keep", revisionNumber());
  withExamples(withData(command), "overlay kv compact 1200");
  command.action(
    cli.action(async (revision: number, options: DataOptions) => {
      const answer = await (await cli.client(options)).kv.compact(revision);
      return cli.show(
        "compact the store",
        answer,
        options,
        (done) => `Compacted; revision ${done.revision} is the oldest one kept`,
      );
    }),
  );
}
