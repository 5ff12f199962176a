/**
 * One host of the lab: its network, its agent, its containers.
 *
 * The agent runs with folders of its own under the lab's temporary folder, so that many of them
 * live on one machine. Everything is asked of it from outside: command line, socket, packets.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Capture, type CaptureOptions } from "./capture.ts";
import { Namespace, type NamespaceOptions } from "./namespace.ts";
import type { LabProcess } from "./process.ts";
import type { Finished } from "./run.ts";
import { waitFor } from "./wait.ts";

/** The executable under test: what scripts/build made, or what OVERLAY_PROGRAM names. */
export const OVERLAY_PATH =
  process.env["OVERLAY_PROGRAM"] ?? join(import.meta.dir, "../../dist/overlay");

/** What an agent's subnet.env says. */
export interface SubnetEnv {
  readonly network: string;
  /** The gateway's address with the subnet's length: "10.0.53.1/24". */
  readonly subnet: string;
  readonly gateway: string;
  readonly mtu: number;
}

export interface AgentOptions {
  /** Flags added at the end; a later flag wins over the lab's own. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the agent, given as its last words: `["setpriv", "--…"]`. */
  readonly wrap?: readonly string[];
  /** Folder for what the agent keeps; the host's own when absent. */
  readonly dataDir?: string;
  /** Value of `--node-name`; the lab's name of the host when absent, not given when "". */
  readonly nodeName?: string;
  /** Another build of the executable. */
  readonly program?: string;
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; throws when it is none. */
  json<T>(): T;
}

/** What a host needs of its lab to make containers. */
export interface LabServices {
  /** Takes note of a namespace that is about to be made, and gives the kernel's name of it. */
  declare(suffix: string): string;
  /** Runs shell lines outside of all namespaces, ended by the first that fails. */
  runLines(lines: readonly string[]): Promise<void>;
}

export interface HostOptions extends NamespaceOptions {
  /** Address on the underlay: "192.168.77.11". */
  readonly address: string;
  readonly docker: boolean;
  readonly lab: LabServices;
}

const READY_TIMEOUT_MS = 10_000;
/** Longer than the agent itself takes to say that it cannot do something now. */
const ANSWER_TIMEOUT_MS = 30_000;
const CONTAINER_FIRST = 2;
const CONTAINER_LAST = 254;

/** A namespace on a host's bridge, with an address of the host's subnet. */
export class Container extends Namespace {
  readonly address: string;

  constructor(options: NamespaceOptions & { readonly address: string }) {
    super(options);
    this.address = options.address;
  }
}

export class Host extends Namespace {
  readonly address: string;
  readonly dataDir: string;
  readonly runDir: string;
  readonly subnetFile: string;
  readonly containers: Container[] = [];
  readonly #docker: boolean;
  readonly #lab: LabServices;
  readonly #onStart: (process: LabProcess) => void;
  #agent: LabProcess | undefined;
  #sandboxes = 0;

  constructor(options: HostOptions) {
    super(options);
    this.address = options.address;
    this.#docker = options.docker;
    this.#lab = options.lab;
    this.#onStart = options.onStart;
    this.dataDir = join(this.folder, "data");
    this.runDir = join(this.folder, "run");
    this.subnetFile = join(this.folder, "flannel", "subnet.env");
    mkdirSync(this.folder, { recursive: true });
  }

  get socket(): string {
    return join(this.runDir, "overlay.sock");
  }

  /** The agent last started; throws when there was none. */
  get agent(): LabProcess {
    if (this.#agent === undefined) throw new Error(`No agent was started on ${this.name}`);
    return this.#agent;
  }

  /** The agent last started, if any. */
  get maybeAgent(): LabProcess | undefined {
    return this.#agent;
  }

  /** Starts an agent, without waiting for it. Its log goes on in one file over restarts. */
  startAgent(options: AgentOptions = {}): LabProcess {
    const flags = [
      ...["--data-dir", options.dataDir ?? this.dataDir],
      ...["--run-dir", this.runDir],
      ...["--subnet-file", this.subnetFile],
      ...(options.nodeName === "" ? [] : ["--node-name", options.nodeName ?? this.name]),
      ...(options.args ?? []),
    ];
    const program = options.program ?? OVERLAY_PATH;
    this.#agent = this.start([...(options.wrap ?? []), program, "agent", ...flags], {
      name: "agent",
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    return this.#agent;
  }

  /** Starts an agent and waits until it answers on its socket. */
  async startHealthyAgent(options: AgentOptions = {}): Promise<LabProcess> {
    const agent = this.startAgent(options);
    await this.waitHealthy();
    return agent;
  }

  /** Resolves when the agent answers on its socket; fails at once when it has ended. */
  async waitHealthy(timeoutMs = READY_TIMEOUT_MS): Promise<void> {
    const answer = await waitFor(
      async () => {
        if (!this.agent.running) return "ended";
        return (await this.api("/healthz")).status === 200 && "healthy";
      },
      { timeoutMs, describe: `${this.name}'s agent to answer`, details: () => this.agent.tail(5) },
    );
    if (answer === "ended") throw new Error(`${this.name}'s agent ended:\n${this.agent.tail(10)}`);
  }

  /** Runs `overlay …` here as a person would, against this host's agent. */
  async cli(args: readonly string[], options: { readonly stdin?: string } = {}): Promise<Finished> {
    return await this.run([OVERLAY_PATH, ...args, "--socket", this.socket], options);
  }

  /** Like `cli`, for what must succeed; gives its standard output. */
  async mustCli(args: readonly string[]): Promise<string> {
    return await this.mustRun([OVERLAY_PATH, ...args, "--socket", this.socket]);
  }

  /** One request over the agent's socket. */
  async api(path: string, init: RequestInit = {}): Promise<ApiAnswer> {
    const response = await fetch(`http://localhost${path}`, {
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      ...init,
      unix: this.socket,
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: <T>() => JSON.parse(text) as T,
    };
  }

  /** Runs curl here; `["http://127.0.0.1:8287/status"]`. */
  async curl(args: readonly string[]): Promise<Finished> {
    return await this.run(["curl", "-sS", "--max-time", "10", ...args]);
  }

  /** What the agent wrote for Docker and CNI; undefined while there is no lease. */
  subnetEnv(): SubnetEnv | undefined {
    if (!existsSync(this.subnetFile)) return undefined;
    return parseSubnetEnv(readFileSync(this.subnetFile, "utf8"));
  }

  /** Waits for this node's lease. */
  async waitLease(timeoutMs = READY_TIMEOUT_MS): Promise<SubnetEnv> {
    return await waitFor(() => this.subnetEnv(), {
      timeoutMs,
      describe: `the lease of ${this.name}`,
      details: () => this.maybeAgent?.tail(5) ?? "no agent",
    });
  }

  /**
   * A container on docker0 with the next address of the node's subnet, its gateway the bridge. The
   * bridge gets its address and MTU first, as dockerd would give it from `--bip` and `--mtu`.
   */
  async addContainer(env: SubnetEnv | undefined = this.subnetEnv()): Promise<Container> {
    if (!this.#docker) throw new Error(`Host ${this.name} was opened without docker0`);
    if (env === undefined) throw new Error(`Host ${this.name} has no subnet for a container`);
    const last = CONTAINER_FIRST + this.containers.length;
    if (last > CONTAINER_LAST) throw new Error(`Host ${this.name} is full`);
    const [gateway, length] = env.subnet.split("/");
    const address = env.gateway.replace(/\d+$/, String(last));
    const container = new Container({
      name: `${this.name}c${last}`,
      id: this.#lab.declare(`${this.name}c${last}`),
      folder: this.folder,
      address,
      onStart: this.#onStart,
    });
    const mtu = String(env.mtu);
    const inHost = (line: string) => `ip -n ${this.id} ${line}`;
    const inContainer = (line: string) => `ip -n ${container.id} ${line}`;
    await this.#lab.runLines([
      inHost(`address replace ${env.subnet} dev docker0`),
      inHost(`link set docker0 mtu ${mtu} up`),
      `ip netns add ${container.id}`,
      `ip link add name veth${last} mtu ${mtu} netns ${this.id} type veth ` +
        `peer name eth0 mtu ${mtu} netns ${container.id}`,
      inHost(`link set dev veth${last} master docker0 up`),
      inContainer(`address add ${address}/${length} dev eth0`),
      inContainer("link set dev lo up"),
      inContainer("link set dev eth0 up"),
      inContainer(`route add default via ${gateway}`),
    ]);
    this.containers.push(container);
    return container;
  }

  /** A namespace with nothing in it, as a container runtime makes one before it calls plugins. */
  async addSandbox(): Promise<Namespace> {
    this.#sandboxes += 1;
    const name = `${this.name}s${this.#sandboxes}`;
    const id = this.#lab.declare(name);
    await this.#lab.runLines([`ip netns add ${id}`, `ip -n ${id} link set dev lo up`]);
    return new Namespace({ name, id, folder: this.folder, onStart: this.#onStart });
  }

  /** Starts catching packets on a link of this host. */
  async capture(options: CaptureOptions = {}): Promise<Capture> {
    return await Capture.open(this, options);
  }
}

/** Reads flannel's file; undefined when it is not whole. */
export function parseSubnetEnv(text: string): SubnetEnv | undefined {
  const value = (key: string) => new RegExp(`^${key}=(.+)$`, "m").exec(text)?.[1];
  const network = value("FLANNEL_NETWORK");
  const subnet = value("FLANNEL_SUBNET");
  const mtu = value("FLANNEL_MTU");
  if (network === undefined || subnet === undefined || mtu === undefined) return undefined;
  return { network, subnet, gateway: subnet.split("/")[0] ?? "", mtu: Number(mtu) };
}
