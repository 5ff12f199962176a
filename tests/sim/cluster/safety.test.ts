/**
 * Each safety property is shown to be found broken, by name, when it is.
 *
 * @module
 */
import { beforeEach, describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../../src/base/ids.ts";
import type { ConfState, PeerMessage } from "../../../src/control/raft/types.ts";
import type { LogBatch, LogStore, RecoveredLog, StoredEntry } from "../../../src/host/ports.ts";
import { Coverage } from "./coverage.ts";
import { NodeLedger } from "./ledger.ts";
import { Safety } from "./safety.ts";
import { Scheduler } from "./scheduler.ts";
import { SimProcess } from "./sim-process.ts";
import { Violation } from "./violation.ts";

const NODES = [1, 2, 3].map((id) => decodeNodeId(id)) as [NodeId, NodeId, NodeId];
const [A, B, C] = NODES;
const FIRST_HASH = 1;

function members(voters: readonly NodeId[], votersOutgoing: readonly NodeId[] = []): ConfState {
  return { voters, votersOutgoing, learners: [], learnersNext: [], autoLeave: false };
}

/** A log whose writes are durable when the test says so. */
class SlowLog implements LogStore {
  recovered: RecoveredLog = { hardState: undefined, snapshot: undefined, entries: [] };
  readonly #open: (() => void)[] = [];

  append(_: LogBatch): Promise<void> {
    return new Promise((resolve) => this.#open.push(resolve));
  }

  async sync(): Promise<void> {
    for (const resolve of this.#open.splice(0)) resolve();
    // Behind the checker's own continuation.
    await new Promise((resolve) => setImmediate(resolve));
  }

  saveSnapshot(): Promise<void> {
    return Promise.resolve();
  }

  async *readSnapshot(): AsyncGenerator<Uint8Array> {}

  compact(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

interface Member {
  readonly ledger: NodeLedger;
  readonly log: SlowLog;
  readonly store: LogStore;
}

let safety: Safety;
let nodes: Map<NodeId, Member>;

/** Three voters that have nothing but the beginning. */
beforeEach(() => {
  safety = new Safety(new Coverage());
  safety.begin(members(NODES), FIRST_HASH);
  nodes = new Map(
    NODES.map((id) => {
      const ledger = new NodeLedger(id, safety);
      safety.add(ledger);
      for (const state of [ledger.handed, ledger.durable]) {
        state.chain.set(1, FIRST_HASH);
        state.terms[1] = 1;
        state.hardState = { term: 1, vote: 0, commit: 1 };
      }
      const log = new SlowLog();
      const process = new SimProcess({ node: id, run: 1 }, new Scheduler(), () => undefined);
      return [id, { ledger, log, store: ledger.watch(log, process) }];
    }),
  );
});

function entry(index: number, term: number, text = "x"): StoredEntry {
  return { index, term, kind: 0, payload: new TextEncoder().encode(text) };
}

/** `id` writes, and has it durable unless `isSynced` is false. */
async function write(id: NodeId, batch: LogBatch, isSynced = true): Promise<void> {
  const { store, log } = nodes.get(id)!;
  void store.append(batch);
  if (isSynced) await log.sync();
}

/** `id` has voted for `leader` in `term`, durably. */
function vote(id: NodeId, leader: NodeId, term: number): Promise<void> {
  return write(id, { hardState: { term, vote: leader, commit: 1 }, entries: [] });
}

/** `leader` is elected in `term` by all, and has written its first entry at `index`. */
async function elect(leader: NodeId, term: number, index: number): Promise<void> {
  for (const id of NODES) await vote(id, leader, term);
  await write(leader, { entries: [entry(index, term)] });
}

function response(from: NodeId, index: number, term: number): PeerMessage {
  return {
    kind: "append_response",
    ...{ to: A, from, term: decodeTerm(term), index: decodeIndex(index) },
    rejected: undefined,
  };
}

/** The name of the property that `act` breaks. */
async function broken(act: () => unknown): Promise<string | undefined> {
  try {
    await act();
    return undefined;
  } catch (cause) {
    if (cause instanceof Violation) return cause.property;
    throw cause;
  }
}

describe("safety: what is right breaks nothing", () => {
  test("an election, an entry on a quorum, applied everywhere", async () => {
    await elect(A, 2, 2);
    await write(B, { entries: [entry(2, 2)] });
    safety.sent(response(B, 2, 2));
    safety.applied(A, 2, "h2");
    safety.applied(B, 2, "h2");
    safety.restored(B, 2, "h2");
    expect(safety.committedIndex).toBe(2);
    expect(safety.leaderOf(2)).toBe(A);
  });

  test("batches that are synced together were durable one after the other", async () => {
    await elect(A, 2, 2);
    await write(B, { entries: [entry(2, 2), entry(3, 2)] }, false);
    await vote(A, C, 3);
    await vote(C, C, 3);
    await write(C, { entries: [entry(2, 3)] });
    await write(B, { hardState: { term: 3, vote: 0, commit: 1 }, entries: [entry(2, 3)] });
    expect(await broken(() => safety.sent(response(B, 3, 2)))).toBeUndefined();
  });
});

describe("safety: each property is found broken", () => {
  test("election safety: two leaders of one term", async () => {
    const heartbeat = { kind: "heartbeat_request", to: C, term: decodeTerm(2) } as const;
    const rest = { commit: decodeIndex(1), context: undefined };
    safety.sent({ ...heartbeat, ...rest, from: A });
    expect(await broken(() => safety.sent({ ...heartbeat, ...rest, from: B }))).toBe(
      "election safety",
    );
  });

  test("elected by durable votes: two of three are missing", async () => {
    await vote(A, A, 2);
    expect(await broken(() => write(A, { entries: [entry(2, 2)] }))).toBe(
      "elected by durable votes",
    );
  });

  test("one vote a term", async () => {
    await vote(C, A, 2);
    const { ledger } = nodes.get(C)!;
    expect(await broken(() => safety.voteDurable(ledger, { term: 2, vote: B, commit: 1 }))).toBe(
      "one vote a term",
    );
  });

  test("log matching: the same entry after another one", async () => {
    await elect(A, 2, 2);
    await elect(B, 3, 2);
    await write(B, { entries: [entry(3, 3)] });
    // A keeps its own entry 2 and takes entry 3 of B.
    const { store } = nodes.get(A)!;
    const batch = { hardState: { term: 3, vote: B, commit: 1 }, entries: [entry(3, 3)] };
    expect(await broken(() => store.append(batch))).toBe("log matching");
  });

  test("log order: a gap", async () => {
    const { store } = nodes.get(A)!;
    const batch = { entries: [entry(4, 1)] };
    expect(await broken(() => store.append(batch))).toBe("log order");
  });

  test("committed entries are immutable", async () => {
    await elect(A, 2, 2);
    await write(B, { entries: [entry(2, 2)] });
    safety.applied(A, 2, "h2");
    const { store } = nodes.get(B)!;
    const batch = { hardState: { term: 3, vote: 0, commit: 1 }, entries: [entry(2, 3)] };
    expect(await broken(() => store.append(batch))).toBe("committed entries are immutable");
  });

  test("leader append-only", async () => {
    await elect(A, 2, 2);
    const { store } = nodes.get(A)!;
    const batch = { entries: [entry(2, 2, "other")] };
    // The entry has the same name as the one before, and another content.
    expect(["log matching", "leader append-only"]).toContain(
      (await broken(() => store.append(batch))) ?? "",
    );
    const older = { entries: [entry(2, 1)] };
    expect(await broken(() => store.append(older))).toBe("leader append-only");
  });

  test("leader completeness: a leader without what was committed", async () => {
    await elect(A, 2, 2);
    await write(B, { entries: [entry(2, 2)] });
    safety.applied(A, 2, "h2");
    for (const id of NODES) await vote(id, C, 3);
    const { store } = nodes.get(C)!;
    const batch = { entries: [entry(2, 3)] };
    expect(await broken(() => store.append(batch))).toBe("leader completeness");
  });

  test("durable before acknowledged: entries, a term, a vote", async () => {
    await elect(A, 2, 2);
    await write(B, { entries: [entry(2, 2)] }, false);
    expect(await broken(() => safety.sent(response(B, 2, 2)))).toBe("durable before acknowledged");
    expect(await broken(() => safety.sent(response(C, 1, 5)))).toBe("durable before acknowledged");
    const vote: PeerMessage = {
      kind: "vote_response",
      ...{ to: B, from: C, term: decodeTerm(9), round: "vote", rejected: false },
    };
    expect(await broken(() => safety.sent(vote))).toBe("durable before acknowledged");
  });

  test("committed on a durable quorum", async () => {
    await elect(A, 2, 2);
    await write(B, { entries: [entry(2, 2)] }, false);
    expect(await broken(() => safety.applied(A, 2, "h2"))).toBe("committed on a durable quorum");
  });

  test("commits by its own term (Figure 3.7)", async () => {
    await elect(A, 2, 2);
    await write(B, { entries: [entry(2, 2)] });
    for (const id of NODES) await vote(id, A, 4);
    await write(A, { entries: [entry(3, 4)] });
    expect(await broken(() => safety.applied(A, 2, "h2"))).toBe("commits by its own term");
  });

  test("applied entries are in the log, in order, and the same everywhere", async () => {
    expect(await broken(() => safety.applied(A, 2, "h"))).toBe("applied entries are in the log");
    await elect(A, 2, 2);
    await write(A, { entries: [entry(3, 2)] });
    await write(B, { entries: [entry(2, 2), entry(3, 2)] });
    expect(await broken(() => safety.applied(A, 3, "h"))).toBe("entries are applied in order");
    safety.applied(A, 2, "h2");
    expect(await broken(() => safety.applied(B, 2, "other"))).toBe("replicas agree");
  });

  test("state machine safety: another entry at the same index", async () => {
    await elect(C, 2, 2);
    await elect(A, 3, 2);
    await write(B, { entries: [entry(2, 3)] });
    safety.applied(A, 2, "h2");
    expect(await broken(() => safety.applied(C, 2, "h2"))).toBe("state machine safety");
  });

  test("a snapshot equals the replayed log", async () => {
    await elect(A, 2, 2);
    await write(B, { entries: [entry(2, 2)] });
    safety.applied(A, 2, "h2");
    const property = "a snapshot equals the replayed log";
    expect(await broken(() => safety.restored(C, 2, "other"))).toBe(property);
    expect(await broken(() => safety.restored(C, 9, "h9"))).toBe(property);
  });

  test("one membership at an index; quorums of consecutive memberships meet", async () => {
    safety.membership(A, 1, members(NODES));
    const property = "one membership at an index";
    expect(await broken(() => safety.membership(B, 1, members([A])))).toBe(property);
    const others = [7, 8, 9].map((id) => decodeNodeId(id));
    expect(await broken(() => safety.membership(B, 5, members(others)))).toBe(
      "quorums of consecutive memberships meet",
    );
    safety.membership(B, 5, members(others, NODES));
    expect(safety.config.voters).toEqual(others);
  });

  test("durability: what was acknowledged is missing after a restart", async () => {
    await elect(A, 2, 2);
    const { ledger } = nodes.get(A)!;
    const hardState = { term: 2, vote: A, commit: 1 };
    const snapshot = { index: 1, term: 1, header: new Uint8Array(0) };
    const found = { hardState, snapshot, entries: [entry(2, 2)] };
    expect(await broken(() => ledger.recovered(found))).toBeUndefined();
    const lost = { hardState, snapshot, entries: [] };
    expect(await broken(() => ledger.recovered(lost))).toBe("durability");
    const forgotten = { ...found, hardState: { ...hardState, vote: 0 } };
    expect(await broken(() => ledger.recovered(forgotten))).toBe("durability");
    const invented = { ...found, entries: [entry(2, 2), entry(3, 2)] };
    expect(await broken(() => ledger.recovered(invented))).toBe("durability");
  });

  test("durability: what was not acknowledged may be there or not", async () => {
    await elect(A, 2, 2);
    const { ledger } = nodes.get(A)!;
    await write(A, { entries: [entry(3, 2)] }, false);
    const hardState = { term: 2, vote: A, commit: 1 };
    const snapshot = { index: 1, term: 1, header: new Uint8Array(0) };
    const found = { hardState, snapshot, entries: [entry(2, 2), entry(3, 2)] };
    expect(await broken(() => ledger.recovered(found))).toBeUndefined();
  });
});
