/**
 * Everything that other nodes may ask of this one beside consensus: to be let in, to decide an
 * order about a member, and what concerns certificates.
 *
 * A join may come to any member; the leader decides. It is passed on once, never further, so a
 * wandering leader makes a join fail and not go round in circles.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import type { NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import type { PlainRecord } from "../codec/codec.ts";
import type { Driver } from "../driver.ts";
import type { MemberOrders } from "../members/member-orders.ts";
import type { ClusterRef } from "../recovery.ts";
import type { PeerCounters } from "../transport/peer-counters.ts";
import type { CallAnswer, CallMethod, Transport } from "../transport/peer-port.ts";
import type { Credentials } from "../trust/credentials.ts";
import { checkSecret } from "../trust/token-table.ts";
import type { TrustKeeper } from "../trust/trust-keeper.ts";
import { Admission } from "./admission.ts";
import {
  type AdmissionFailure,
  type AdmissionRequest,
  failureOf,
  grantToRecord,
  requestFromRecord,
  requestToRecord,
} from "./join-protocol.ts";
import { JoinServer } from "./join-server.ts";

/** The leader's part of a join: one write, one membership change, one signature. */
const PASS_ON_TIMEOUT_MS = 10_000;

export interface DoorkeeperOptions {
  readonly driver: Driver;
  readonly transport: Transport;
  readonly cluster: ClusterRef;
  readonly credentials: Credentials;
  readonly trust: TrustKeeper;
  readonly orders: MemberOrders;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly counters: PeerCounters;
}

/** Answers joins and the calls that are not the driver's. */
export class Doorkeeper {
  readonly #options: DoorkeeperOptions;
  readonly #admission: Admission;
  readonly #joins: JoinServer;

  constructor(options: DoorkeeperOptions) {
    const { driver, cluster, credentials, trust, clock, random, log, counters } = options;
    this.#options = options;
    const { caKeys } = trust;
    const ports = { driver, cluster, credentials, caKeys, clock, random, log };
    this.#admission = new Admission(ports);
    this.#joins = new JoinServer({
      ...{ clock, counters },
      isSecretKnown: (secret) => checkSecret(driver.reader, secret, clock.wallMs()).ok,
      admit: (request) => this.#admit(request),
    });
  }

  /** Takes over a connection of a node that wants in. */
  accept(socket: TLSSocket): void {
    this.#joins.accept(socket);
  }

  /** Answers a call of another member. */
  async answer(from: NodeId, method: CallMethod, body: PlainRecord): Promise<CallAnswer> {
    switch (method) {
      case "join":
        return this.#admitFor(body);
      case "member":
        return this.#options.orders.serve(body);
      default:
        return this.#options.trust.answer(from, method, body);
    }
  }

  close(): void {
    this.#joins.close();
  }

  /** A join that came here. */
  async #admit(request: AdmissionRequest): Promise<Result<PlainRecord, AdmissionFailure>> {
    const { driver, transport } = this.#options;
    const { leader } = driver.role;
    if (leader === undefined) return err(NO_LEADER);
    if (leader === driver.nodeId) {
      const result = await this.#admission.admit(request);
      return result.ok ? ok(grantToRecord(result.value)) : result;
    }
    const body = requestToRecord(request);
    const call = { target: leader, method: "join", body, timeoutMs: PASS_ON_TIMEOUT_MS } as const;
    const result = await transport.call(call);
    if (result.ok) return result;
    const { error } = result;
    return err(error.kind === "refused" ? failureOf(error.reason, error.detail) : LEADER_SILENT);
  }

  /** A join that came to another member, which passed it on. */
  async #admitFor(body: PlainRecord): Promise<CallAnswer> {
    const request = requestFromRecord(body);
    if (request === undefined) {
      return err({ reason: "join_refused", detail: "Cannot join the cluster: malformed request" });
    }
    const result = this.#options.driver.isLeader()
      ? await this.#admission.admit(request)
      : err(NO_LEADER);
    if (result.ok) return ok(grantToRecord(result.value));
    return err({ reason: result.error.kind, detail: result.error.detail });
  }
}

const NO_LEADER: AdmissionFailure = {
  kind: "no_leader",
  detail: "Cannot join the cluster: it has no leader at the moment; try again",
};
const LEADER_SILENT: AdmissionFailure = {
  kind: "timeout",
  detail: "Cannot join the cluster: its leader did not answer in time; try again",
};
