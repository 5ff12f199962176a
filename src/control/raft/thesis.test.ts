/**
 * The rules of Ongaro's thesis, one test or more each, named by section.
 *
 * Source: "Consensus: Bridging Theory and Practice", Stanford, 2014. Chapter 4 is in
 * `membership.test.ts`, §10.2.1 in `replicate.test.ts`.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import {
  answers,
  appendRequest,
  appliedText,
  cluster,
  clusterWithLog,
  conf,
  configOf,
  createRandom,
  I,
  isGranted,
  logTerms,
  N,
  normalEntry,
  T,
  TestCluster,
  voteRequest,
} from "./test-cluster.ts";

describe("§3.3 terms", () => {
  test("a leader that sees a higher term steps down and adopts it", () => {
    const group = cluster(3, { preVote: false });
    const leader = group.elect(1);
    leader.raft.step(appendRequest(9, [1, 1], []));
    expect(leader.raft.status()).toMatchObject({ role: "follower", term: 9, leader: 2 });
  });

  test("a candidate that sees a higher term steps down", () => {
    const group = cluster(3, { preVote: false });
    const node = group.node(1);
    node.raft.campaign();
    expect(node.raft.status().role).toBe("candidate");
    node.raft.step(voteRequest({ term: T(7) }));
    expect(node.raft.status()).toMatchObject({ role: "follower", term: 7 });
  });

  test("a request of a lower term is refused, and changes nothing", () => {
    const group = clusterWithLog([1], 6);
    const node = group.node(1);
    node.raft.step(appendRequest(5, [1, 2], [normalEntry(5, 3)]));
    expect(node.raft.status()).toMatchObject({ term: 6, leader: undefined });
    expect(node.raft.hasReady()).toBe(true);
    // A bare answer of the higher term, so that the old leader steps down (§6.2).
    expect(answers(group, node)).toMatchObject([
      { kind: "append_response", term: 6, index: 0, rejected: undefined },
    ]);
    expect(logTerms(node)).toEqual([1]);
  });
});

describe("§3.4 leader election", () => {
  test("a follower that hears nothing for a timeout starts an election in the next term", () => {
    const group = cluster(3, { preVote: false });
    const node = group.node(1);
    for (let i = 0; i < 19; i++) node.raft.tick();
    expect(node.raft.status()).toMatchObject({ role: "candidate", term: 1, vote: 1 });
    group.takeReady(node);
    expect(group.messages).toMatchObject([
      { kind: "vote_request", to: 2, term: 1 },
      { kind: "vote_request", to: 3, term: 1 },
    ]);
  });

  test("timeouts are spread over [T, 2T - 1] ticks", () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < 300; seed++) {
      const random = createRandom(seed);
      const group = new TestCluster(configOf([1, 2, 3]), { preVote: false }, random);
      const node = group.node(1);
      let ticks = 0;
      for (; node.raft.status().role === "follower"; ticks++) node.raft.tick();
      seen.add(ticks);
    }
    expect([Math.min(...seen), Math.max(...seen)]).toEqual([10, 19]);
    expect(seen.size).toBe(10);
  });

  test("heartbeats keep followers from starting elections", () => {
    const group = cluster(3);
    group.elect(1);
    const { term } = group.node(1).raft.status();
    group.tick(100);
    for (const node of group.nodes.values()) {
      expect(node.raft.status()).toMatchObject({ term, leader: 1 });
    }
  });

  const RESULTS = [
    { size: 1, granted: [], refused: [], role: "leader", why: "its own vote is a majority" },
    { size: 3, granted: [2], refused: [], role: "leader", why: "two of three" },
    { size: 3, granted: [2], refused: [3], role: "leader", why: "a refusal changes nothing" },
    { size: 3, granted: [], refused: [2], role: "candidate", why: "one vote is still out" },
    { size: 3, granted: [], refused: [2, 3], role: "follower", why: "cannot win any more" },
    { size: 4, granted: [2], refused: [], role: "candidate", why: "half is no majority" },
    { size: 5, granted: [2, 3], refused: [], role: "leader", why: "three of five" },
    { size: 5, granted: [2], refused: [3, 4], role: "candidate", why: "undecided" },
  ] as const;
  for (const { size, granted, refused, role, why } of RESULTS) {
    test(`an election among ${size} with ${granted.length + 1} votes: ${role}, ${why}`, () => {
      const group = cluster(size, { preVote: false });
      const node = group.node(1);
      node.raft.campaign();
      answers(group, node);
      for (const id of [...granted, ...refused]) {
        node.raft.step({
          kind: "vote_response",
          round: "vote",
          from: N(id),
          to: N(1),
          term: T(1),
          rejected: !granted.some((each) => each === id),
        });
      }
      expect(node.raft.status().role).toBe(role);
    });
  }

  test("a node votes once per term, first come, first served", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.step(voteRequest({ from: N(2) }));
    expect(isGranted(answers(group, node))).toBe(true);
    node.raft.step(voteRequest({ from: N(3) }));
    expect(isGranted(answers(group, node))).toBe(false);
    node.raft.step(voteRequest({ from: N(2) }));
    expect(isGranted(answers(group, node))).toBe(true);
  });

  test("the answers of one voter count once", () => {
    const group = cluster(5, { preVote: false });
    const node = group.node(1);
    node.raft.campaign();
    answers(group, node);
    for (let i = 0; i < 4; i++) {
      const { id } = group.node(2);
      const answer = { kind: "vote_response", round: "vote", to: N(1), term: T(1) } as const;
      node.raft.step({ ...answer, from: id, rejected: false });
    }
    expect(node.raft.status().role).toBe("candidate");
  });

  test("the first answer of a voter stands", () => {
    const group = cluster(3, { preVote: false });
    const node = group.node(1);
    node.raft.campaign();
    answers(group, node);
    const answer = { kind: "vote_response", round: "vote", to: N(1), from: N(2) } as const;
    node.raft.step({ ...answer, term: T(1), rejected: true });
    node.raft.step({ ...answer, term: T(1), rejected: false });
    expect(node.raft.status().role).toBe("candidate");
  });

  test("a candidate gives way to a leader of its own term", () => {
    const group = cluster(3, { preVote: false });
    const node = group.node(1);
    node.raft.campaign();
    node.raft.step(appendRequest(1, [1, 1], []));
    expect(node.raft.status()).toMatchObject({ role: "follower", term: 1, leader: 2 });
  });

  test("two leaders in one term are never taken for normal", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.step(appendRequest(4, [1, 1], []));
    const other = { ...appendRequest(4, [1, 1], []), from: N(3) };
    expect(() => node.raft.step(other)).toThrow("two leaders in one term");
  });
});

describe("§3.5 log replication", () => {
  test("an entry is applied everywhere once a majority holds it", () => {
    const group = cluster(3);
    group.elect(1);
    group.partition([1, 2], [3]);
    group.propose(1, "a");
    group.settle();
    expect([1, 2, 3].map((id) => appliedText(group.node(id)))).toEqual(["a", "a", ""]);
    group.heal();
    group.tick(3);
    expect(appliedText(group.node(3))).toBe("a");
  });

  test("an entry without a majority is never applied", () => {
    const group = cluster(5);
    group.elect(1);
    group.partition([1, 2], [3, 4, 5]);
    group.propose(1, "a");
    group.tick(5);
    expect([1, 2].map((id) => appliedText(group.node(id)))).toEqual(["", ""]);
  });

  const CONSISTENCY = [
    { own: [1], prev: [1, 2], ok: true, hint: [0, 0], why: "holds the entry" },
    { own: [1], prev: [1, 3], ok: false, hint: [1, 2], why: "is too short" },
    { own: [1, 2], prev: [3, 3], ok: false, hint: [2, 3], why: "has another term there" },
    { own: [1, 4, 4, 4], prev: [3, 5], ok: false, hint: [1, 2], why: "a whole term is skipped" },
    { own: [1, 4, 4, 4], prev: [4, 9], ok: false, hint: [4, 5], why: "ends early, same term" },
  ] as const;
  for (const { own, prev, ok, hint, why } of CONSISTENCY) {
    test(`a follower with terms [${own}] asked to follow ${prev.join("/")}: ${why}`, () => {
      const group = clusterWithLog(own, 5);
      const node = group.node(1);
      node.raft.step(appendRequest(5, prev, []));
      const rejected = ok ? undefined : { hint: { term: hint[0], index: hint[1] } };
      const [answer] = answers(group, node);
      expect(answer).toMatchObject({ kind: "append_response", index: prev[1] });
      expect(answer).toHaveProperty("rejected", rejected);
    });
  }

  const CONFLICTS = [
    { own: [1, 1], prev: [1, 3], entries: [2], log: [1, 1, 2], why: "added at the end" },
    { own: [1, 1, 1], prev: [1, 2], entries: [2], log: [1, 2], why: "a conflict drops the rest" },
    { own: [1, 1, 1], prev: [1, 2], entries: [1], log: [1, 1, 1], why: "a late repetition" },
    { own: [1, 1, 1], prev: [1, 1], entries: [], log: [1, 1, 1], why: "a heartbeat of old" },
    { own: [1, 2, 2], prev: [1, 2], entries: [3, 3, 3], log: [1, 3, 3, 3], why: "replaced" },
  ] as const;
  for (const { own, prev, entries, log, why } of CONFLICTS) {
    test(`terms [${own}] after [${entries}] behind index ${prev[1]}: ${why}`, () => {
      const group = clusterWithLog(own, 5);
      const node = group.node(1);
      const sent = entries.map((term, i) => normalEntry(term, prev[1] + 1 + i));
      node.raft.step(appendRequest(5, prev, sent));
      answers(group, node);
      expect(logTerms(node)).toEqual([...log]);
    });
  }

  test("the commit index goes no further than what the message vouches for", () => {
    const group = clusterWithLog([1, 2, 2], 5);
    const node = group.node(1);
    // Entries 3 and 4 may be another leader's: only up to 2 is known to match.
    node.raft.step(appendRequest(5, [1, 2], [], 4));
    expect(node.raft.status().commit).toBe(I(2));
  });

  test("a committed entry is never replaced", () => {
    const group = clusterWithLog([1, 2], 5);
    const node = group.node(1);
    node.raft.step(appendRequest(5, [2, 3], [], 3));
    // Behind the commit index nothing is looked at.
    node.raft.step(appendRequest(5, [1, 2], [normalEntry(4, 3)], 3));
    expect(answers(group, node).at(-1)).toMatchObject({ index: 3, rejected: undefined });
    expect(logTerms(node)).toEqual([1, 2]);
  });

  test("a leader brings a divergent follower to its own log (Figure 3.6)", () => {
    const group = cluster(3);
    group.elect(1);
    group.partition([1], [2, 3]);
    for (const text of "xyz") group.propose(1, text);
    group.settle();
    group.node(2).raft.forgetLeader();
    group.node(3).raft.forgetLeader();
    group.elect(2);
    group.propose(2, "a");
    group.settle();
    group.heal();
    group.tick(5);
    expect(logTerms(group.node(1))).toEqual(logTerms(group.node(2)));
    expect([1, 2, 3].map((id) => appliedText(group.node(id)))).toEqual(["a", "a", "a"]);
  });
});

describe("§3.6 safety", () => {
  const RESTRICTION = [
    { own: [1, 3], last: [2, 9], granted: false, why: "an older term loses, however long" },
    { own: [1, 3], last: [4, 1], granted: true, why: "a newer term wins, however short" },
    { own: [1, 3, 3], last: [3, 3], granted: false, why: "the same term, but shorter" },
    { own: [1, 3, 3], last: [3, 4], granted: true, why: "the same log" },
    { own: [1, 3, 3], last: [3, 5], granted: true, why: "the same term, and longer" },
  ] as const;
  for (const { own, last, granted, why } of RESTRICTION) {
    test(`§3.6.1 terms [${own}] asked by a log that ends ${last.join("/")}: ${why}`, () => {
      const group = clusterWithLog(own, 4);
      const node = group.node(1);
      node.raft.step(voteRequest({ last: { term: T(last[0]), index: I(last[1]) } }));
      expect(isGranted(answers(group, node))).toBe(granted);
    });
  }

  test("§3.6.2 an entry of an earlier term does not commit by counting (Figure 3.7)", () => {
    const group = clusterWithLog([1, 2], 2);
    const leader = group.node(1);
    group.passes = () => false;
    leader.raft.campaign();
    answers(group, leader);
    const vote = { kind: "vote_response", round: "vote", to: N(1), term: T(3) } as const;
    leader.raft.step({ ...vote, from: N(2), rejected: false });
    answers(group, leader);
    const status = leader.raft.status();
    expect(status).toMatchObject({ role: "leader", term: 3 });
    const ack = { kind: "append_response", to: N(1), term: T(3), rejected: undefined } as const;
    // A majority holds entry 3, which is of term 2.
    leader.raft.step({ ...ack, from: N(2), index: I(3) });
    expect(leader.raft.status().commit).toBe(I(1));
    // Entry 4 opened term 3: with it, everything before it commits.
    leader.raft.step({ ...ack, from: N(2), index: I(4) });
    expect(leader.raft.status().commit).toBe(I(4));
  });

  test("§3.6.3 a node without the committed entries cannot win", () => {
    const group = cluster(3);
    group.elect(1);
    group.partition([1, 2], [3]);
    group.propose(1, "a");
    group.settle();
    group.heal();
    group.crash(group.node(1));
    group.node(2).raft.forgetLeader();
    group.elect(3);
    expect(group.node(3).raft.status().role).not.toBe("leader");
    group.elect(2);
    expect(group.node(2).raft.status().role).toBe("leader");
    expect(appliedText(group.node(3))).toBe("a");
  });
});

describe("§3.8 persisted state", () => {
  test("a vote leaves only after it is on disk, and survives a crash", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.step(voteRequest({ from: N(2) }));
    group.takeReady(node);
    expect(group.messages).toEqual([]);
    expect(group.writeDisk(node)).toBe(true);
    expect(isGranted(group.messages)).toBe(true);
    group.crash(node);
    group.restart(node);
    expect(node.raft.status()).toMatchObject({ term: 5, vote: 2 });
    node.raft.step(voteRequest({ from: N(3) }));
    expect(isGranted(answers(group, node).slice(1))).toBe(false);
  });

  test("a vote that did not reach the disk was never given", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.step(voteRequest({ from: N(2) }));
    group.takeReady(node);
    group.crash(node);
    group.restart(node);
    expect(group.messages).toEqual([]);
    expect(node.raft.status()).toMatchObject({ term: 0, vote: undefined });
  });

  test("a candidate counts its own vote only when that is on disk", () => {
    const group = cluster(1, { preVote: false });
    const node = group.node(1);
    node.raft.campaign();
    group.takeReady(node);
    expect(node.raft.status().role).toBe("candidate");
    group.writeDisk(node);
    expect(node.raft.status().role).toBe("leader");
  });

  test("an entry is acknowledged only when it is on disk", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.step(appendRequest(5, [1, 1], [normalEntry(5, 2)]));
    group.takeReady(node);
    expect(group.messages).toEqual([]);
    group.writeDisk(node);
    expect(group.messages).toMatchObject([{ kind: "append_response", index: 2 }]);
  });

  test("a leader counts its own entry only when that is on its disk", () => {
    const group = cluster(1);
    const leader = group.elect(1);
    const before = leader.raft.status().commit;
    group.propose(1, "a");
    group.takeReady(leader);
    expect(leader.raft.status().commit).toBe(before);
    group.writeDisk(leader);
    expect(leader.raft.status().commit).toBe(I(before + 1));
  });

  test("followers may commit before the leader's own disk is done", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    const before = leader.raft.status().commit;
    group.propose(1, "a");
    group.takeReady(leader);
    for (const id of [2, 3]) {
      const node = group.node(id);
      for (const message of group.messages.filter((each) => each.to === node.id)) {
        group.deliver(message);
      }
      group.takeReady(node);
      while (group.writeDisk(node));
    }
    for (const message of group.messages.filter((each) => each.to === leader.id)) {
      group.deliver(message);
    }
    expect(leader.raft.status().commit).toBe(I(before + 1));
    // But what is not on its own disk it does not apply: after a crash it could not tell again.
    group.takeReady(leader);
    expect(leader.applyWork).toEqual([]);
  });

  test("a word on writes of an earlier term is void: they may have been replaced back", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.step(appendRequest(2, [1, 1], [normalEntry(2, 2)]));
    group.takeReady(node);
    node.raft.step(appendRequest(3, [1, 1], [normalEntry(3, 2)]));
    group.takeReady(node);
    const restored = { ...appendRequest(4, [1, 1], [normalEntry(2, 2)], 2), from: N(3) };
    node.raft.step(restored);
    group.takeReady(node);
    // The first write is done. The second one, still to come, would put term 3 on the disk.
    group.writeDisk(node);
    group.takeReady(node);
    expect(node.applyWork).toEqual([]);
    group.writeDisk(node);
    expect(logTerms(node)).toEqual([3]);
    group.writeDisk(node);
    expect(logTerms(node)).toEqual([2]);
    group.takeReady(node);
    expect(node.applyWork).toHaveLength(1);
  });
});

describe("§3.10 leadership transfer", () => {
  test("the target leads without a rehearsal although the old leader lives", () => {
    const group = cluster(3);
    group.elect(1);
    group.node(1).raft.transferLeadership(N(2));
    group.settle();
    expect(group.leader()!.id).toBe(N(2));
    expect(group.node(1).raft.status()).toMatchObject({ role: "follower", leader: 2 });
  });

  test("any node may ask for it", () => {
    const group = cluster(3);
    group.elect(1);
    group.node(3).raft.transferLeadership(N(2));
    group.settle();
    expect(group.leader()!.id).toBe(N(2));
  });

  test("the target catches up first; proposals are refused meanwhile", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.partition([1, 3], [2]);
    group.propose(1, "a");
    group.settle();
    leader.raft.transferLeadership(N(2));
    expect(group.propose(1, "b")).toEqual({
      ok: false,
      error: { kind: "dropped", reason: "transferring" },
    });
    group.heal();
    group.tick(2);
    expect(group.leader()!.id).toBe(N(2));
    expect(appliedText(group.node(2))).toBe("a");
  });

  test("it is given up after one election timeout", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.partition([1, 3], [2]);
    leader.raft.transferLeadership(N(2));
    group.tick(10);
    expect(leader.raft.status()).toMatchObject({ role: "leader", leadTransferee: undefined });
    expect(group.propose(1, "a").ok).toBe(true);
  });

  test("the target has a whole election timeout, whenever it is asked", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.tick(8);
    group.partition([1, 3], [2]);
    leader.raft.transferLeadership(N(2));
    group.tick(9);
    expect(leader.raft.status().leadTransferee).toBe(N(2));
    group.tick(1);
    expect(leader.raft.status().leadTransferee).toBeUndefined();
  });

  test("not to a learner, nor to a stranger, nor to itself", () => {
    const group = new TestCluster(configOf([1, 2, 3], [4]));
    const leader = group.elect(1);
    for (const id of [4, 9, 1]) {
      leader.raft.transferLeadership(N(id));
      expect(leader.raft.status().leadTransferee).toBeUndefined();
    }
  });
});

describe("§5 log compaction", () => {
  test("a follower that is too far behind gets a snapshot, then the rest of the log", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.partition([1, 2], [3]);
    for (const text of "abc") group.propose(1, text);
    group.settle();
    group.compact(leader);
    group.propose(1, "d");
    group.settle();
    group.heal();
    group.tick(3);
    const follower = group.node(3);
    expect(appliedText(follower)).toBe("abcd");
    expect(follower.log.firstIndex()).toBeGreaterThan(2);
  });

  test("a snapshot that holds nothing new is passed over", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.propose(1, "a");
    group.settle();
    group.compact(leader);
    const follower = group.node(2);
    const { commit } = follower.raft.status();
    const snapshot = leader.log.snapshot()!;
    const { term } = leader.raft.status();
    const request = { kind: "snapshot_request", from: N(1), to: N(2), term, snapshot } as const;
    follower.raft.step(request);
    expect(answers(group, follower)).toMatchObject([{ kind: "append_response", index: commit }]);
    expect(follower.raft.status().commit).toBe(commit);
  });

  test("a snapshot is acknowledged only when it is on disk", () => {
    const group = cluster(3);
    const node = group.node(1);
    const snapshot = {
      index: I(7),
      term: T(3),
      confState: configOf([1, 2, 3]),
      data: new Uint8Array(0),
    };
    const request = { kind: "snapshot_request", from: N(2), to: N(1), term: T(3) } as const;
    node.raft.step({ ...request, snapshot });
    group.takeReady(node);
    expect(group.messages).toEqual([]);
    expect(node.appendWork).toMatchObject([{ snapshot: { index: 7 } }]);
    expect(node.appendWork[0]!.responses.map((each) => each.kind)).toEqual([
      "append_response",
      "storage_append_response",
    ]);
    // While it waits for its state, it must not lead.
    node.raft.campaign();
    expect(node.raft.status().role).toBe("follower");
    // A change of membership that is applied meanwhile is older, and part of that state.
    expect(node.raft.applyConfChange(conf("v9"))).toEqual(snapshot.confState);
  });
});

describe("§6 client interaction", () => {
  test("§6.2 a follower passes a proposal on to the leader", () => {
    const group = cluster(3);
    group.elect(1);
    expect(group.propose(3, "a").ok).toBe(true);
    group.settle();
    expect(appliedText(group.node(2))).toBe("a");
  });

  test("§6.2 without a leader, or when it must not pass on, it refuses", () => {
    const group = cluster(3, { forwardProposals: false });
    expect(group.propose(3, "a")).toEqual({ ok: false, error: { kind: "no_leader" } });
    group.elect(1);
    expect(group.propose(3, "a")).toEqual({
      ok: false,
      error: { kind: "dropped", reason: "not_forwarded" },
    });
  });

  test("§6.2 a leader that does not reach a quorum steps down", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.partition([1], [2, 3]);
    group.tick(20);
    expect(leader.raft.status().role).not.toBe("leader");
    expect([2, 3].map(N)).toContain(group.leader()!.id);
  });

  test("§6.2 nor does it stay because it is told to hand over, again and again", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.partition([1], [2, 3]);
    for (let i = 0; i < 20; i++) {
      leader.raft.transferLeadership(N(1)); // Ends the attempt before.
      leader.raft.transferLeadership(N(2 + (i % 2)));
      group.tick(3);
    }
    expect(leader.raft.status().role).not.toBe("leader");
  });

  test("a leader that resigns is replaced after a timeout, as if it had died", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    const { term } = leader.raft.status();
    leader.raft.resign();
    expect(leader.raft.status()).toMatchObject({ role: "follower", leader: undefined, term });
    group.node(2).raft.resign(); // Not a leader: nothing happens.
    group.tick(25);
    expect(group.leader()!.raft.status().term).toBeGreaterThan(term);
  });

  test("§6.4 a read waits for the first commit of the leader's term", () => {
    const group = clusterWithLog([1, 2], 2);
    const node = group.node(1);
    group.passes = () => false;
    node.raft.campaign();
    answers(group, node);
    const vote = { kind: "vote_response", to: N(1), from: N(2), rejected: false } as const;
    node.raft.step({ ...vote, round: "vote", term: T(3) });
    expect(node.raft.status().role).toBe("leader");
    node.raft.readIndex(7);
    const sent = answers(group, node);
    expect(sent.filter((message) => message.kind === "heartbeat_request")).toEqual([]);
    group.heal();
    group.tick(2);
    expect(node.reads).toEqual([{ index: node.raft.status().commit, context: 7 }]);
  });

  test("§6.4 a read is confirmed by a quorum that answers a later heartbeat", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    leader.raft.readIndex(1);
    group.takeReady(leader);
    expect(leader.reads).toEqual([]);
    group.settle();
    expect(leader.reads).toEqual([{ index: leader.raft.status().commit, context: 1 }]);
  });

  test("§6.4 a deposed leader does not confirm reads", () => {
    const group = cluster(3, { checkQuorum: false });
    const old = group.elect(1);
    group.partition([1], [2, 3]);
    group.elect(2);
    group.propose(2, "a");
    group.settle();
    old.raft.readIndex(1);
    group.tick(5);
    expect(old.raft.status().role).toBe("leader");
    expect(old.reads).toEqual([]);
  });

  test("§6.4 a follower gets its read index from the leader", () => {
    const group = cluster(3);
    const leader = group.elect(1);
    group.propose(1, "a");
    group.settle();
    group.node(3).raft.readIndex(42);
    group.settle();
    expect(group.node(3).reads).toEqual([{ index: leader.raft.status().commit, context: 42 }]);
    expect(leader.reads).toEqual([]);
  });

  test("§6.4 a cluster of one answers at once, but not before it has committed in its term", () => {
    const group = cluster(1);
    const node = group.node(1);
    node.raft.campaign();
    group.takeReady(node);
    group.writeDisk(node);
    group.takeReady(node);
    group.writeDisk(node);
    expect(node.raft.status().role).toBe("leader");
    node.raft.readIndex(1);
    expect(node.reads).toEqual([]);
    group.settle();
    expect(node.reads.map((read) => read.context)).toEqual([1]);
    node.raft.readIndex(2);
    group.takeReady(node);
    expect(node.reads.map((read) => read.context)).toEqual([1, 2]);
  });
});

describe("§9.6 pre-vote", () => {
  test("a rehearsal changes nobody's term or vote", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.step(voteRequest({ round: "pre_vote" }));
    expect(isGranted(answers(group, node))).toBe(true);
    expect(node.raft.status()).toMatchObject({ term: 0, vote: undefined });
    group.node(2).raft.campaign();
    expect(group.node(2).raft.status()).toMatchObject({ role: "pre_candidate", term: 0 });
  });

  test("a node that was cut off does not depose the leader when it comes back", () => {
    const group = cluster(3);
    group.elect(1);
    const { term } = group.node(1).raft.status();
    group.partition([1, 2], [3]);
    group.tick(60);
    expect(group.node(3).raft.status()).toMatchObject({ role: "pre_candidate", term });
    group.heal();
    group.tick(30);
    for (const node of group.nodes.values()) {
      expect(node.raft.status()).toMatchObject({ term, leader: 1 });
    }
  });

  test("a rehearsal for a lower term is refused with our term, not passed over", () => {
    const group = clusterWithLog([1], 6);
    const node = group.node(1);
    node.raft.step(voteRequest({ round: "pre_vote", term: T(3) }));
    expect(answers(group, node)).toMatchObject([
      { kind: "vote_response", round: "pre_vote", term: 6, rejected: true },
    ]);
  });

  test("a refusal of a higher term is adopted; a grant's future term is not", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.campaign();
    answers(group, node);
    const answer = { kind: "vote_response", round: "pre_vote", to: N(1), from: N(2) } as const;
    node.raft.step({ ...answer, term: T(1), rejected: false });
    expect(node.raft.status()).toMatchObject({ role: "candidate", term: 1 });
    const other = group.node(3);
    other.raft.campaign();
    answers(group, other);
    other.raft.step({ ...answer, to: N(3), term: T(8), rejected: true });
    expect(other.raft.status()).toMatchObject({ role: "follower", term: 8 });
  });
});
