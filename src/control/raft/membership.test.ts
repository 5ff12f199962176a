/**
 * Changes of membership: chapter 4 of the thesis, named by section.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import {
  answers,
  appliedText,
  cluster,
  conf,
  configOf,
  I,
  isGranted,
  N,
  T,
  TestCluster,
  voteRequest,
} from "./test-cluster.ts";

describe("§4 membership changes", () => {
  test("§4.1 one change at a time: the second becomes an empty entry", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.addNode(4);
    group.proposeConf(1, conf("v4"));
    group.proposeConf(1, conf("r3"));
    group.settle();
    expect(leader.confState.voters).toEqual([1, 2, 3, 4].map(N));
    expect(leader.applied.map((entry) => entry.kind).slice(-2)).toEqual(["conf_change", "normal"]);
  });

  test("§4.1 a change that leaves nobody, or cannot be made, is not even logged", () => {
    const group = cluster(1);
    const leader = group.elect(1);
    for (const change of [conf("r1"), conf("")]) {
      expect(group.proposeConf(1, change).ok).toBe(true);
      group.settle();
      expect(leader.applied.at(-1)?.kind).toBe("normal");
    }
    expect(leader.confState.voters).toEqual([N(1)]);
  });

  test("§4.1 no campaign with a committed change that is not applied", () => {
    const group = cluster(3, { preVote: false });
    group.elect(1);
    group.proposeConf(1, conf("r3"));
    const follower = group.node(2);
    // Everything but the follower's state machine goes on.
    for (let i = 0; i < 20; i++) {
      for (const node of group.nodes.values()) {
        group.takeReady(node);
        while (group.writeDisk(node));
        if (node !== follower) while (group.applyNext(node));
      }
      while (group.deliverNext());
    }
    expect(follower.raft.status().commit).toBeGreaterThan(follower.raft.status().applied);
    follower.raft.campaign();
    expect(follower.raft.status().role).toBe("follower");
    while (group.applyNext(follower));
    follower.raft.campaign();
    expect(follower.raft.status().role).toBe("candidate");
  });

  test("§4.2.2 a member that was removed unheard takes a copy of the state, where that is asked", () => {
    for (const restoresAsOutsider of [false, true]) {
      const group = cluster(3, { restoresAsOutsider });
      const removed = group.node(3);
      group.passes = ({ from, to }) => from !== removed.id && to !== removed.id;
      const { term, commit: index } = group.elect(1).raft.status();
      const snapshot = { index, term, confState: configOf([1, 2]), data: new Uint8Array(0) };
      removed.raft.step({ kind: "snapshot_request", to: N(3), from: N(1), term, snapshot });
      group.settle();
      expect(removed.raft.status().commit === index).toBe(restoresAsOutsider);
      expect(removed.confState.voters.includes(N(3))).toBe(!restoresAsOutsider);
    }
  });

  test("§4.2.1 a new server gets the log without a vote, and is promoted later", () => {
    const group = cluster(1);
    const leader = group.elect(1);
    group.propose(1, "a");
    group.addNode(2);
    group.proposeConf(1, conf("l2"));
    group.settle();
    expect(appliedText(group.node(2))).toBe("a");
    // A learner is no part of the quorum: the leader commits without it.
    group.partition([1], [2]);
    group.propose(1, "b");
    group.settle();
    expect(appliedText(leader)).toBe("ab");
    group.heal();
    group.tick(2);
    group.proposeConf(1, conf("v2"));
    group.settle();
    group.partition([1], [2]);
    group.propose(1, "c");
    group.settle();
    expect(appliedText(leader)).toBe("ab");
  });

  test("§4.2.1 a new member counts as alive until it had time to answer", () => {
    const group = cluster(1);
    const leader = group.elect(1);
    group.proposeConf(1, conf("v2"));
    group.settle();
    group.tick(10);
    expect(leader.raft.status().role).toBe("leader");
    group.tick(10);
    expect(leader.raft.status().role).toBe("follower");
  });

  test("a smaller quorum commits at once what it was enough for", () => {
    const group = cluster(4);
    const leader = group.elect(1);
    group.proposeConf(1, conf("r4"));
    group.takeReady(leader);
    while (group.writeDisk(leader));
    group.propose(1, "a");
    group.takeReady(leader);
    while (group.writeDisk(leader));
    const last = leader.log.lastIndex();
    const { term } = leader.raft.status();
    const ack = { kind: "append_response", to: N(1), term, rejected: undefined } as const;
    leader.raft.step({ ...ack, from: N(2), index: last });
    leader.raft.step({ ...ack, from: N(3), index: I(last - 1) });
    expect(leader.raft.status().commit).toBe(I(last - 1));
    group.takeReady(leader);
    while (group.applyNext(leader));
    expect(leader.raft.status().commit).toBe(last);
  });

  test("a transfer to a member that is removed is given up", () => {
    const group = cluster(4);
    const leader = group.elect(1);
    group.partition([1, 2, 3], [4]);
    group.proposeConf(1, conf("r4"));
    leader.raft.transferLeadership(N(4));
    expect(leader.raft.status().leadTransferee).toBe(N(4));
    group.settle();
    expect(leader.raft.status()).toMatchObject({ role: "leader", leadTransferee: undefined });
  });

  test("§4.2.1 a learner does not campaign, but votes when it is asked", () => {
    const group = new TestCluster(configOf([1, 2], [3]));
    const learner = group.node(3);
    for (let i = 0; i < 50; i++) learner.raft.tick();
    expect(learner.raft.status()).toMatchObject({ role: "follower", term: 0 });
    learner.raft.step(voteRequest({ to: N(3) }));
    expect(isGranted(answers(group, learner))).toBe(true);
  });

  test("§4.2.2 a removed leader steps down when the change is committed", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.proposeConf(1, conf("r1"));
    group.settle();
    expect(leader.raft.status()).toMatchObject({ role: "follower", leader: undefined });
    group.partition([1], [2, 3]);
    group.tick(40);
    expect([2, 3].map(N)).toContain(group.leader()!.id);
  });

  test("§4.2.2 a removed leader that leads on does not count itself", () => {
    const group = cluster(3, { stepDownOnRemoval: false, checkQuorum: false });
    const leader = group.elect(1);
    group.proposeConf(1, conf("r1"));
    group.settle();
    expect(leader.raft.status().role).toBe("leader");
    expect(group.propose(1, "a")).toEqual({
      ok: false,
      error: { kind: "dropped", reason: "removed" },
    });
  });

  test("§4.2.3 a removed server cannot disturb the cluster", () => {
    const group = cluster(3, { preVote: false });
    group.elect(1);
    group.partition([1, 2], [3]);
    group.proposeConf(1, conf("r3"));
    group.settle();
    group.heal();
    const { term } = group.node(1).raft.status();
    const removed = group.node(3);
    // It never heard of its removal, and campaigns in ever higher terms.
    for (let i = 0; i < 5; i++) {
      removed.raft.campaign();
      group.tick(1);
    }
    expect(removed.raft.status().term).toBeGreaterThan(term);
    expect(group.leader()!.id).toBe(N(1));
    expect(group.node(2).raft.status()).toMatchObject({ term, leader: 1 });
  });

  test("§4.3 while joint, both majorities must agree", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    for (const id of [4, 5, 6]) group.addNode(id);
    group.proposeConf(1, conf("r2 r3 v4 v5", "explicit"));
    group.settle();
    expect(leader.confState).toMatchObject({ voters: [1, 4, 5], votersOutgoing: [1, 2, 3] });
    group.partition([1, 4, 5], [2, 3]);
    group.propose(1, "a");
    group.settle();
    expect(appliedText(leader)).toBe("");
    group.heal();
    group.tick(3);
    expect(appliedText(leader)).toBe("a");
    group.partition([1, 2, 3], [4, 5]);
    group.propose(1, "b");
    group.settle();
    expect(appliedText(leader)).toBe("a");
    group.partition([1, 3, 5], [2, 4]);
    group.tick(3);
    expect(appliedText(leader)).toBe("ab");
    group.heal();
    group.proposeConf(1, conf(""));
    group.settle();
    expect(leader.confState).toMatchObject({ voters: [1, 4, 5], votersOutgoing: [] });
  });

  test("a node that lost its vote tells the candidate that still asks for it", () => {
    const group = cluster(2, { stepDownOnRemoval: false, checkQuorum: false });
    const old = group.elect(2);
    // Node 2 demotes itself, applies that, and has more entries than node 1.
    group.proposeConf(2, conf("l2", "explicit"));
    group.settle();
    group.proposeConf(2, conf(""));
    group.takeReady(old);
    while (group.deliverNext());
    answers(group, group.node(1)).forEach((message) => {
      group.deliver(message);
    });
    group.partition([1], [2]);
    group.settle();
    expect(old.confState.voters).toEqual([N(1)]);
    group.propose(2, "x");
    group.settle();
    const other = group.node(1);
    expect(other.confState.votersOutgoing).toEqual([1, 2].map(N));
    expect(old.log.lastIndex()).toBeGreaterThan(other.log.lastIndex());
    group.heal();
    other.raft.forgetLeader();
    group.crash(old);
    group.restart(old);
    other.raft.campaign();
    for (const node of [other, old]) {
      for (const message of answers(group, node)) group.deliver(message);
    }
    // What it was told to be committed, it applies before it campaigns again.
    const { role, commit, applied } = other.raft.status();
    expect([role, commit > applied]).toEqual(["follower", true]);
    group.settle();
    group.elect(1);
    expect(other.confState).toEqual(configOf([1], [2]));
    expect(other.raft.status().role).toBe("leader");
  });

  test("a candidate that learns of a committed change applies it before it goes on", () => {
    const group = cluster(5, { preVote: false });
    const node = group.node(1);
    node.log.append([{ kind: "conf_change", term: T(1), index: I(2), change: conf("r5") }]);
    group.restart(node);
    node.raft.campaign();
    answers(group, node);
    const refusal = { kind: "vote_response", round: "vote", to: N(1), rejected: true } as const;
    const commit = { term: T(1), index: I(2) };
    const { term } = node.raft.status();
    // Not what our log holds: no news.
    node.raft.step({ ...refusal, from: N(4), term, commit: { ...commit, term: T(9) } });
    expect(node.raft.status()).toMatchObject({ role: "candidate", commit: 1 });
    node.raft.step({ ...refusal, from: N(5), term, commit });
    expect(node.raft.status()).toMatchObject({ role: "follower", commit: 2, applied: 1 });
  });

  test("§4.3 a joint configuration is left by itself when that was asked for", () => {
    const group = cluster(1);
    const leader = group.elect(1);
    for (const id of [2, 3]) group.addNode(id);
    group.proposeConf(1, conf("v2 v3"));
    group.tick(2);
    expect(leader.confState).toEqual({ ...configOf([1, 2, 3]) });
  });

  test("§4.3 an election while joint needs both majorities", () => {
    const group = cluster(3, { preVote: false, checkQuorum: false });
    group.elect(1);
    for (const id of [4, 5]) group.addNode(id);
    group.proposeConf(1, conf("r2 r3 v4 v5", "explicit"));
    group.tick(3);
    group.crash(group.node(1));
    group.partition([4, 5], [2, 3]);
    for (const id of [4, 2]) group.elect(id);
    expect(group.leader()).toBeUndefined();
    group.heal();
    group.elect(4);
    expect(group.leader()!.id).toBe(N(4));
  });
});
