/**
 * The leases of all other nodes as rows of the forwarding table.
 *
 * Most of what happens in the store, renewals above all, changes no row. So a row that is as it was
 * stays the same object, and when all are, the list does: whoever gets it sees at one look that
 * there is nothing to do. Pure.
 *
 * @module
 */
import type { Prefix } from "../base/address.ts";
import type { NodeId } from "../base/ids.ts";
import type { Lease } from "../control/network/lease.ts";
import type { FibRow } from "../dataplane/fib/row.ts";
import type { PeerDecision } from "../dataplane/seal/peer-switches.ts";

export interface PeerRowsInput {
  /** By subnet, in the order of the store's keys. */
  readonly leases: ReadonlyMap<Prefix, Lease>;
  /** This node, which is no peer. */
  readonly self: NodeId;
  /** UDP port of this node, and of a peer whose lease is another backend's. */
  readonly port: number;
  /** What to do about sealing; who is not in it gets and sends plain packets. */
  readonly seals: ReadonlyMap<NodeId, Pick<PeerDecision, "seals" | "refusesPlain">>;
}

/** The rows; `before` when none of them differs from it. */
export function peerRows(before: readonly FibRow[], input: PeerRowsInput): readonly FibRow[] {
  const { leases, self } = input;
  const rows: FibRow[] = [];
  let isSame = true;
  /** Both are in the same order, so one walk through both finds what was known. */
  let at = 0;
  for (const lease of leases.values()) {
    if (lease.node === self) continue;
    while (at < before.length && !leases.has(before[at]!.prefix)) at++;
    const known = before[at]?.prefix === lease.subnet ? before[at++] : undefined;
    const row = toRow(lease, input);
    const isKnown = known !== undefined && isSameRow(known, row);
    isSame &&= isKnown;
    rows.push(isKnown ? known : row);
  }
  return isSame && rows.length === before.length ? before : rows;
}

function toRow({ subnet, node, attributes }: Lease, { port, seals }: PeerRowsInput): FibRow {
  const { backend, publicIp: address } = attributes;
  const seal = seals.get(node);
  return {
    prefix: subnet,
    peer: node,
    endpoint: { address, port: backend.kind === "udp" ? backend.port : port },
    partialChecksum: backend.kind === "udp" && backend.partialChecksum,
    seals: seal?.seals ?? false,
    refusesPlain: seal?.refusesPlain ?? false,
  };
}

function isSameRow(a: FibRow, b: FibRow): boolean {
  return (
    a.prefix === b.prefix &&
    a.peer === b.peer &&
    a.endpoint.address === b.endpoint.address &&
    a.endpoint.port === b.endpoint.port &&
    a.partialChecksum === b.partialChecksum &&
    a.seals === b.seals &&
    a.refusesPlain === b.refusesPlain
  );
}
