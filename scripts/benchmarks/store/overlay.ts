/**
 * Three of our own agents in one cluster, on this machine's loopback, as they are built.
 *
 * Each has an address of its own on an empty bridge for its peers (mutual TLS), and its admin API
 * on a loopback port. There is no network config, so no packets are carried: only the store works.
 *
 * @module
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { LabProcess } from "../../../tests/lab/process.ts";
import { mustRun } from "../../../tests/lab/run.ts";
import { waitFor } from "../../../tests/lab/wait.ts";
import { renderRequest } from "./http-connection.ts";
import {
  type Consistency,
  KEY_PREFIX,
  NUMBER_MARK,
  numberInText,
  type StoreMember,
  type StoreSystem,
} from "./system.ts";

const HOST = "127.0.0.1";
const ADMIN_PORT_FIRST = 18_287;
const MEMBER_COUNT = 3;
const CLUSTER_PORT = 8286;
const SETTLE_TIMEOUT_MS = 30_000;
const BRIDGE = "overlaybench";
const UNDERLAY = "10.99.10";

interface Status {
  readonly node: { readonly name: string };
  readonly cluster: {
    readonly leader: { readonly id: string; readonly name: string } | null;
    readonly members: number;
    readonly voters: number;
    readonly quorum: boolean;
  };
}

/** Which build, and which of the ports and addresses when two run side by side. */
export interface OverlayOptions {
  readonly program: string;
  /** 0 or 1. */
  readonly slot: number;
}

/** Opens our store in `folder`; `start` starts it. The addresses are made here. */
export async function openOverlay(folder: string, options: OverlayOptions): Promise<StoreSystem> {
  const { program, slot } = options;
  const version = (await mustRun([program, "version"])).trim().split("\n")[0] ?? "overlay";
  const bridge = `${BRIDGE}${slot}`;
  await mustRun(["ip", "link", "add", bridge, "type", "bridge"]);
  for (const index of [0, 1, 2]) {
    await mustRun(["ip", "address", "add", `${underlayOf(slot, index)}/24`, "dev", bridge]);
  }
  await mustRun(["ip", "link", "set", bridge, "up"]);
  return new Overlay(folder, version, options);
}

class Overlay implements StoreSystem {
  readonly name: string;
  readonly transferWords = "SIGTERM of the leader, which hands over before it ends";
  /** Values that are text stand in events as they are. */
  readonly eventMark = NUMBER_MARK;
  readonly #folder: string;
  readonly #program: string;
  readonly #slot: number;
  readonly #tokens: string[] = [];
  #members: readonly StoreMember[] = [];

  constructor(folder: string, version: string, { program, slot }: OverlayOptions) {
    this.#folder = folder;
    this.#program = program;
    this.#slot = slot;
    this.name = version;
  }

  get members(): readonly StoreMember[] {
    return this.#members;
  }

  async start(): Promise<void> {
    this.#members = [0, 1, 2].map((index) => ({
      name: nameOf(index),
      host: HOST,
      port: this.#adminPort(index),
      process: this.#launch(index),
    }));
    await Promise.all(this.#members.map((member) => waitHealthy(member)));
    for (const index of [0, 1, 2]) {
      this.#tokens.push(readFileSync(join(this.#dataDir(index), "admin-token"), "utf8").trim());
    }
    for (const index of [1, 2]) {
      const created = JSON.parse(await this.#cli(0, ["token", "create", "--json"]));
      await this.#cli(index, ["join", underlayOf(this.#slot, 0), "--token", created.token]);
    }
    await this.settled();
  }

  restart(member: StoreMember): void {
    member.process = this.#launch(this.#members.indexOf(member));
  }

  async settled(): Promise<StoreMember> {
    return await waitFor(
      async () => {
        const all = await Promise.all(this.#members.map(statusOf));
        const leaders = new Set(all.map(({ cluster }) => cluster.leader?.name));
        const isWhole = all.every(({ cluster }) => cluster.voters === this.#members.length);
        const leader = this.#members.find((member) => leaders.has(member.name));
        return leaders.size === 1 && isWhole && leader;
      },
      { timeoutMs: SETTLE_TIMEOUT_MS, describe: "our agents to agree on a leader" },
    );
  }

  putRequest(member: StoreMember, key: string, value: Uint8Array): Uint8Array {
    const token = this.#tokens[this.#members.indexOf(member)];
    const headers = { authorization: `Bearer ${token}` };
    return renderRequest({ method: "PUT", path: `/kv${key}`, headers }, value);
  }

  getRequest(_: StoreMember, key: string, consistency: Consistency): Uint8Array {
    const query = consistency === "local" ? "?consistency=serializable" : "";
    return renderRequest({ method: "GET", path: `/kv${key}${query}` });
  }

  watchRequest(): Uint8Array {
    return renderRequest({ method: "GET", path: `/watch?prefix=${KEY_PREFIX}` });
  }

  eventNumber(text: string): number {
    return numberInText(text);
  }

  async transfer(leader: StoreMember): Promise<void> {
    await leader.process.terminate();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.process.kill()));
  }

  #launch(index: number): LabProcess {
    const name = nameOf(index);
    const underlay = underlayOf(this.#slot, index);
    mkdirSync(this.#runDir(index), { recursive: true });
    return LabProcess.start({
      name,
      command: [
        ...[this.#program, "agent", "--node-name", name, "--iface", underlay],
        ...["--data-dir", this.#dataDir(index), "--run-dir", this.#runDir(index)],
        ...["--subnet-file", "none", "--admin-listen", `${HOST}:${this.#adminPort(index)}`],
        ...["--cluster-listen", `${underlay}:${CLUSTER_PORT}`],
      ],
      logPath: join(this.#folder, `${name}.log`),
    });
  }

  async #cli(index: number, words: readonly string[]): Promise<string> {
    const socket = join(this.#runDir(index), "overlay.sock");
    return await mustRun([this.#program, ...words, "--socket", socket]);
  }

  #adminPort(index: number): number {
    return ADMIN_PORT_FIRST + MEMBER_COUNT * this.#slot + index;
  }

  #dataDir(index: number): string {
    return join(this.#folder, nameOf(index), "data");
  }

  #runDir(index: number): string {
    return join(this.#folder, nameOf(index), "run");
  }
}

function nameOf(index: number): string {
  return `overlay${index + 1}`;
}

function underlayOf(slot: number, index: number): string {
  return `${UNDERLAY}${slot}.${index + 1}`;
}

async function statusOf(member: StoreMember): Promise<Status> {
  const answer = await fetch(`http://${member.host}:${member.port}/status`, {
    signal: AbortSignal.timeout(SETTLE_TIMEOUT_MS),
  });
  return (await answer.json()) as Status;
}

async function waitHealthy(member: StoreMember): Promise<void> {
  await waitFor(async () => (await fetch(`http://${member.host}:${member.port}/healthz`)).ok, {
    describe: `${member.name} to answer`,
    details: () => member.process.tail(3),
  });
}
