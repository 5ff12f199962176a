/**
 * Which cluster versions each node reads, as it said itself: records in the store, by node.
 *
 * A node whose program is older than these records says nothing and reads the first version only.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import { VERSION } from "../../../base/version.ts";
import {
  CLUSTER_VERSION_FIRST,
  CLUSTER_VERSION_KEY,
  CLUSTER_VERSION_NEWEST,
  CLUSTER_VERSION_OLDEST,
  clusterVersion,
  encodeClusterVersion,
} from "../../kv/cluster-version.ts";
import type { Operation } from "../../kv/txn.ts";
import type { KvReader } from "../../kv/types.ts";
import { isRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { listMembers } from "../members/member-table.ts";
import { encodeRecord, parseRecord, versionsKey } from "../members/system-record.ts";

const PROGRAM_LENGTH_MAX = 64;
const PROGRAM_PATTERN = /^[\x21-\x7e]*$/;

/** What a node runs, and the clusters that it can be in. */
export interface NodeVersions {
  /** Version of the program; "" when it does not say. */
  readonly program: string;
  /** Oldest and newest cluster version that it reads. */
  readonly oldest: number;
  readonly newest: number;
}

/** This program's. */
export const OWN_VERSIONS: NodeVersions = {
  program: VERSION.slice(0, PROGRAM_LENGTH_MAX),
  oldest: CLUSTER_VERSION_OLDEST,
  newest: CLUSTER_VERSION_NEWEST,
};

/** Of a program that knows nothing of versions. */
const UNSAID: NodeVersions = {
  program: "",
  oldest: CLUSTER_VERSION_FIRST,
  newest: CLUSTER_VERSION_FIRST,
};

/** What `id` says. */
export function versionsOf(reader: Pick<KvReader, "get">, id: NodeId): NodeVersions {
  const pair = reader.get(versionsKey(id));
  return pair === undefined ? UNSAID : versionsFromRecord(parseRecord(pair.value));
}

/** Whether the record of `id` says what this program reads. */
export function isPublished(reader: Pick<KvReader, "get">, id: NodeId): boolean {
  const { program, oldest, newest } = versionsOf(reader, id);
  const own = OWN_VERSIONS;
  return program === own.program && oldest === own.oldest && newest === own.newest;
}

/** Writes the record of `id`. */
export function putVersions(id: NodeId, versions: NodeVersions): Operation {
  return { kind: "put", key: versionsKey(id), value: encodeRecord({ ...versions }) };
}

/** What `value`, from a record or a join, says; the first version only when it says nothing. */
export function versionsFromRecord(value: unknown): NodeVersions {
  if (!isRecord(value)) return UNSAID;
  const fields = new FieldReader(value);
  const program = fields.text("program", PROGRAM_LENGTH_MAX);
  const oldest = fields.counter("oldest");
  const newest = fields.counter("newest");
  const isGood = oldest >= CLUSTER_VERSION_FIRST && newest >= oldest;
  if (fields.failed || !isGood || !PROGRAM_PATTERN.test(program)) return UNSAID;
  return { program, oldest, newest };
}

/** The newest cluster version that all members read, as far as their records say. */
export function newestForAll(reader: KvReader): number {
  let newest = CLUSTER_VERSION_NEWEST;
  for (const { id } of listMembers(reader)) {
    newest = Math.min(newest, versionsOf(reader, id).newest);
  }
  return newest;
}

/** Raises the cluster version to `version`; the command with it needs that version too. */
export function raiseTo(version: number): Operation {
  return { kind: "put", key: CLUSTER_VERSION_KEY, value: encodeClusterVersion(version) };
}

/** Why a node with `versions` cannot be in the cluster; undefined when it can. */
export function versionObstacle(
  reader: Pick<KvReader, "get">,
  versions: NodeVersions,
): string | undefined {
  const version = clusterVersion(reader);
  const { oldest, newest, program } = versions;
  if (version >= oldest && version <= newest) return undefined;
  const own = `the cluster is of version ${version} (a member runs overlay ${OWN_VERSIONS.program})`;
  const theirs = program === "" ? "" : ` (overlay ${program})`;
  return newest < version
    ? `this node${theirs} reads cluster versions up to ${newest}, and ${own}; ` +
        "install the version of overlay that the members run"
    : `this node${theirs} reads cluster versions from ${oldest}, and ${own}; ` +
        "update all members first, or install on this node what they run";
}
