/**
 * Where a flannel's network is read from: its etcd, or a dump of it, with what flanneld's options
 * file says for what the user leaves out.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { err, ok, type Result } from "../../base/result.ts";
import { readEtcd } from "./etcd.ts";
import { type FlannelNetwork, PREFIX_DEFAULT, parseDump } from "./etcd-dump.ts";
import {
  type EtcdOptions,
  type FlanneldOptions,
  OPTIONS_FILES,
  parseFlanneldOptions,
} from "./flanneld-options.ts";

export interface FlannelSource {
  /** What `etcdctl get --prefix -w json` printed; undefined: ask an etcd. */
  readonly file: string | undefined;
  readonly etcd: EtcdOptions;
}

export interface FlannelFound {
  readonly network: FlannelNetwork;
  /** For people: an address, or a file. */
  readonly from: string;
}

export interface OptionsFound {
  readonly path: string;
  readonly options: FlanneldOptions;
}

/** The first options file of flanneld that is there; of `paths`, if given, only those. */
export function readOptionsFile(
  paths: readonly string[] = OPTIONS_FILES,
): OptionsFound | undefined {
  for (const path of paths) {
    const text = readText(path);
    if (text.ok) return { path, options: parseFlanneldOptions(text.value) };
  }
  return undefined;
}

/** The network, or why it cannot be read. */
export async function readFlannel(source: FlannelSource): Promise<Result<FlannelFound, string>> {
  const { etcd, file } = source;
  const prefix = (etcd.prefix ?? PREFIX_DEFAULT).replace(/\/+$/, "");
  const from = file ?? `${etcd.endpoints.join(", ")} at ${prefix}`;
  const text = file === undefined ? await readEtcd(etcd, prefix) : readText(file);
  if (!text.ok) return err(text.error);
  const network = parseDump(text.value, prefix);
  return network.ok ? ok({ network: network.value, from }) : network;
}

function readText(path: string): Result<string, string> {
  try {
    return ok(readFileSync(path, "utf8"));
  } catch (error) {
    const errno = error instanceof Error && "code" in error ? String(error.code) : "EIO";
    return err(errno === "ENOENT" ? `there is no file "${path}"` : `${errno} on "${path}"`);
  }
}
