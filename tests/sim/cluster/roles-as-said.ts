/**
 * Whether the roles are what people were promised, told from the tables and not from the leader's
 * plan: an odd number of voters, all of them up, as many standbys as there can be, wishes followed
 * and zones spread as far as the voters and standbys at hand allow.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import { isJoint, memberIds } from "../../../src/control/cluster/members/conf-state.ts";
import { listMembers } from "../../../src/control/cluster/members/member-table.ts";
import { STANDBY_TARGET } from "../../../src/control/cluster/members/role-keeper.ts";
import { listWishes, voterTargetOf } from "../../../src/control/cluster/members/role-wishes.ts";
import type { RoleWish } from "../../../src/control/cluster/members/roles.ts";
import type { World } from "./world.ts";

const RANKS: Readonly<Record<RoleWish | "none", number>> = { voter: 0, none: 1, standby: 2 };

/** Whether the roles of `world` could stay as they are for ever. */
export function areRolesAsSaid(world: World): boolean {
  const { config } = world.safety;
  const leader = world.leader();
  const reader = leader?.machine?.reader;
  if (leader === undefined || reader === undefined || isJoint(config)) return false;
  const members = listMembers(reader);
  const live = members.filter(({ id }) => world.node(id).driver !== undefined);
  const { voters, learners } = config;
  const most = Math.min(voterTargetOf(reader), live.length);
  const wanted = most % 2 === 1 ? most : most - 1;
  const isListed = (id: NodeId) => live.some((member) => member.id === id);
  if (voters.length % 2 === 0 || voters.length !== wanted) return false;
  if (!memberIds(config).every(isListed)) return false;
  if (learners.length !== Math.min(STANDBY_TARGET, live.length - voters.length)) return false;
  const wishes = listWishes(reader);
  const rankOf = (id: NodeId) => RANKS[wishes.get(id) ?? "none"];
  const zoneOf = (id: NodeId) => live.find((member) => member.id === id)?.zone;
  const countIn = (id: NodeId) => voters.filter((each) => zoneOf(each) === zoneOf(id)).length;
  const mayStay = (voter: NodeId, standby: NodeId) => {
    if (rankOf(standby) < rankOf(voter)) return false;
    const isAsGood = rankOf(standby) === rankOf(voter) && voter !== leader.id;
    return !isAsGood || countIn(standby) + 2 > countIn(voter);
  };
  return voters.every((voter) => learners.every((standby) => mayStay(voter, standby)));
}
