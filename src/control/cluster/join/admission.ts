/**
 * Letting a node in: the leader's side of the join.
 *
 *     token good? -> id never used? -> sign its key -> one transaction: count the use, write the
 *     member record -> certificate, CA, where the others are
 *
 * The transaction compares the token and both records, so a token's last use is given once and an
 * id has one owner, whoever else is joining. A node that asks again with the same key (its answer
 * got lost) gets its answer again and uses nothing up.
 *
 * @module
 */
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import { systemTxn } from "../../kv/txn.ts";
import type { Driver } from "../driver.ts";
import { recordedLife } from "../members/life.ts";
import {
  findMember,
  isRemoved,
  listMembers,
  memberUnchanged,
  neverRemoved,
  putMember,
  type StoredMember,
} from "../members/member-table.ts";
import type { ClusterRef } from "../recovery.ts";
import { sourceOrder } from "../spares/source-choice.ts";
import type { CaKeys } from "../trust/ca-keys.ts";
import { keyHashOf } from "../trust/certificate.ts";
import type { Credentials } from "../trust/credentials.ts";
import type { JoinGrant } from "../trust/identity.ts";
import { signRequest } from "../trust/pki.ts";
import { checkSecret, countUse, type StoredToken, tokenUnchanged } from "../trust/token-table.ts";
import { putVersions, versionObstacle } from "../upgrade/node-versions.ts";
import type { AdmissionFailure, AdmissionRequest } from "./join-protocol.ts";

/** What the token or the id depends on may be changed meanwhile, by a command or a late write. */
const ATTEMPTS_MAX = 8;
/** More peers than that help a new node no further. */
const GRANT_PEERS_MAX = 32;

export interface AdmissionOptions {
  readonly driver: Driver;
  readonly cluster: ClusterRef;
  readonly credentials: Credentials;
  readonly caKeys: CaKeys;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The door of the cluster, on its leader. */
export class Admission {
  readonly #options: AdmissionOptions;
  /**
   * Nodes go through one after the other: each counts a use of the token, so of a rack that comes
   * with one token only one write in each round could succeed.
   */
  #line: Promise<unknown> = Promise.resolve();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Lets the node in, or says why not. To be called on the leader. */
  async admit(request: AdmissionRequest): Promise<Result<JoinGrant, AdmissionFailure>> {
    const { driver, clock } = this.#options;
    // A new leader may not have applied yet what the last one acknowledged: this very token.
    const barrier = await driver.readBarrier();
    if (!barrier.ok) return barrier;
    // Wrong secrets are turned away before anything costly is done for them.
    const first = checkSecret(driver.reader, request.secret, clock.wallMs());
    // The one use of a token may be this node's own, whose answer was lost.
    const isRepeat =
      !first.ok &&
      first.error.kind === "used_up" &&
      findMember(driver.reader, request.nodeId) !== undefined;
    if (!first.ok && !isRepeat) return err({ kind: "join_refused", detail: first.error.detail });
    const { only } = request;
    if (only !== undefined && only !== this.#options.cluster.clusterId) return err(OTHER_CLUSTER);
    const obstacle = versionObstacle(driver.reader, request.versions);
    if (obstacle !== undefined) {
      return err({ kind: "upgrade_needed", detail: `Cannot join the cluster: ${obstacle}` });
    }
    const signed = await this.#sign(request);
    if (!signed.ok) return signed;
    const entered = this.#line.then(() => this.#enter(request, signed.value));
    this.#line = entered.catch(() => undefined);
    return entered;
  }

  /** Takes the node with `certificate` into the table of members, and counts the token's use. */
  async #enter(
    request: AdmissionRequest,
    certificate: string,
  ): Promise<Result<JoinGrant, AdmissionFailure>> {
    const { driver, clock, log } = this.#options;
    const { only } = request;
    const keyHash = keyHashOf(certificate);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const token = checkSecret(driver.reader, request.secret, clock.wallMs());
      const known = findMember(driver.reader, request.nodeId);
      // Once it has run as a member, its disk holds promises that a second join would wipe out.
      const hasRun = recordedLife(driver.reader, request.nodeId) !== undefined;
      const mayRepeat = only !== undefined || !hasRun; // With `only` it keeps its disk.
      if (known?.keyHash === keyHash && mayRepeat) {
        return ok(this.#grant(request.nodeId, certificate));
      }
      if (known !== undefined) return err(takenId(known));
      if (isRemoved(driver.reader, request.nodeId)) return err(REMOVED);
      if (!token.ok) return err({ kind: "join_refused", detail: token.error.detail });
      const written = await this.#write(request, token.value, keyHash);
      if (!written.ok) return written;
      if (!written.value) continue;
      const { nodeId, info } = request;
      log.info("node let in", { member: formatNodeId(nodeId), name: info.name });
      return ok(this.#grant(nodeId, certificate));
    }
    const detail = "Cannot let the node in: its token or its id changes all the time; try again";
    return err({ kind: "overloaded", detail });
  }

  async #sign(request: AdmissionRequest): Promise<Result<string, AdmissionFailure>> {
    const { caKeys, clock, random } = this.#options;
    const ca = caKeys.signer;
    if (ca === undefined) {
      const detail = "Cannot let the node in: the leader has no key of the CA yet; try again";
      return err({ kind: "overloaded", detail });
    }
    const { csr, nodeId } = request;
    const signed = await signRequest({ csr, nodeId, ca, clock, random });
    return signed.ok ? signed : err({ kind: "join_refused", detail: signed.error.detail });
  }

  /** True when the record is written; false when something it depends on moved meanwhile. */
  async #write(
    request: AdmissionRequest,
    token: StoredToken,
    keyHash: string,
  ): Promise<Result<boolean, AdmissionFailure>> {
    const { driver, clock } = this.#options;
    const { nodeId, info } = request;
    const member = { ...info, id: nodeId, joinedAtMs: clock.wallMs(), keyHash };
    const result = await driver.execute(
      systemTxn({
        compare: [tokenUnchanged(token), memberUnchanged(nodeId, 0), neverRemoved(nodeId)],
        success: [countUse(token), putMember(member), putVersions(nodeId, request.versions)],
      }),
    );
    if (!result.ok) return result;
    if (result.value.kind === "done") return ok(result.value.succeeded);
    const detail = `Cannot let the node in: its record was refused (${result.value.kind})`;
    return err({ kind: "join_refused", detail });
  }

  /** The node follows one of the peers until the leader gives it a part in the membership. */
  #grant(nodeId: NodeId, certificate: string): JoinGrant {
    const { driver, cluster, credentials, random } = this.#options;
    const addresses = new Map(listMembers(driver.reader).map(({ id, address }) => [id, address]));
    const order = sourceOrder({
      ...{ self: nodeId, confState: driver.confState, leader: driver.role.leader },
      known: [...addresses.keys()],
      below: (limit) => random.below(limit),
    });
    const peers = order.flatMap((id) => {
      const address = addresses.get(id);
      return address === undefined ? [] : [{ id, address }];
    });
    const { ca } = credentials.keys;
    return { ...cluster, nodeId, certificate, ca, peers: peers.slice(0, GRANT_PEERS_MAX) };
  }
}

const OTHER_CLUSTER: AdmissionFailure = {
  kind: "already_member",
  detail:
    "Cannot join the cluster: this node is a member of another one; " +
    "give that up with --reset, or get a token of its own cluster",
};
const REMOVED: AdmissionFailure = {
  kind: "already_member",
  detail:
    "Cannot join the cluster: this node was a member before and was removed; " +
    "join with --reset as a new node",
};

function takenId(known: StoredMember): AdmissionFailure {
  return {
    kind: "already_member",
    detail:
      `Cannot join the cluster: its member "${known.name}" has the same node id; ` +
      "if this node was that member, or its data directory was copied here, " +
      "join with --reset as a new node",
  };
}
