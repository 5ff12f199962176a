/**
 * Who this node is, on disk: its ids, its keys, the peers it knew last.
 *
 *     node.json                      ids and peers; replacing it is the commit point of a join
 *     pki/<cluster>/ca.crt ca.key node.crt node.key
 *     wal/<cluster>/ snapshots/<cluster>/      the log store's, named here only
 *
 * A join writes the new cluster's keys first and then replaces `node.json`; a crash in between
 * leaves the node in its old cluster. Directories of other clusters are removed at the next start.
 *
 * @module
 */
import type { ClusterId, NodeId } from "../../base/ids.ts";
import type { Result } from "../../base/result.ts";
import type { Clock, Random } from "../../host/ports.ts";
import type { HostPort } from "./types.ts";

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
export interface IdentityKeys {
  readonly ca: string;
  /** The key of the cluster's CA; undefined until this node has fetched it. */
  readonly caKey: string | undefined;
  readonly certificate: string;
  readonly key: string;
}

/**
 * How the log of this node must look when it is opened. `bootstrap`: empty, this node founds the
 * cluster. `joining`: empty, the leader will fill it. `started`: it must not be empty, or this
 * node has lost what it promised.
 */
export type LogState = "bootstrap" | "joining" | "started";

/** This node's identity in one cluster, as loaded. */
export interface Identity {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  readonly generation: number;
  readonly name: string;
  readonly logState: LogState;
  readonly peers: readonly KnownPeer[];
  readonly keys: IdentityKeys;
}

/** What is wrong with the files of an identity. */
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

/** Keeps one node's identity files. */
export class IdentityStore {
  readonly #files: IdentityFiles;

  constructor(files: IdentityFiles) {
    this.#files = files;
  }

  /** The identity on disk; undefined on a first start. Removes other clusters' directories. */
  async load(): Promise<Result<Identity | undefined, IdentityFailure>> {
    await this.#files.read("node.json");
    throw new Error("not implemented yet");
  }

  /** Makes a new node in a new cluster of one: ids, CA, certificate; writes it all. */
  async create(_options: {
    readonly name: string;
    readonly clock: Clock;
    readonly random: Random;
  }): Promise<Identity> {
    throw new Error("not implemented yet");
  }

  /** Moves this node into the cluster of `grant`. The last write is the commit point. */
  async adopt(_grant: JoinGrant, _options: { name: string; key: string }): Promise<Identity> {
    throw new Error("not implemented yet");
  }

  /** Remembers that the log is no longer empty. */
  async markStarted(): Promise<void> {
    throw new Error("not implemented yet");
  }

  /** Remembers where other members are. Does nothing when equal to what is there. */
  async savePeers(_peers: readonly KnownPeer[]): Promise<void> {
    throw new Error("not implemented yet");
  }

  /** Keeps the key of the cluster's CA (0600). */
  async saveCaKey(_pem: string): Promise<void> {
    throw new Error("not implemented yet");
  }
}

/** Where the log and the snapshots of a cluster are, below the data directory. */
export function clusterPaths(clusterId: ClusterId): { wal: string; snapshots: string } {
  return { wal: `wal/${clusterId}`, snapshots: `snapshots/${clusterId}` };
}
