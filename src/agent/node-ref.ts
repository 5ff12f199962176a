/**
 * Nodes as the admin API names them.
 *
 * @module
 */
import type { NodeRef } from "../admin/service.ts";
import { formatNodeId, type NodeId } from "../base/ids.ts";
import type { Session } from "./session.ts";

/** Id and name of a node; the id twice when its name is not known here. */
export function nodeRef(session: Pick<Session, "cluster">, id: NodeId): NodeRef {
  const text = formatNodeId(id);
  return { id: text, name: session.cluster.members().find((one) => one.id === id)?.name ?? text };
}
