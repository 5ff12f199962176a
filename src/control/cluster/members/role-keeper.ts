/**
 * Keeps the Raft membership in step with the members table, while this node leads.
 *
 * Looks at once when table, membership or role changed, and slowly for ever, since nodes die,
 * come back and catch up without any event. A change that was proposed and is not yet in effect is
 * waited for.
 *
 * @module
 */
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import type { Clock } from "../../../host/ports.ts";
import type { KvEvent } from "../../kv/types.ts";
import type { ConfState } from "../../raft/types.ts";
import type { Driver } from "../driver.ts";
import { TRANSFER_TIMEOUT_MS } from "../limits.ts";
import { memberIds, voterIds } from "./conf-state.ts";
import { isRemoved, listMembers, type StoredMember } from "./member-table.ts";
import { listWishes, voterTargetOf } from "./role-wishes.ts";
import { planRoles, type RolePlan, type RoleView, type RoleWish, voterCountFor } from "./roles.ts";
import { StandbyWatch } from "./standby-watch.ts";
import { MEMBERS_PREFIX, VOTERS_KEY, WISHES_PREFIX } from "./system-record.ts";

/** Who replaces voters, and feeds the spares: more would cost the leader and gain nothing. */
export const STANDBY_TARGET = 3;
/** While the roles are not what they should be: a standby that caught up is not waited for long. */
const LOOK_SOON_MS = 250;
/** While they are: who died or came back is seen by then (autopilot's interval). */
const LOOK_LATER_MS = 2_000;
/** A proposal that had no effect by then was dropped; the next look may try again. */
const CHANGE_TIMEOUT_MS = 2_000;
/** How long a voter may be silent before a standby votes in its place: longer than a reboot. */
const LOST_AFTER_MS = 30_000;
/** How far a standby's log may be behind when it gets a vote (Consul's and Nomad's default). */
const CAUGHT_UP_ENTRY_COUNT_MAX = 250;

export interface RoleKeeperOptions {
  readonly driver: Driver;
  readonly clock: Clock;
  readonly log: Log;
  /** `STANDBY_TARGET` when absent. */
  readonly standbyTarget?: number;
}

/** What the store says about members, decoded once for each change of it. */
interface Tables {
  readonly listed: ReadonlyMap<NodeId, StoredMember>;
  readonly wishes: ReadonlyMap<NodeId, RoleWish>;
}

/** The leader's hand in the membership; idle on every other node. */
export class RoleKeeper {
  readonly #options: RoleKeeperOptions;
  readonly #undo: readonly (() => void)[];
  /** The membership that a proposal is to replace, and until when that is waited for. */
  #pending: { readonly confState: ConfState; readonly untilMs: number } | undefined;
  #leaderSinceMs: number | undefined;
  #standbys = new StandbyWatch();
  #tables: Tables | undefined;
  #isLookScheduled = false;
  #cancelNext: (() => void) | undefined;
  #isStopped = false;

  constructor(options: RoleKeeperOptions) {
    this.#options = options;
    const { driver } = options;
    this.#undo = [
      driver.onRole(() => this.#poke()),
      driver.onMembership(() => this.#poke()),
      driver.onApplied((events) => {
        if (!events.some(isAboutRoles)) return;
        this.#tables = undefined;
        this.#poke();
      }),
    ];
  }

  /** What the leader's plans are made from; to be asked on the leader only. */
  view(): RoleView {
    return this.#view(this.#wantedMembers(), this.#options.clock.nowMs());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelNext?.();
    for (const undo of this.#undo) undo();
  }

  /** Something changed that the plan depends on. */
  #poke(): void {
    if (this.#isLookScheduled) return;
    this.#isLookScheduled = true;
    // After the batch that is being applied, so that one look sees all of it.
    queueMicrotask(() => {
      this.#isLookScheduled = false;
      this.#look();
    });
  }

  #look(): void {
    const { driver, clock } = this.#options;
    this.#cancelNext?.();
    this.#cancelNext = undefined;
    if (this.#isStopped || !driver.isLeader()) {
      this.#leaderSinceMs = undefined;
      return;
    }
    const nowMs = clock.nowMs();
    if (this.#leaderSinceMs === undefined) {
      this.#leaderSinceMs = nowMs;
      this.#standbys = new StandbyWatch();
      this.#tables = undefined; // A snapshot may have replaced them without an event for each.
    }
    const delayMs = this.#step(nowMs);
    this.#cancelNext = clock.after(delayMs, () => this.#look());
  }

  /** Makes the next change if it is time; when to look again, milliseconds from now. */
  #step(nowMs: number): number {
    const { driver } = this.#options;
    const members = this.#wantedMembers();
    this.#watchStandbys(members, nowMs);
    const pending = this.#pending;
    if (pending?.confState === driver.confState && nowMs < pending.untilMs) {
      return Math.ceil(pending.untilMs - nowMs);
    }
    this.#pending = undefined;
    const view = this.#view(members, nowMs);
    const plan = planRoles(view);
    if (plan !== undefined) this.#carryOut(plan, nowMs);
    const { confState } = driver;
    const isSettled =
      plan === undefined &&
      confState.voters.length === voterCountFor(members.length, view.voterTarget) &&
      memberIds(confState).every((id) => members.includes(id));
    return isSettled ? LOOK_LATER_MS : LOOK_SOON_MS;
  }

  #readTables(): Tables {
    const { reader } = this.#options.driver;
    this.#tables ??= {
      listed: new Map(listMembers(reader).map((member) => [member.id, member])),
      wishes: listWishes(reader),
    };
    return this.#tables;
  }

  /** Who should be in the cluster. */
  #wantedMembers(): readonly NodeId[] {
    const { reader, confState } = this.#options.driver;
    const { listed } = this.#readTables();
    // Whoever is in neither table stays as it is: its record may be one that we cannot read yet.
    const unlisted = memberIds(confState).filter((id) => !listed.has(id) && !isRemoved(reader, id));
    return [...listed.keys(), ...unlisted];
  }

  #watchStandbys(members: readonly NodeId[], nowMs: number): void {
    const { driver } = this.#options;
    const { progress, commit } = driver.status();
    const { learners } = driver.confState;
    for (const id of learners) {
      const each = progress?.get(id);
      const match = each === undefined || each.kind === "snapshot" ? undefined : each.match;
      const isBehind = (each?.match ?? 0) < commit;
      this.#standbys.saw(id, { isLive: driver.isLive(id), match, isBehind }, nowMs);
    }
    this.#standbys.keepOnly(new Set(learners), new Set(members));
  }

  #view(members: readonly NodeId[], nowMs: number): RoleView {
    const { driver, standbyTarget = STANDBY_TARGET } = this.#options;
    const { confState, reader } = driver;
    const { progress, commit } = driver.status();
    const { listed, wishes } = this.#readTables();
    const leaderForMs = nowMs - (this.#leaderSinceMs ?? nowMs);
    const isCaughtUp = (id: NodeId) => {
      const each = progress?.get(id);
      if (each === undefined || each.kind === "snapshot") return false;
      return each.match + CAUGHT_UP_ENTRY_COUNT_MAX >= commit && each.match > 0;
    };
    return {
      self: driver.nodeId,
      members,
      confState,
      voterTarget: voterTargetOf(reader),
      standbyTarget,
      isLive: (id) => driver.isLive(id),
      isLost: (id) => leaderForMs > LOST_AFTER_MS && driver.group.silentMs(id) > LOST_AFTER_MS,
      isReady: (id) => {
        if (id === driver.nodeId) return true;
        const isSteady = confState.voters.includes(id) || this.#standbys.isSteady(id, nowMs);
        return isSteady && isCaughtUp(id);
      },
      isStalled: (id) => this.#standbys.isStalled(id, nowMs),
      isResting: (id) => this.#standbys.isResting(id, nowMs),
      zoneOf: (id) => listed.get(id)?.zone ?? "",
      wishOf: (id) => wishes.get(id),
    };
  }

  #carryOut(plan: RolePlan, nowMs: number): void {
    const { driver, log } = this.#options;
    const { confState } = driver;
    const timeoutMs = plan.kind === "transfer" ? TRANSFER_TIMEOUT_MS : CHANGE_TIMEOUT_MS;
    this.#pending = { confState, untilMs: nowMs + timeoutMs };
    if (plan.kind === "transfer") {
      log.info("leadership is handed over", { to: formatNodeId(plan.target) });
      driver.transferLeadership(plan.target);
      return;
    }
    for (const { operation, node } of plan.changes) {
      log.info("membership changes", { operation, member: formatNodeId(node) });
      if (operation === "remove" && this.#standbys.isStalled(node, nowMs)) {
        this.#standbys.letGo(node, nowMs);
      }
    }
    const context = new Uint8Array(0);
    driver.proposeConfChange({ version: 2, transition: "auto", changes: plan.changes, context });
  }
}

function isAboutRoles(event: KvEvent): boolean {
  const key = event.kind === "put" ? event.current.key : event.key;
  return key.startsWith(MEMBERS_PREFIX) || key.startsWith(WISHES_PREFIX) || key === VOTERS_KEY;
}

/** What a member is called by its place in `state`. */
export function roleIn(state: ConfState, id: NodeId): "voter" | "standby" | "spare" {
  if (voterIds(state).includes(id)) return "voter";
  return memberIds(state).includes(id) ? "standby" : "spare";
}
