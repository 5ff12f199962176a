/**
 * Real agents, many on one machine: each a process with an address, a data directory and a disk
 * log of its own. They hold subnets and carry no packets (backend `alloc`).
 *
 * @module
 */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { RUNTIME_SETTINGS } from "../../../src/agent/runtime-tuning.ts";
import type { Command } from "../../../src/control/kv/types.ts";
import { OVERLAY_PATH } from "../../../tests/lab/host.ts";
import { LabProcess } from "../../../tests/lab/process.ts";
import { waitFor } from "../../../tests/lab/wait.ts";

/** RFC 2544: for benchmarks. */
const ADDRESS_PREFIX = "198.18.";
const ADMIN_PORT_BASE = 20_000;
const START_TIMEOUT_MS = 120_000;
/** The life of a lease carries the number of a change: no agent has anything to do about it. */
const TTL_SECONDS = 86_400;
const MARK = /LeaseTTLSeconds\D+(\d+)/;

/** What of `GET /status` is looked at. */
export interface AgentStatus {
  readonly node: { readonly role: string };
  readonly cluster: {
    readonly leader: { readonly name: string } | null;
    readonly term: number;
    readonly members: number;
    readonly quorum: boolean;
  };
  readonly lease: { readonly subnet: string } | null;
}

/** One agent. */
export class BenchAgent {
  readonly name: string;
  readonly address: string;
  readonly #number: number;
  readonly #folder: string;
  readonly #socket: string;
  #process: LabProcess;

  constructor(number: number, folder: string) {
    this.#number = number;
    this.#folder = join(folder, String(number));
    this.name = `n${number}`;
    this.address = addressOf(number);
    this.#socket = join(this.#folder, "run", "overlay.sock");
    mkdirSync(join(this.#folder, "run"), { recursive: true });
    this.#process = this.#start();
  }

  get process(): LabProcess {
    return this.#process;
  }

  /** Ends the process as a service manager does. */
  async stop(): Promise<void> {
    await this.#process.terminate(START_TIMEOUT_MS);
  }

  /** Starts it again with what it kept. */
  startAgain(): void {
    this.#process = this.#start();
  }

  #start(): LabProcess {
    const own = this.#folder;
    return LabProcess.start({
      name: this.name,
      command: [
        ...[OVERLAY_PATH, "agent", "--node-name", this.name, "--iface", this.address],
        ...["--data-dir", join(own, "data"), "--run-dir", join(own, "run")],
        // In one network all would hear of each change that one of them makes to the firewall.
        ...["--subnet-file", "none", "--ip-masq=false"],
        ...["--cluster-listen", `${this.address}:8286`],
        ...["--admin-listen", `127.0.0.1:${ADMIN_PORT_BASE + this.#number}`, "--log-level", "warn"],
      ],
      logPath: join(own, "agent.log"),
      // As the service's unit has it.
      env: RUNTIME_SETTINGS,
    });
  }

  /** Asks its API; throws when it does not answer or refuses. */
  async ask<Body>(path: string, init: RequestInit = {}): Promise<Body> {
    const response = await fetch(`http://localhost${path}`, { ...init, unix: this.#socket });
    if (!response.ok) throw new Error(`${this.name} ${path}: ${await response.text()}`);
    return (await response.json()) as Body;
  }

  /** An answer that is no JSON. */
  async text(path: string): Promise<string> {
    return await (await fetch(`http://localhost${path}`, { unix: this.#socket })).text();
  }

  post<Body>(path: string, body: unknown, method = "POST"): Promise<Body> {
    const headers = { "content-type": "application/json" };
    return this.ask(path, { method, headers, body: JSON.stringify(body) });
  }

  status(): Promise<AgentStatus> {
    return this.ask("/status");
  }

  /** Waits until its API answers. */
  async answers(): Promise<void> {
    const isUp = () => this.#isThere() && this.status().then(Boolean, () => false);
    const options = { timeoutMs: START_TIMEOUT_MS, describe: `${this.name} to answer` };
    await waitFor(async () => isUp(), options);
  }

  /** Waits until it has its lease, and the cluster's word for it. */
  async ready(): Promise<void> {
    const isReady = async () => this.#isThere() && (await this.#readiness()) === 200;
    const options = { timeoutMs: START_TIMEOUT_MS, describe: `${this.name} to be ready` };
    await waitFor(isReady, options);
  }

  async #readiness(): Promise<number> {
    return (await fetch("http://localhost/readyz", { unix: this.#socket })).status;
  }

  /** A look that costs little, since a hundred are waited for. */
  #isThere(): boolean {
    return existsSync(this.#socket);
  }

  /** Joins the cluster of `peer`, however often that takes. */
  async join(peer: BenchAgent, token: string): Promise<void> {
    const isUp = { timeoutMs: START_TIMEOUT_MS, describe: `${this.name} to be up` };
    await waitFor(() => this.#isThere(), isUp);
    const body = { peer: peer.address, token };
    const isIn = () => this.post("/join", body).then(Boolean, () => false);
    const options = { timeoutMs: START_TIMEOUT_MS, describe: `${this.name} to be let in` };
    await waitFor(isIn, options);
  }

  /** Calls `tell` for each config that comes up here, with the number that it carries. */
  async watchConfig(tell: (number: number) => void): Promise<() => void> {
    const ending = new AbortController();
    const url = "http://localhost/watch?prefix=/overlay/network/config";
    const response = await fetch(url, { unix: this.#socket, signal: ending.signal });
    void readNumbers(response, tell).catch(() => undefined);
    return () => ending.abort();
  }

  /** Changes the config so that it carries `number`. */
  async putConfig(number: number): Promise<void> {
    await this.post("/config", configOf(number), "PUT");
  }
}

/** The address of agent `number`, and of the bench with 0. */
export function addressOf(number: number): string {
  return `${ADDRESS_PREFIX}${number >> 8}.${number & 255}`;
}

/** The number of the config that `command` puts, when that is what it does. */
export function configNumber(command: Command): number | undefined {
  const found = MARK.exec(JSON.stringify(command));
  return found === null ? undefined : numberIn(found);
}

function numberIn(found: RegExpExecArray): number {
  return Number(found[1]) - TTL_SECONDS;
}

/** The network's config as change `number` leaves it. */
function configOf(number: number): unknown {
  return {
    Network: "10.64.0.0/10",
    Backend: { Type: "alloc" },
    LeaseTTLSeconds: TTL_SECONDS + number,
  };
}

async function readNumbers(response: Response, tell: (number: number) => void): Promise<void> {
  if (response.body === null) return;
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of response.body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const found = MARK.exec(line);
      if (found !== null) tell(numberIn(found));
    }
  }
}
