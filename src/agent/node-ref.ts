/**
 * Nodes as the admin API names them.
 *
 * @module
 */
import type { NodeRef } from "../admin/service.ts";
import { formatNodeId, type NodeId } from "../base/ids.ts";
import { findMember } from "../control/cluster/members/member-table.ts";
import type { Session } from "./session.ts";

/** Id and name of a node; the id twice when its name is not known here. */
export function nodeRef(session: Pick<Session, "cluster">, id: NodeId): NodeRef {
  const text = formatNodeId(id);
  // Its record alone: lists of ten thousand leases ask for each.
  return { id: text, name: findMember(session.cluster.reader, id)?.name ?? text };
}
