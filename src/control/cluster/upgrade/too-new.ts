/**
 * Whether a command may be written: only what every member can read.
 *
 * @module
 */
import { clusterVersion } from "../../kv/cluster-version.ts";
import type { Command, KvReader } from "../../kv/types.ts";
import { listMembers } from "../members/member-table.ts";
import type { ClusterFailure } from "../types.ts";
import { versionsOf } from "./node-versions.ts";

/** Who is named, of the members that are too old. */
const NAMES_MAX = 3;

/** Why `command` must not be written yet; undefined when all members know it. */
export function tooNew(command: Command, reader: KvReader): ClusterFailure | undefined {
  const { needs } = command;
  if (needs === undefined || needs <= clusterVersion(reader)) return undefined;
  const names = listMembers(reader)
    .filter(({ id }) => versionsOf(reader, id).newest < needs)
    .map(({ name }) => name);
  const more = names.length > NAMES_MAX ? ` and ${names.length - NAMES_MAX} more` : "";
  const who = names.length === 0 ? "some member" : names.slice(0, NAMES_MAX).join(", ") + more;
  return {
    kind: "upgrade_needed",
    detail: `Cannot do this yet: ${who} would not understand it; update overlay there first`,
  };
}
