/**
 * Who this node is, on disk: its ids, its keys, the peers it knew last.
 *
 *     node.json                                 ids and peers
 *     pki/<cluster>/ca.crt ca.key node.crt node.key
 *     pki/<cluster>/life.json                   which start of it this is
 *     wal/<cluster>/ snapshots/<cluster>/       the log store's; named here only
 *
 * Replacing `node.json` is the commit point: a join writes the new cluster's keys first, so a
 * crash before it leaves the node whole in its old cluster, and one after it in the new one.
 * What belongs to other clusters is removed at the next start.
 *
 * @module
 */
import { assert } from "../../../base/assert.ts";
import { crc32c } from "../../../base/crc32c.ts";
import {
  type ClusterId,
  decodeRandomClusterId,
  decodeRandomNodeId,
  formatNodeId,
  type NodeId,
  parseClusterId,
  parseNodeId,
} from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import { isRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { CLUSTER_PORT, formatHostPort, parseHostPort } from "../transport/host-port.ts";
import type { HostPort } from "../types.ts";
import {
  isIssuedBy,
  isKeyOf,
  isSelfSigned,
  nodeOf,
  parseBundle,
  parseCertificate,
  splitPem,
} from "./certificate.ts";
import type { CredentialKeys } from "./credentials.ts";
import { createCa, createRequest, signRequest } from "./pki.ts";

const NODE_FILE = "node.json";
const FORMAT_VERSION = 1;
const NODE_ID_RANDOM_BYTES = 7;
const CLUSTER_ID_RANDOM_BYTES = 16;
const NAME_LENGTH_MAX = 253;
const ADDRESS_LENGTH_MAX = 300;

/** Only this user reads keys; certificates and ids are no secret. */
const SECRET_MODE = 0o600;
const PUBLIC_MODE = 0o644;

/**
 * Files below the data directory, by relative path with `/`. Missing directories are made (0700).
 * Methods throw `HostError`.
 */
export interface IdentityFiles {
  /** Undefined when there is no such file. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Replaces the file atomically and durably; `mode` such as 0o600. */
  writeAtomic(path: string, content: Uint8Array, mode: number): Promise<void>;
  /** Names in the directory; empty when it does not exist. */
  list(path: string): Promise<readonly string[]>;
  /** Removes the file or directory with all that is in it, if it exists. */
  removeTree(path: string): Promise<void>;
}

/** Another member as this node knew it last: where to look for the cluster after a restart. */
export interface KnownPeer {
  readonly id: NodeId;
  readonly address: HostPort;
}

/** Keys and certificates of this node in its cluster, PEM. */
export interface IdentityKeys extends CredentialKeys {
  /** Keys of the cluster's CAs; undefined until this node has fetched one. */
  readonly caKey: string | undefined;
}

/**
 * How the log of this node must look when it is opened. `bootstrap`: empty, this node founds the
 * cluster. `joining`: empty, the leader will fill it. `started`: it must not be empty, or this
 * node has lost what it promised.
 */
export type LogState = "bootstrap" | "joining" | "started";

const LOG_STATES = ["bootstrap", "joining", "started"] as const;

/** This node's identity in one cluster. */
export interface Identity {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  readonly generation: number;
  readonly name: string;
  readonly logState: LogState;
  readonly peers: readonly KnownPeer[];
  readonly keys: IdentityKeys;
}

/** The files of an identity are not usable; says which and what to do. */
export type IdentityFailure = { readonly kind: "damaged"; readonly detail: string };

/** What a join grants: everything a new identity needs. */
export interface JoinGrant {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  readonly generation: number;
  /** PEM. */
  readonly certificate: string;
  /** PEM. */
  readonly ca: string;
  readonly peers: readonly KnownPeer[];
}

/** Each has one entry for each cluster, named after it. */
const CLUSTER_FOLDERS = ["pki", "wal", "snapshots", "lease"] as const;

/** As whom a node asks to be let in. */
export interface Applicant {
  readonly nodeId: NodeId;
  /** PEM. */
  readonly key: string;
}

/** An id and a key that no node has had. */
export async function createApplicant(random: Random): Promise<Applicant> {
  const nodeId = decodeRandomNodeId(random.bytes(NODE_ID_RANDOM_BYTES));
  const { key } = await createRequest(nodeId);
  return { nodeId, key };
}

type NodeFile = Omit<Identity, "keys">;

/** Keeps the identity files of one node. One user at a time. */
export class IdentityStore {
  readonly #files: IdentityFiles;
  #current: Identity | undefined;

  constructor(files: IdentityFiles) {
    this.#files = files;
  }

  /** The identity on disk; undefined on a first start. Removes what other clusters left. */
  async load(): Promise<Result<Identity | undefined, IdentityFailure>> {
    const bytes = await this.#files.read(NODE_FILE);
    if (bytes === undefined) return ok(undefined);
    const file = decodeNodeFile(bytes);
    if (file === undefined) return damaged(NODE_FILE, "it is not what this program wrote");
    const directory = keyDirectory(file.clusterId);
    const ca = await this.#readText(`${directory}/ca.crt`);
    const certificate = await this.#readText(`${directory}/node.crt`);
    const key = await this.#readText(`${directory}/node.key`);
    const caKey = await this.#readText(`${directory}/ca.key`);
    const keys = { ca, certificate, key, caKey: caKey === "" ? undefined : caKey };
    const problem = keyProblem(file.nodeId, keys);
    if (problem !== undefined) return damaged(directory, problem);
    this.#current = { ...file, keys };
    await this.#removeOthers(file.clusterId);
    return ok(this.#current);
  }

  /** Makes a new node in a new cluster of one, replacing what was there. */
  async create(options: {
    readonly name: string;
    readonly clock: Clock;
    readonly random: Random;
  }): Promise<Identity> {
    const { name, clock, random } = options;
    const nodeId = decodeRandomNodeId(random.bytes(NODE_ID_RANDOM_BYTES));
    const clusterId = newClusterId(random);
    const keys = await createKeys({ nodeId, clusterId, clock, random });
    const identity = { nodeId, clusterId, generation: 1, name, peers: [], keys };
    return this.#replace({ ...identity, logState: "bootstrap" });
  }

  /**
   * Goes on as `node` in the cluster `next`, whose log and snapshots are in their place already.
   * Until this has returned, all is as it was.
   */
  async refound(
    node: Pick<Identity, "nodeId" | "name">,
    next: Pick<Identity, "clusterId" | "generation" | "keys">,
  ): Promise<Identity> {
    const { nodeId, name } = node;
    return this.#install({ ...next, nodeId, name, peers: [], logState: "started" });
  }

  /** Moves this node into the cluster of `grant`; `key` is the one it was asked for with. */
  async adopt(grant: JoinGrant, own: { name: string; key: string }): Promise<Identity> {
    const { nodeId, clusterId, generation, peers, ca, certificate } = grant;
    const keys = { ca, caKey: undefined, certificate, key: own.key };
    const identity = { nodeId, clusterId, generation, name: own.name, peers, keys };
    return this.#replace({ ...identity, logState: "joining" });
  }

  /** What was kept of this node's lives (`members/life.ts`); "" before the first. */
  readLife(clusterId: ClusterId): Promise<string> {
    return this.#readText(lifePath(clusterId));
  }

  // The following are a cluster's, and do nothing when the node has moved to another meanwhile.

  /** Remembers that the log is no longer empty. */
  async markStarted(clusterId: ClusterId): Promise<void> {
    await this.#update(clusterId, { logState: "started" });
  }

  /** Keeps what `readLife` reads. */
  async saveLife(clusterId: ClusterId, text: string): Promise<void> {
    if (this.#current?.clusterId !== clusterId) return;
    await this.#writeText(lifePath(clusterId), text, PUBLIC_MODE);
  }

  /** Remembers where other members are. */
  async savePeers(clusterId: ClusterId, peers: readonly KnownPeer[]): Promise<void> {
    await this.#update(clusterId, { peers });
  }

  /** Keeps the keys of the cluster's CAs (PEM), in the place of those kept before. */
  async saveCaKeys(clusterId: ClusterId, caKey: string): Promise<void> {
    await this.#updateKeys(clusterId, { caKey });
  }

  /**
   * Keeps the cluster's CAs, then this node's certificate. The CA of the certificate must be among
   * those of before or of now, whatever is written.
   */
  async saveCertificates(
    clusterId: ClusterId,
    change: Partial<Pick<CredentialKeys, "ca" | "certificate">>,
  ): Promise<void> {
    await this.#updateKeys(clusterId, change);
  }

  /** Writes the keys, then the file that makes them count, where nothing else is. */
  async #replace(identity: Identity): Promise<Identity> {
    // An earlier stay in this cluster may have left keys, a log and snapshots that are void now.
    await this.#removeCluster(identity.clusterId);
    return this.#install(identity);
  }

  async #install(identity: Identity): Promise<Identity> {
    const { keys, clusterId } = identity;
    const directory = keyDirectory(clusterId);
    await this.#writeText(`${directory}/node.key`, keys.key, SECRET_MODE);
    if (keys.caKey !== undefined) {
      await this.#writeText(`${directory}/ca.key`, keys.caKey, SECRET_MODE);
    }
    await this.#writeText(`${directory}/ca.crt`, keys.ca, PUBLIC_MODE);
    await this.#writeText(`${directory}/node.crt`, keys.certificate, PUBLIC_MODE);
    await this.#writeText(NODE_FILE, encodeNodeFile(identity), PUBLIC_MODE);
    this.#current = identity;
    return identity;
  }

  async #update(clusterId: ClusterId, change: Partial<NodeFile>): Promise<void> {
    const current = this.#current;
    if (current?.clusterId !== clusterId) return;
    const next = { ...current, ...change };
    const text = encodeNodeFile(next);
    if (text === encodeNodeFile(current)) return;
    this.#current = next;
    await this.#writeText(NODE_FILE, text, PUBLIC_MODE);
  }

  async #updateKeys(clusterId: ClusterId, change: Partial<IdentityKeys>): Promise<void> {
    const current = this.#current;
    if (current?.clusterId !== clusterId) return;
    const directory = keyDirectory(clusterId);
    const { ca, caKey, certificate } = change;
    if (caKey !== undefined) await this.#writeText(`${directory}/ca.key`, caKey, SECRET_MODE);
    if (ca !== undefined) await this.#writeText(`${directory}/ca.crt`, ca, PUBLIC_MODE);
    if (certificate !== undefined) {
      await this.#writeText(`${directory}/node.crt`, certificate, PUBLIC_MODE);
    }
    this.#current = { ...current, keys: { ...current.keys, ...change } };
  }

  /** Removes what clusters that this node left, their keys among it, have left on the disk. */
  async removeFormer(): Promise<void> {
    if (this.#current !== undefined) await this.#removeOthers(this.#current.clusterId);
  }

  async #removeOthers(keep: ClusterId): Promise<void> {
    for (const parent of CLUSTER_FOLDERS) {
      for (const name of await this.#files.list(parent)) {
        const id = parseClusterId(name);
        // Only what has our shape of name: a stranger's file is not ours to remove.
        if (id !== undefined && id !== keep) await this.#files.removeTree(`${parent}/${name}`);
      }
    }
  }

  async #removeCluster(clusterId: ClusterId): Promise<void> {
    for (const parent of CLUSTER_FOLDERS) {
      await this.#files.removeTree(`${parent}/${clusterId}`);
    }
  }

  async #readText(path: string): Promise<string> {
    const bytes = await this.#files.read(path);
    return bytes === undefined ? "" : new TextDecoder().decode(bytes);
  }

  async #writeText(path: string, text: string, mode: number): Promise<void> {
    await this.#files.writeAtomic(path, new TextEncoder().encode(text), mode);
  }
}

/** The id of a cluster that is about to be. */
export function newClusterId(random: Random): ClusterId {
  return decodeRandomClusterId(random.bytes(CLUSTER_ID_RANDOM_BYTES));
}

/** A CA for the cluster `clusterId`, and the keys of its first node. */
export async function createKeys(options: {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  readonly clock: Clock;
  readonly random: Random;
}): Promise<IdentityKeys> {
  const { nodeId, clusterId, clock, random } = options;
  const ca = await createCa({ clusterId, clock, random });
  const { csr, key } = await createRequest(nodeId);
  const signed = await signRequest({ csr, nodeId, ca, clock, random });
  assert(signed.ok, "our own request must be signable");
  return { ca: ca.certificate, caKey: ca.key, certificate: signed.value, key };
}

/** Where a cluster's files beside the keys are, below the data directory. */
export interface ClusterPaths {
  readonly wal: string;
  readonly snapshots: string;
  /** When the cluster last confirmed this node's subnet. */
  readonly lease: string;
}

/** The paths of cluster `clusterId`. */
export function clusterPaths(clusterId: ClusterId): ClusterPaths {
  return {
    wal: `wal/${clusterId}`,
    snapshots: `snapshots/${clusterId}`,
    lease: `lease/${clusterId}`,
  };
}

function lifePath(clusterId: ClusterId): string {
  return `${keyDirectory(clusterId)}/life.json`;
}

function keyDirectory(clusterId: ClusterId): string {
  return `pki/${clusterId}`;
}

function keyProblem(nodeId: NodeId, keys: IdentityKeys): string | undefined {
  const bundle = parseBundle(keys.ca);
  if (bundle === undefined || bundle.length === 0) return "ca.crt is missing or no certificate";
  const certificate = parseCertificate(keys.certificate);
  if (certificate === undefined) return "node.crt is missing or no certificate";
  if (nodeOf(certificate) !== nodeId) return "node.crt is another node's";
  if (!bundle.some((ca) => isIssuedBy(ca, certificate))) {
    return "node.crt was not signed by the key of ca.crt";
  }
  // Each is signed by its own key, or by that of another one here.
  const isWhole = bundle.every((each) => bundle.some((ca) => isIssuedBy(ca, each)));
  const authorities = bundle.filter(isSelfSigned);
  if (!isWhole || authorities.length === 0) return "ca.crt is not as it was signed";
  if (!isKeyOf(keys.key, certificate)) return "node.key is missing or does not fit node.crt";
  const caKeys = splitPem(keys.caKey ?? "");
  const isKnown = (key: string) => authorities.some((ca) => isKeyOf(key, ca));
  const hasText = (keys.caKey ?? "").trim() !== "";
  if (hasText && (caKeys.length === 0 || !caKeys.every(isKnown))) {
    return "ca.key does not fit ca.crt";
  }
  return undefined;
}

/** With a checksum, since a changed digit is still a good number and a changed letter a name. */
function encodeNodeFile(file: NodeFile): string {
  const value = {
    version: FORMAT_VERSION,
    nodeId: formatNodeId(file.nodeId),
    clusterId: file.clusterId,
    generation: file.generation,
    name: file.name,
    log: file.logState,
    peers: file.peers.map(({ id, address }) => ({
      id: formatNodeId(id),
      address: formatHostPort(address),
    })),
  };
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const checksum = crc32c(bytes, 0, bytes.length);
  return `${JSON.stringify({ ...value, checksum }, undefined, 2)}\n`;
}

function decodeNodeFile(bytes: Uint8Array): NodeFile | undefined {
  const text = new TextDecoder().decode(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const fields = new FieldReader(value);
  const nodeId = parseNodeId(fields.text("nodeId", 14));
  const clusterId = parseClusterId(fields.text("clusterId", 32));
  const generation = fields.counter("generation");
  const name = fields.text("name", NAME_LENGTH_MAX);
  const logState = fields.choice("log", LOG_STATES);
  const peers = fields.list("peers", decodePeer);
  if (fields.failed || fields.counter("version") !== FORMAT_VERSION) return undefined;
  if (nodeId === undefined || clusterId === undefined) return undefined;
  const file = { nodeId, clusterId, generation, name, logState, peers };
  return encodeNodeFile(file) === text ? file : undefined;
}

/** A peer as text fields, in `node.json` and in a join's answer; undefined when malformed. */
export function decodePeer(value: unknown): KnownPeer | undefined {
  if (!isRecord(value)) return undefined;
  const fields = new FieldReader(value);
  const id = parseNodeId(fields.text("id", 14));
  const address = parseHostPort(fields.text("address", ADDRESS_LENGTH_MAX), CLUSTER_PORT);
  return fields.failed || id === undefined || address === undefined ? undefined : { id, address };
}

function damaged(object: string, reason: string): Result<never, IdentityFailure> {
  const next = "restore it, or move the data directory away to start as a new node";
  return err({ kind: "damaged", detail: `Cannot use ${object}: ${reason}; ${next}` });
}
