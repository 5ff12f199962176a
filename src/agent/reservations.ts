/**
 * Answers the admin API's questions about reservations and imports.
 *
 * @module
 */
import type {
  ClusterFailure,
  FieldIssue,
  ImportRequest,
  NotFound,
  ReservationOwnerRequest,
  ReservationRefused,
  ReservationView,
  ReserveFailure,
} from "../admin/service.ts";
import { type Prefix, parseAddress, parsePrefix } from "../base/address.ts";
import { parseNodeId } from "../base/ids.ts";
import { err, ok, type Result } from "../base/result.ts";
import {
  type ImportedReservation,
  type RefusedReservation,
  type ReservationOwner,
  reserveSubnet,
  unreserveSubnet,
} from "../control/network/commands.ts";
import { nodeRef } from "./node-ref.ts";
import type { Session } from "./session.ts";

/** Every reservation, in the order of the store. */
export function listReservations(session: Session): readonly ReservationView[] {
  return [...session.network.view().reservations].map(([subnet, owner]) =>
    reservationView(session, subnet, owner),
  );
}

/** Keeps the subnet that `text` writes. */
export async function reserve(
  session: Session,
  text: string,
  request: ReservationOwnerRequest,
): Promise<Result<ReservationView, ReserveFailure>> {
  const subnet = parsePrefix(text);
  const owner = parseOwner(session, request);
  if (subnet === undefined || owner === undefined) {
    const detail = `Cannot reserve ${text}: there is no member "${request.node ?? ""}"; see "overlay member list"`;
    return err({ kind: "not_found", detail });
  }
  const result = await session.cluster.execute(reserveSubnet({ subnet, owner }));
  if (!result.ok) return result;
  const outcome = result.value;
  if (outcome.kind === "reserved") return ok(reservationView(session, subnet, outcome.owner));
  if (outcome.kind === "no_config") {
    const detail = `Cannot reserve ${subnet}: there is no network config yet`;
    return err({ kind: "no_config", detail });
  }
  return err(refusal(session, "reserve", [{ subnet, why: outcome }]));
}

/** Ends the reservation of the subnet that `text` writes. */
export async function unreserve(
  session: Session,
  text: string,
): Promise<Result<ReservationView, NotFound | ClusterFailure>> {
  const detail = `Cannot unreserve ${text}: it is not reserved; see "overlay lease list"`;
  const missing = err({ kind: "not_found", detail } as const);
  const subnet = parsePrefix(text);
  if (subnet === undefined) return missing;
  const result = await session.cluster.execute(unreserveSubnet(subnet));
  if (!result.ok) return result;
  if (result.value.kind !== "unreserved") return missing;
  return ok(reservationView(session, subnet, result.value.owner));
}

/** The reservations of a request, as the command has them. */
export function parseImported({ reservations }: ImportRequest): readonly ImportedReservation[] {
  return reservations.flatMap((each) => {
    const subnet = parsePrefix(each.subnet);
    const publicIp = parseAddress(each.publicIp);
    return subnet === undefined || publicIp === undefined ? [] : [{ subnet, publicIp }];
  });
}

/** Why subnets cannot be kept for whom they should be, in words. */
export function refusal(
  session: Session,
  verb: "reserve" | "import",
  refused: readonly RefusedReservation[],
): ReservationRefused {
  const errors: FieldIssue[] = refused.map(({ subnet, why }) => ({
    path: subnet,
    message: explain(session, why),
  }));
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  const detail = `Cannot ${verb} ${first?.path ?? "nothing"}: ${first?.message ?? "refused"}${more}`;
  return { kind: "reservation_refused", detail, errors };
}

function explain(session: Session, why: RefusedReservation["why"]): string {
  switch (why.kind) {
    case "held_by_other":
      return `node ${nodeRef(session, why.holder).name} holds it`;
    case "reserved_for_other":
      return `it is reserved for ${describeOwner(session, why.owner)}`;
    case "owner_has_reservation":
      return `${why.subnet} is reserved for the same owner already`;
    case "not_in_pool":
      return "it is not a subnet that the network config hands out";
    case "no_config":
      return "there is no network config yet";
    default:
      return `the cluster answered ${why.kind}; update all nodes to one version and try again`;
  }
}

function describeOwner(session: Session, owner: ReservationOwner): string {
  return owner.kind === "node" ? `node ${nodeRef(session, owner.node).name}` : owner.publicIp;
}

/** A node that is no member now may still be meant, by its id. */
function parseOwner(
  session: Session,
  { node, publicIp }: ReservationOwnerRequest,
): ReservationOwner | undefined {
  if (publicIp !== undefined) {
    const address = parseAddress(publicIp);
    return address === undefined ? undefined : { kind: "public_ip", publicIp: address };
  }
  const named = session.cluster.members().filter(({ name }) => name === node);
  const id = named.length === 1 ? named[0]!.id : parseNodeId(node);
  return id === undefined ? undefined : { kind: "node", node: id };
}

/** What the API shows of a reservation. */
export function reservationView(
  session: Session,
  subnet: Prefix,
  owner: ReservationOwner,
): ReservationView {
  const lease = session.network.view().leases.get(subnet);
  if (owner.kind === "public_ip") {
    return { subnet, node: null, publicIp: owner.publicIp, held: false };
  }
  const held = lease?.node === owner.node;
  return { subnet, node: nodeRef(session, owner.node), publicIp: null, held };
}
