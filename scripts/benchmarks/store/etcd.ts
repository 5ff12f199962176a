/**
 * Three members of etcd, as Debian packages it, with its own defaults: the store to compare with.
 *
 * Spoken to through its JSON gateway (`/v3/…`), keys and values in base64. Syncs each commit, as
 * it does by default; the peers talk without TLS, which is in its favour.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { LabProcess } from "../../../tests/lab/process.ts";
import { mustRun } from "../../../tests/lab/run.ts";
import { waitFor } from "../../../tests/lab/wait.ts";
import { renderRequest } from "./http-connection.ts";
import {
  type Consistency,
  KEY_PREFIX,
  NUMBER_MARK_BASE64,
  numberInBase64,
  type StoreMember,
  type StoreSystem,
} from "./system.ts";

const HOST = "127.0.0.1";
const CLIENT_PORT_FIRST = 23_790;
const PEER_PORT_FIRST = 23_800;
const SETTLE_TIMEOUT_MS = 30_000;

interface StatusAnswer {
  readonly header: { readonly member_id: string };
  readonly leader?: string;
}

/** Opens etcd in `folder`; `start` starts it. */
export async function openEtcd(folder: string): Promise<StoreSystem> {
  const version = /etcd Version: (\S+)/.exec(await mustRun(["etcd", "--version"]))?.[1] ?? "?";
  return new Etcd(folder, version);
}

class Etcd implements StoreSystem {
  readonly name: string;
  readonly transferWords = "POST /v3/maintenance/transfer-leadership";
  readonly eventMark = NUMBER_MARK_BASE64;
  readonly #folder: string;
  #members: readonly StoreMember[] = [];

  constructor(folder: string, version: string) {
    this.#folder = folder;
    this.name = `etcd ${version}`;
  }

  get members(): readonly StoreMember[] {
    return this.#members;
  }

  async start(): Promise<void> {
    this.#members = [0, 1, 2].map((index) => ({
      name: `etcd${index + 1}`,
      host: HOST,
      port: CLIENT_PORT_FIRST + index,
      process: this.#launch(index),
    }));
    await this.settled();
  }

  restart(member: StoreMember): void {
    member.process = this.#launch(this.#members.indexOf(member));
  }

  async settled(): Promise<StoreMember> {
    return await waitFor(
      async () => {
        const all = await Promise.all(this.#members.map(statusOf));
        const leaders = new Set(all.map((status) => status.leader ?? "0"));
        const position = all.findIndex((status) => leaders.has(status.header.member_id));
        return leaders.size === 1 && this.#members[position];
      },
      { timeoutMs: SETTLE_TIMEOUT_MS, describe: "etcd to agree on a leader" },
    );
  }

  putRequest(_: StoreMember, key: string, value: Uint8Array): Uint8Array {
    return post("kv/put", { key: base64(key), value: Buffer.from(value).toString("base64") });
  }

  getRequest(_: StoreMember, key: string, consistency: Consistency): Uint8Array {
    return post("kv/range", { key: base64(key), serializable: consistency === "local" });
  }

  watchRequest(): Uint8Array {
    const last = KEY_PREFIX.charCodeAt(KEY_PREFIX.length - 1);
    const end = `${KEY_PREFIX.slice(0, -1)}${String.fromCharCode(last + 1)}`;
    const range = { key: base64(KEY_PREFIX), range_end: base64(end) };
    return post("watch", { create_request: range });
  }

  eventNumber(text: string): number {
    return numberInBase64(text);
  }

  async transfer(leader: StoreMember): Promise<void> {
    const target = this.#members.find((member) => member !== leader)!;
    const { header } = await statusOf(target);
    await call(leader, "maintenance/transfer-leadership", { targetID: header.member_id });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.process.kill()));
  }

  #launch(index: number): LabProcess {
    const name = `etcd${index + 1}`;
    const client = `http://${HOST}:${CLIENT_PORT_FIRST + index}`;
    const peer = (other: number) => `http://${HOST}:${PEER_PORT_FIRST + other}`;
    const cluster = [0, 1, 2].map((other) => `etcd${other + 1}=${peer(other)}`).join(",");
    mkdirSync(this.#folder, { recursive: true });
    return LabProcess.start({
      name,
      command: [
        ...["etcd", "--name", name, "--data-dir", join(this.#folder, name)],
        ...["--listen-client-urls", client, "--advertise-client-urls", client],
        ...["--listen-peer-urls", peer(index), "--initial-advertise-peer-urls", peer(index)],
        ...["--initial-cluster", cluster, "--initial-cluster-state", "new"],
        ...["--logger", "zap", "--log-level", "error"],
      ],
      logPath: join(this.#folder, `${name}.log`),
    });
  }
}

function post(path: string, body: object): Uint8Array {
  return renderRequest({ method: "POST", path: `/v3/${path}` }, JSON.stringify(body));
}

async function call(member: StoreMember, path: string, body: object): Promise<Response> {
  return await fetch(`http://${member.host}:${member.port}/v3/${path}`, {
    method: "POST",
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(SETTLE_TIMEOUT_MS),
  });
}

async function statusOf(member: StoreMember): Promise<StatusAnswer> {
  const answer = await call(member, "maintenance/status", {});
  return (await answer.json()) as StatusAnswer;
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
