/**
 * For tests of this folder: nodes with the real clock and real TLS on loopback, their disks in
 * memory.
 *
 * @module
 */
import { createSilentLog, type Log } from "../../base/log.ts";
import type { Clock, Random } from "../../host/ports.ts";
import { kvHandlers } from "../kv/handlers.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import { openCluster } from "./cluster.ts";
import { type JoinOptions, requestJoin } from "./join/join.ts";
import { SimLogStore } from "./sim-log-store.fake.ts";
import { createMemoryStaging } from "./snapshots/memory-staging.fake.ts";
import { type Identity, type IdentityFiles, IdentityStore } from "./trust/identity.ts";
import type { Cluster, MemberInfo } from "./types.ts";

export const realClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, delayMs);
    return () => clearTimeout(timer);
  },
  every(intervalMs, task) {
    const timer = setInterval(task, intervalMs);
    return () => clearInterval(timer);
  },
};

export const realRandom: Random = {
  bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
  below: (limit) => Math.floor(Math.random() * limit),
};

/** Files in memory; can be told to fail from the nth write on, as a crash would. */
export class MemoryFiles implements IdentityFiles {
  readonly files = new Map<string, { content: Uint8Array; mode: number }>();
  writesLeft = Number.POSITIVE_INFINITY;

  read(path: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.files.get(path)?.content);
  }

  writeAtomic(path: string, content: Uint8Array, mode: number): Promise<void> {
    if (this.writesLeft-- <= 0) return Promise.reject(new Error("crashed"));
    this.files.set(path, { content, mode });
    return Promise.resolve();
  }

  list(path: string): Promise<readonly string[]> {
    const names = new Set<string>();
    for (const file of this.files.keys()) {
      if (file.startsWith(`${path}/`)) names.add(file.slice(path.length + 1).split("/")[0]!);
    }
    return Promise.resolve([...names]);
  }

  removeTree(path: string): Promise<void> {
    for (const file of [...this.files.keys()]) {
      if (file === path || file.startsWith(`${path}/`)) this.files.delete(file);
    }
    return Promise.resolve();
  }

  put(path: string, text: string): void {
    this.files.set(path, { content: new TextEncoder().encode(text), mode: 0o644 });
  }
}

/** One node: its files, its disk, and its running cluster part. */
export class RealNode {
  readonly files = new MemoryFiles();
  readonly store = new IdentityStore(this.files);
  readonly name: string;
  readonly log: Log;
  readonly clock: Clock;
  identity!: Identity;
  disk = new SimLogStore(realClock);
  cluster!: Cluster;
  fatal: Error | undefined;

  constructor(name: string, log: Log = createSilentLog(), clock: Clock = realClock) {
    this.name = name;
    this.log = log.with({ node: name });
    this.clock = clock;
  }

  /** A new node, its own cluster of one, running. */
  static async start(name: string, log?: Log, clock?: Clock): Promise<RealNode> {
    const node = new RealNode(name, log, clock);
    node.identity = await node.store.create({ name, clock: node.clock, random: realRandom });
    await node.open();
    return node;
  }

  /** Opens the cluster part of the present identity. */
  async open(port = 0): Promise<void> {
    this.cluster = await openCluster({
      identity: this.identity,
      identityStore: this.store,
      logStore: this.disk,
      staging: createMemoryStaging(),
      machine: createStateMachine(kvHandlers),
      clock: this.clock,
      random: realRandom,
      listen: { host: "127.0.0.1", port },
      self: { ...this.info(), address: { host: "127.0.0.1", port: 0 } },
      log: this.log,
      onFatal: (error) => {
        this.fatal = error;
      },
    });
  }

  info(): MemberInfo {
    const address = { host: "127.0.0.1", port: this.cluster?.port ?? 0 };
    const underlay = { publicIp: "192.0.2.1", underlayPrefixes: ["192.0.2.0/24"] };
    return { name: this.name, address, ...underlay, zone: "" };
  }

  async createToken(usesMax?: number, lifeMs = 60_000): Promise<string> {
    const token = await this.cluster.createToken({ lifeMs, usesMax });
    if (!token.ok) throw new Error(token.error.detail);
    return token.value.token;
  }

  /** Asks to be let in; moves nothing. */
  request(token: string, port: number, options: Partial<JoinOptions> = {}) {
    return requestJoin({
      peer: { host: "127.0.0.1", port },
      token,
      nodeId: this.identity.nodeId,
      key: this.identity.keys.key,
      self: this.info(),
      clock: this.clock,
      timeoutMs: 5_000,
      ...options,
    });
  }

  /** Leaves its own cluster of one for that of `peer`, as the agent does. */
  async join(peer: RealNode, token?: string): Promise<void> {
    const secret = token ?? (await peer.createToken());
    const joined = await this.request(secret, peer.cluster.port);
    if (!joined.ok) throw new Error(joined.error.detail);
    const port = this.cluster.port;
    this.identity = await this.store.adopt(joined.value.grant, {
      name: this.name,
      key: joined.value.key,
    });
    await this.cluster.close();
    this.disk = new SimLogStore(realClock);
    await this.open(port);
  }

  /** Its files and its disk as they are now, as another machine would have them. */
  async copy(name: string): Promise<RealNode> {
    const copy = new RealNode(name);
    for (const [path, file] of this.files.files) copy.files.files.set(path, file);
    copy.disk = this.disk.copy();
    await copy.reload();
    return copy;
  }

  /** Takes its identity from its files, as a start does. */
  async reload(): Promise<void> {
    const loaded = await this.store.load();
    if (!loaded.ok || loaded.value === undefined) throw new Error("no identity");
    this.identity = loaded.value;
  }

  /** Stops and starts again with what is on the disk. */
  async restart(port = this.cluster.port): Promise<void> {
    await this.cluster.close();
    this.disk = this.disk.crash();
    await this.reload();
    await this.open(port);
  }
}

/** Waits until `condition` holds; fails after `limitMs`. */
export async function until(condition: () => boolean, limitMs = 10_000): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`not reached within ${limitMs} ms`);
    await new Promise<void>((resolve) => realClock.after(5, () => resolve()));
  }
}
