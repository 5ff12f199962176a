/**
 * Orders of people about members: promote, demote, remove, and how many should vote.
 *
 * Given at any node, decided by the leader: it alone knows who is live and how far each has come,
 * so it alone can say what an order would break. What it writes is a wish or a removal; carrying
 * that out is the role keeper's, also under the next leader.
 *
 * @module
 */
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import type { SystemTxn } from "../../kv/txn.ts";
import type { PlainRecord } from "../codec/codec.ts";
import { asNodeId, FieldReader } from "../codec/fields.ts";
import type { Driver } from "../driver.ts";
import { EXECUTE_TIMEOUT_MS } from "../limits.ts";
import type { CallAnswer, Transport } from "../transport/peer-port.ts";
import type { MemberFailure, MemberVerb } from "../types.ts";
import { findMember, removeMember, type StoredMember } from "./member-table.ts";
import { obstacleToDemotion, obstacleToPromotion, obstacleToRemoval } from "./obstacles.ts";
import { isVoterTarget, putVoterTarget, putWish } from "./role-wishes.ts";
import { type RoleView, VOTER_TARGETS } from "./roles.ts";

const VERBS = ["promote", "demote", "remove"] as const;

type MemberOrder =
  | { readonly kind: MemberVerb; readonly id: NodeId }
  | { readonly kind: "target"; readonly target: number };

const FAILURE_KINDS = [
  "not_found",
  "member_refused",
  "no_leader",
  "no_quorum",
  "timeout",
  "overloaded",
] as const;

export interface MemberOrdersOptions {
  readonly driver: Driver;
  readonly transport: Pick<Transport, "call">;
  readonly clock: Clock;
  /** What the leader's plans are made from. */
  readonly view: () => RoleView;
}

/** Takes orders on every node, and decides them on the leader. */
export class MemberOrders {
  readonly #options: MemberOrdersOptions;

  constructor(options: MemberOrdersOptions) {
    this.#options = options;
  }

  /** An order about one member; the member as it was before. */
  async about(kind: MemberVerb, id: NodeId): Promise<Result<StoredMember, MemberFailure>> {
    const { driver } = this.#options;
    if (kind === "remove" && id === driver.nodeId) {
      const detail = `${sentence({ kind, id })}: it is this node; use "overlay leave"`;
      return err({ kind: "member_refused", detail });
    }
    const barrier = await driver.readBarrier();
    if (!barrier.ok) return barrier;
    const member = findMember(driver.reader, id);
    if (member === undefined) return err(missing({ kind, id }));
    const given = await this.#give({ kind, id });
    return given.ok ? ok(member) : given;
  }

  /** Sets how many voters there should be. */
  async setTarget(target: number): Promise<Result<void, MemberFailure>> {
    const { driver } = this.#options;
    const barrier = await driver.readBarrier();
    return barrier.ok ? this.#give({ kind: "target", target }) : barrier;
  }

  /** An order that came to another node, which passed it on. */
  async serve(body: PlainRecord): Promise<CallAnswer> {
    const order = orderFromRecord(body);
    if (order === undefined) {
      return err({ reason: "member_refused", detail: "Cannot read the order about a member" });
    }
    const result = this.#options.driver.isLeader()
      ? await this.#decide(order)
      : err({ kind: "no_leader", detail: `${sentence(order)}: the leader changed; try again` });
    if (result.ok) return ok({});
    return err({ reason: result.error.kind, detail: result.error.detail });
  }

  async #give(order: MemberOrder): Promise<Result<void, MemberFailure>> {
    const { driver, transport } = this.#options;
    const { leader } = driver.role;
    if (leader === driver.nodeId) return this.#decide(order);
    if (leader === undefined) {
      const detail = `${sentence(order)}: the cluster has no leader at the moment; try again`;
      return err({ kind: "no_leader", detail });
    }
    const answer = await transport.call({
      target: leader,
      method: "member",
      body: orderToRecord(order),
      timeoutMs: EXECUTE_TIMEOUT_MS,
    });
    if (answer.ok) return ok(undefined);
    const { error } = answer;
    if (error.kind !== "refused") {
      const detail = `${sentence(order)}: the leader did not answer in time; look, and try again`;
      return err({ kind: "timeout", detail });
    }
    const kind = FAILURE_KINDS.find((each) => each === error.reason);
    if (kind !== undefined) return err({ kind, detail: error.detail });
    const detail = `${sentence(order)}: the leader is of an older version; update it, and try again`;
    return err({ kind: "member_refused", detail });
  }

  /** On the leader. */
  async #decide(order: MemberOrder): Promise<Result<void, MemberFailure>> {
    const { driver, clock } = this.#options;
    if (order.kind === "target") return this.#decideTarget(order.target);
    const { kind, id } = order;
    for (;;) {
      const barrier = await driver.readBarrier();
      if (!barrier.ok) return barrier;
      const member = findMember(driver.reader, id);
      if (member === undefined) return err(missing(order));
      const obstacle = OBSTACLES[kind](this.#options.view(), id);
      if (obstacle !== undefined) {
        return err({ kind: "member_refused", detail: `${sentence(order)}: ${obstacle}` });
      }
      const result = await driver.execute(commandOf(kind, member, clock.wallMs()));
      if (!result.ok) return result;
      // Otherwise its record changed meanwhile: look at what is there now.
      if (result.value.kind === "done" && result.value.succeeded) return ok(undefined);
    }
  }

  async #decideTarget(target: number): Promise<Result<void, MemberFailure>> {
    if (!isVoterTarget(target)) {
      const detail = `${sentence({ kind: "target", target })}: it must be ${VOTER_TARGETS.join(", ")}`;
      return err({ kind: "member_refused", detail });
    }
    const result = await this.#options.driver.execute(putVoterTarget(target));
    return result.ok ? ok(undefined) : result;
  }
}

const OBSTACLES: Readonly<Record<MemberVerb, (view: RoleView, id: NodeId) => string | undefined>> =
  {
    promote: obstacleToPromotion,
    demote: obstacleToDemotion,
    remove: obstacleToRemoval,
  };

function commandOf(kind: MemberVerb, member: StoredMember, wallMs: number): SystemTxn {
  if (kind === "remove") return removeMember(member, wallMs);
  return putWish(member, kind === "promote" ? "voter" : "standby");
}

function orderToRecord(order: MemberOrder): PlainRecord {
  return order.kind === "target"
    ? { o: order.kind, t: order.target }
    : { o: order.kind, n: order.id };
}

function orderFromRecord(record: PlainRecord): MemberOrder | undefined {
  const fields = new FieldReader(record);
  if (fields.raw("o") === "target") {
    const target = fields.counter("t");
    return fields.failed ? undefined : { kind: "target", target };
  }
  const kind = fields.choice("o", VERBS);
  const id = asNodeId(fields.raw("n"));
  return fields.failed || id === undefined ? undefined : { kind, id };
}

function missing(order: MemberOrder): MemberFailure {
  const detail = `${sentence(order)}: there is none; see "overlay member list"`;
  return { kind: "not_found", detail };
}

/** The beginning of every refusal. */
function sentence(order: MemberOrder): string {
  if (order.kind === "target") return `Cannot set the number of voters to ${order.target}`;
  return `Cannot ${order.kind} member ${formatNodeId(order.id)}`;
}
