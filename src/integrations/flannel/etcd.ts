/**
 * Reads a range of keys from an etcd v3 cluster by its JSON gateway.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { parseRecord } from "../../base/json-record.ts";
import { err, ok, type Result } from "../../base/result.ts";
import type { EtcdOptions } from "./flanneld-options.ts";

/** Of one request; all of flannel's keys are one. */
const REQUEST_TIMEOUT_MS = 10_000;
/** A thousand leases are a third of a megabyte. */
const ANSWER_SIZE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * The range of all keys below `prefix`, as the gateway's JSON, from the first endpoint that
 * answers; or why none does.
 */
export async function readEtcd(
  options: EtcdOptions,
  prefix: string,
): Promise<Result<string, string>> {
  const tls = readTls(options);
  if (!tls.ok) return tls;
  const failures: string[] = [];
  for (const endpoint of options.endpoints) {
    const url = endpoint.replace(/\/+$/, "");
    const result = await readFrom({ ...options, url, tls: tls.value, prefix });
    if (result.ok) return result;
    failures.push(`${url}: ${result.error}`);
  }
  return err(failures.join("; "));
}

interface Tls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

interface Request extends EtcdOptions {
  readonly url: string;
  readonly tls: Tls;
}

async function readFrom(request: Request & { prefix: string }): Promise<Result<string, string>> {
  const { password, prefix, username } = request;
  let token: string | undefined;
  if (username !== undefined) {
    const body = { name: username, password: password ?? "" };
    const answer = await post(request, "/v3/auth/authenticate", body);
    if (!answer.ok) return answer;
    const given = parseRecord(answer.value)?.["token"];
    if (typeof given !== "string") return err("it gives no token for that name and password");
    token = given;
  }
  const start = Buffer.from(`${prefix}/`);
  const end = Buffer.from(start);
  end[end.length - 1]! += 1;
  const range = { key: start.toString("base64"), range_end: end.toString("base64") };
  return await post(request, "/v3/kv/range", range, token);
}

async function post(
  { tls, url }: Request,
  path: string,
  body: object,
  token?: string,
): Promise<Result<string, string>> {
  try {
    const response = await fetch(`${url}${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: token === undefined ? {} : { authorization: token },
      redirect: "error",
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      tls,
    });
    const text = await response.text();
    if (text.length > ANSWER_SIZE_BYTES_MAX) return err("its answer is too large");
    if (response.ok) return ok(text);
    const said = parseRecord(text);
    const words = said?.["error"] ?? said?.["message"] ?? text.slice(0, 200).trim();
    return err(`HTTP ${response.status}, ${words}`);
  } catch (error) {
    // Whatever fetch throws, of the network or of TLS, is about the other side or the way there.
    return err(error instanceof Error ? error.message : String(error));
  }
}

function readTls({ cafile, certfile, keyfile }: EtcdOptions): Result<Tls, string> {
  const files = { ca: cafile, cert: certfile, key: keyfile };
  const read: Record<string, string> = {};
  for (const [name, path] of Object.entries(files)) {
    if (path === undefined) continue;
    try {
      read[name] = readFileSync(path, "utf8");
    } catch (error) {
      const errno = error instanceof Error && "code" in error ? String(error.code) : "EIO";
      return err(`"${path}" cannot be read (${errno})`);
    }
  }
  return ok(read);
}
