/**
 * The operator: writes records of members, and proposes membership changes, by way of any node
 * that will take them.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import {
  findMember,
  isRemoved,
  listMembers,
  memberUnchanged,
  neverRemoved,
  putMember,
  removeMember,
} from "../../../src/control/cluster/members/member-table.ts";
import {
  listWishes,
  putVoterTarget,
  putWish,
  voterTargetOf,
} from "../../../src/control/cluster/members/role-wishes.ts";
import { type RoleWish, VOTER_TARGET_DEFAULT } from "../../../src/control/cluster/members/roles.ts";
import { type SystemTxn, systemTxn } from "../../../src/control/kv/txn.ts";
import type { KvReader } from "../../../src/control/kv/types.ts";
import type { ConfChangeSingle, ConfChangeTransition } from "../../../src/control/raft/types.ts";
import type { World } from "./world.ts";

const RETRY_MS = 400;
const TIMEOUT_MS = 3_000;
const WALL_MS = 1_700_000_000_000;

/** Makes the next command out of what a node knows; undefined when nothing is left to do. */
type Plan = (reader: KvReader) => SystemTxn | undefined;

/** The operator of one cluster. */
export class Admin {
  readonly #world: World;
  #openCount = 0;
  /** Who is being put into the members table. */
  readonly #enlisting = new Set<NodeId>();
  /** What was wished last. */
  readonly #wishes = new Map<NodeId, RoleWish>();
  #target = VOTER_TARGET_DEFAULT;

  constructor(world: World) {
    this.#world = world;
  }

  /** Writes that are not confirmed yet. */
  get openCount(): number {
    return this.#openCount;
  }

  /** Puts `id` into the members table. */
  enlist(id: NodeId): void {
    this.#enlisting.add(id);
    this.#write((reader) => {
      if (findMember(reader, id) !== undefined || isRemoved(reader, id)) {
        this.#enlisting.delete(id);
        return undefined;
      }
      const member = {
        ...{ id, name: `node-${id}`, address: { host: "10.0.0.1", port: 8286 + id } },
        ...{
          publicIp: "",
          underlayPrefixes: [],
          zone: this.#zoneOf(id),
          joinedAtMs: WALL_MS,
          keyHash: `key${id}`,
        },
      };
      const compare = [memberUnchanged(id, 0), neverRemoved(id)];
      return systemTxn({ compare, success: [putMember(member)] });
    });
  }

  /** Puts `next` into the members table, and then takes `id` out of it. */
  replace(id: NodeId, next: NodeId): void {
    this.enlist(next);
    this.dismiss(id, [id, next]);
  }

  /**
   * Takes `id` out of the members table for ever, unless it is the last one there; not before
   * `others` are there: itself, or it would come in after it was sent away.
   */
  dismiss(id: NodeId, others: readonly NodeId[] = [id]): void {
    if (others.some((each) => this.#enlisting.has(each))) {
      this.#world.later(RETRY_MS, "client", "operator", () => this.dismiss(id, others));
      return;
    }
    this.#write((reader) => {
      const member = findMember(reader, id);
      const other = listMembers(reader).find((each) => each.id !== id);
      if (member === undefined || other === undefined) return undefined;
      const removal = removeMember(member, WALL_MS);
      const stays = memberUnchanged(other.id, other.modRevision);
      return { ...removal, compare: [...removal.compare, stays] };
    });
  }

  /** Wishes `id` to vote, or rather not to. What was wished of it before is not tried any more. */
  wish(id: NodeId, wish: RoleWish): void {
    this.#wishes.set(id, wish);
    this.#write((reader) => {
      const member = findMember(reader, id);
      const last = this.#wishes.get(id) ?? wish;
      const isDone = member === undefined || listWishes(reader).get(id) === last;
      return isDone ? undefined : putWish(member, last);
    });
  }

  /** Sets how many voters there should be; the last one counts. */
  target(target: number): void {
    this.#target = target;
    this.#write((reader) => {
      const isDone = voterTargetOf(reader) === this.#target;
      return isDone ? undefined : putVoterTarget(this.#target);
    });
  }

  /** Has the leader propose a change of the membership. False when there is none to ask. */
  propose(
    changes: readonly ConfChangeSingle[],
    transition: ConfChangeTransition = "auto",
  ): boolean {
    const leader = this.#world.leader();
    if (leader?.driver === undefined || leader.process?.isPaused !== false) return false;
    const context = new Uint8Array(0);
    return leader.driver.proposeConfChange({ version: 2, transition, changes, context }).ok;
  }

  #zoneOf(id: NodeId): string {
    const { zoneCount } = this.#world.scenario;
    return zoneCount === 0 ? "" : `zone-${id % zoneCount}`;
  }

  #write(plan: Plan): void {
    this.#openCount += 1;
    this.#try(plan);
  }

  #try(plan: Plan): void {
    const world = this.#world;
    const again = () => world.later(RETRY_MS, "client", "operator", () => this.#try(plan));
    const node = world.someMember();
    const { driver, process } = node ?? {};
    if (driver === undefined || process === undefined) {
      again();
      return;
    }
    let isAnswered = false;
    const answer = (next: () => void) => {
      if (isAnswered) return;
      isAnswered = true;
      next();
    };
    const run = async () => {
      const barrier = await driver.readBarrier(TIMEOUT_MS);
      const command = barrier.ok ? plan(driver.reader) : undefined;
      if (barrier.ok && command === undefined) {
        answer(() => {
          this.#openCount -= 1;
        });
        return;
      }
      if (command !== undefined) await driver.execute(command, { timeoutMs: TIMEOUT_MS });
      answer(again); // Looks whether it is done now.
    };
    process.after(0, "client", () => void run(), "operator");
    world.later(2.5 * TIMEOUT_MS, "client", "operator's patience ends", () => answer(again));
  }
}
