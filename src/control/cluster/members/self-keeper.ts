/**
 * Keeps this node's record in the members table equal to what the node knows about itself.
 *
 * The founder writes its record when it first leads; a node whose address changed corrects it as
 * soon as there is a leader, and each start is recorded (`life.ts`). Nothing is written when
 * nothing differs, or by a removed node.
 *
 * @module
 */
import type { Log } from "../../../base/log.ts";
import { ok, type Result } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import { CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";
import { systemTxn } from "../../kv/txn.ts";
import type { KvReader } from "../../kv/types.ts";
import type { Driver } from "../driver.ts";
import { keyHashOf } from "../trust/certificate.ts";
import type { ClusterFailure, MemberInfo } from "../types.ts";
import { isPublished, OWN_VERSIONS, putVersions, raiseTo } from "../upgrade/node-versions.ts";
import { isOnlyVoter } from "./conf-state.ts";
import { OUTDATED } from "./greeting.ts";
import { isSameNode, type LifeClaim, lifeUnchanged, putLife, recordedLife } from "./life.ts";
import {
  findMember,
  isRemoved,
  isSameInfo,
  memberUnchanged,
  neverRemoved,
  putMember,
} from "./member-table.ts";

/** After a write that failed; a node with a wrong address must not wait long. */
const RETRY_MS = 1_000;
/** A leader is normally found by then. Without one, other members may still know one. */
const LEADERLESS_PATIENCE_MS = 2_000;

export interface SelfKeeperOptions {
  readonly driver: Driver;
  readonly clock: Clock;
  readonly log: Log;
  /** PEM. */
  readonly certificate: string;
  readonly info: MemberInfo;
  readonly life: LifeClaim;
  /** Called when the cluster has recorded that life. */
  readonly recorded: () => void;
}

/** The one writer of this node's record, beside its admission. */
export class SelfKeeper {
  readonly #options: SelfKeeperOptions;
  #info: MemberInfo;
  #isRunning = false;
  #isStopped = false;
  #cancelRetry: () => void;
  readonly #startedMs: number;
  #isRecorded = false;

  constructor(options: SelfKeeperOptions) {
    this.#options = options;
    this.#info = options.info;
    this.#startedMs = options.clock.nowMs();
    this.#cancelRetry = options.clock.after(LEADERLESS_PATIENCE_MS, () => this.poke());
  }

  /** What the record is to say. */
  get info(): MemberInfo {
    return this.#info;
  }

  /** Corrects the record to `change` on top of what it said, now or at the next chance. */
  async update(change: Partial<MemberInfo>): Promise<Result<void, ClusterFailure>> {
    this.#info = { ...this.#info, ...change };
    return this.#write();
  }

  /**
   * The role or the tables changed: writes when that is possible and needed. A leader that looks
   * for this node at its old address is not known here; the write then goes by another member.
   */
  poke(): void {
    const { driver, clock } = this.#options;
    if (this.#isRunning || this.#isStopped) return;
    const isEarly = clock.nowMs() - this.#startedMs < LEADERLESS_PATIENCE_MS;
    if (driver.role.leader === undefined && isEarly) return;
    if (!this.#isDifferent()) return;
    this.#isRunning = true;
    void this.#write().then((result) => {
      this.#isRunning = false;
      this.#cancelRetry();
      if (result.ok || this.#isStopped) return;
      this.#cancelRetry = clock.after(RETRY_MS, () => this.poke());
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelRetry();
  }

  #isDifferent(): boolean {
    const { driver, life } = this.#options;
    if (!this.#isOurs()) return false;
    const known = findMember(driver.reader, driver.nodeId);
    if (known !== undefined) {
      return (
        recordedLife(driver.reader, driver.nodeId)?.nonce !== life.life.nonce ||
        !isSameInfo(known, this.#info) ||
        !isPublished(driver.reader, driver.nodeId)
      );
    }
    // Without a record: the founder's first time, or removed, or not yet caught up.
    return isOnlyVoter(driver.confState, driver.nodeId) && !isRemoved(driver.reader, driver.nodeId);
  }

  /** Whether this process is the node that the cluster knows; if not, it must not say so. */
  #isOurs(): boolean {
    const { driver, life } = this.#options;
    const recorded = recordedLife(driver.reader, driver.nodeId);
    if (!isSameNode(life, recorded)) driver.group.shut(OUTDATED);
    else if (recorded?.nonce === life.life.nonce && !this.#isRecorded) {
      this.#isRecorded = true;
      this.#options.recorded();
    }
    return driver.group.refusal === undefined;
  }

  async #write(): Promise<Result<void, ClusterFailure>> {
    const { driver, clock, log, certificate, life } = this.#options;
    while (this.#isDifferent() && !this.#isStopped) {
      const known = findMember(driver.reader, driver.nodeId);
      const member = {
        ...this.#info,
        id: driver.nodeId,
        joinedAtMs: known?.joinedAtMs ?? clock.wallMs(),
        keyHash: known?.keyHash ?? keyHashOf(certificate),
      };
      const compare = [
        memberUnchanged(driver.nodeId, known?.modRevision ?? 0),
        neverRemoved(driver.nodeId),
        lifeUnchanged(driver.reader, driver.nodeId),
      ];
      const isFounding = known === undefined && isNew(driver.reader);
      const success = [
        putMember(member),
        putVersions(driver.nodeId, OWN_VERSIONS),
        putLife(driver.nodeId, life.life),
      ];
      const command = isFounding
        ? {
            ...systemTxn({ compare, success: [...success, raiseTo(CLUSTER_VERSION_NEWEST)] }),
            needs: CLUSTER_VERSION_NEWEST,
          }
        : systemTxn({ compare, success });
      const result = await driver.execute(command, { raisesVersion: isFounding });
      if (!result.ok) return result;
      if (result.value.kind !== "done") {
        log.error("own member record was refused", { reason: result.value.kind });
        return ok(undefined);
      }
      // It moved under us (another update, a removal): look again, at what is true now.
      if (!result.value.succeeded) await driver.readBarrier();
    }
    return ok(undefined);
  }
}

/** Whether nobody has written anything: a new cluster begins with the newest version. */
function isNew(reader: KvReader): boolean {
  return reader.revision === 0;
}
