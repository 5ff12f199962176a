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
import { memberIds } from "./conf-state.ts";
import { isRemoved, listMembers } from "./member-table.ts";
import { planRoles, type RolePlan, voterCountFor } from "./roles.ts";
import { MEMBERS_PREFIX } from "./system-record.ts";

/** Voters of a cluster of three nodes and more: the least that survives the loss of one. */
export const VOTER_TARGET = 3;
/** While the roles are not what they should be: a standby that caught up is not waited for long. */
const LOOK_SOON_MS = 250;
/** While they are: who died or came back is seen by then. */
const LOOK_LATER_MS = 5_000;
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
  readonly voterTarget?: number;
}

/** The leader's hand in the membership; idle on every other node. */
export class RoleKeeper {
  readonly #options: RoleKeeperOptions;
  readonly #undo: readonly (() => void)[];
  /** The membership that a proposal is to replace, and until when that is waited for. */
  #pending: { readonly confState: ConfState; readonly untilMs: number } | undefined;
  #leaderSinceMs: number | undefined;
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
        if (events.some(isAboutMembers)) this.#poke();
      }),
    ];
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
    this.#leaderSinceMs ??= nowMs;
    const delayMs = this.#step(nowMs, nowMs - this.#leaderSinceMs);
    this.#cancelNext = clock.after(delayMs, () => this.#look());
  }

  /** Makes the next change if it is time; when to look again, milliseconds from now. */
  #step(nowMs: number, leaderForMs: number): number {
    const { driver, voterTarget = VOTER_TARGET } = this.#options;
    const pending = this.#pending;
    if (pending?.confState === driver.confState && nowMs < pending.untilMs) {
      return Math.ceil(pending.untilMs - nowMs);
    }
    this.#pending = undefined;
    const members = this.#wantedMembers();
    const plan = this.#plan(members, leaderForMs);
    if (plan !== undefined) this.#carryOut(plan, nowMs);
    const { confState } = driver;
    const isSettled =
      plan === undefined &&
      confState.voters.length === voterCountFor(members.length, voterTarget) &&
      memberIds(confState).every((id) => members.includes(id));
    return isSettled ? LOOK_LATER_MS : LOOK_SOON_MS;
  }

  /** Who should be in the membership. */
  #wantedMembers(): readonly NodeId[] {
    const { reader, confState } = this.#options.driver;
    const listed = listMembers(reader).map((member) => member.id);
    // Whoever is in neither table stays as it is: its record may be one that we cannot read yet.
    const unlisted = memberIds(confState).filter(
      (id) => !listed.includes(id) && !isRemoved(reader, id),
    );
    return [...listed, ...unlisted];
  }

  #plan(members: readonly NodeId[], leaderForMs: number): RolePlan | undefined {
    const { driver, voterTarget = VOTER_TARGET } = this.#options;
    const { progress, commit } = driver.status();
    return planRoles({
      self: driver.nodeId,
      members,
      confState: driver.confState,
      voterTarget,
      isLive: (id) => driver.isLive(id),
      isLost: (id) => leaderForMs > LOST_AFTER_MS && driver.silentMs(id) > LOST_AFTER_MS,
      isCaughtUp: (id) => {
        const each = progress?.get(id);
        if (id === driver.nodeId) return true;
        if (each === undefined || each.kind === "snapshot") return false;
        return each.match + CAUGHT_UP_ENTRY_COUNT_MAX >= commit && each.match > 0;
      },
    });
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
    }
    const context = new Uint8Array(0);
    driver.proposeConfChange({ version: 2, transition: "auto", changes: plan.changes, context });
  }
}

function isAboutMembers(event: KvEvent): boolean {
  const key = event.kind === "put" ? event.current.key : event.key;
  return key.startsWith(MEMBERS_PREFIX);
}

/** What a member is called by its place in `state`. */
export function roleIn(state: ConfState, id: NodeId): "voter" | "standby" | "spare" {
  if (state.voters.includes(id)) return "voter";
  return memberIds(state).includes(id) ? "standby" : "spare";
}
