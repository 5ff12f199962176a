/**
 * Writes between a node and its leader, with the driver in the place of a test.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { decodeNodeId, decodeTerm, type NodeId } from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import { systemTxn } from "../../kv/txn.ts";
import type { ProposeError } from "../../raft/raft.ts";
import type { ProposedEntry } from "../../raft/types.ts";
import type { PlainRecord } from "../codec/codec.ts";
import {
  decodeCommand,
  encodeCommand,
  packPayloads,
  unpackPayloads,
} from "../codec/entry-codec.ts";
import { COMMAND_SIZE_MAX_BYTES, OUTCOME_ASK_MS } from "../limits.ts";
import type { CallFailure } from "../transport/peer-port.ts";
import { Proposals } from "./proposals.ts";

const SELF = decodeNodeId(1);
const OTHER = decodeNodeId(2);
const CLIENT = decodeNodeId(77);
/** A write of so many bytes. */
function putOf(sizeBytes: number) {
  return systemTxn({ success: [{ kind: "put", key: "/a", value: new Uint8Array(sizeBytes) }] });
}

const COMMAND = putOf(3);
const OPTIONS = { timeoutMs: 5_000, requestId: undefined };

interface Call {
  readonly target: NodeId;
  readonly body: PlainRecord;
  answer(result: Result<PlainRecord, CallFailure>): void;
}

class Bench {
  leader: NodeId | undefined = OTHER;
  term = decodeTerm(3);
  nowMs = 0;
  proposal: Result<void, ProposeError> = ok(undefined);
  readonly calls: Call[] = [];
  readonly proposed: ProposedEntry[][] = [];
  readonly hurried: NodeId[] = [];
  #tasks: (() => void)[] = [];
  readonly proposals = new Proposals({
    client: CLIENT,
    nodeId: SELF,
    leadership: () => ({ term: this.term, leader: this.leader }),
    others: () => [OTHER],
    propose: (entries) => {
      if (this.proposal.ok) this.proposed.push([...entries]);
      return this.proposal;
    },
    forward: (target, body) => new Promise((answer) => this.calls.push({ target, body, answer })),
    hurry: (node) => this.hurried.push(node),
    soon: (task) => this.#tasks.push(task),
    nowMs: () => this.nowMs,
    wallMs: () => 1_000 + this.nowMs,
    explain: () => ({ kind: "no_leader", detail: "Cannot write" }),
  });

  /** Ends the turn. */
  async turn(): Promise<void> {
    const tasks = this.#tasks;
    this.#tasks = [];
    for (const task of tasks) task();
    await Promise.resolve();
    await Promise.resolve();
  }

  execute() {
    let settled: unknown;
    void this.proposals.execute(COMMAND, OPTIONS).then((result) => {
      settled = result;
    });
    return () => settled;
  }

  move(leader: NodeId | undefined, term: number): void {
    this.leader = leader;
    this.term = decodeTerm(term);
    this.proposals.leadershipChanged();
  }
}

function sequencesIn(body: PlainRecord): unknown[] {
  const payloads = unpackPayloads(body["writes"] as Uint8Array) ?? [];
  return payloads.map((payload) => decodeCommand(payload)?.request?.sequence);
}

const request = (sequence: number) => ({ client: CLIENT, sequence });

describe("writes on a follower", () => {
  test("of one turn are passed on in one call, and done when applied here", async () => {
    const bench = new Bench();
    const writes = Array.from({ length: 3 }, () => bench.execute());
    await bench.turn();
    expect(bench.calls.length).toBe(1);
    expect(sequencesIn(bench.calls[0]!.body)).toEqual([1, 2, 3]);
    bench.calls[0]!.answer(ok({}));
    await bench.turn();
    expect(writes.map((settled) => settled())).toEqual([undefined, undefined, undefined]);
    bench.proposals.applied(request(2), "two");
    await bench.turn();
    expect(writes.map((settled) => settled())).toEqual([undefined, ok("two"), undefined]);
  });

  test("that are too large for one message together go in several", async () => {
    const bench = new Bench();
    for (let i = 0; i < 3; i++) void bench.proposals.execute(putOf(600_000), OPTIONS);
    await bench.turn();
    expect(bench.calls.map(({ body }) => sequencesIn(body))).toEqual([[1], [2], [3]]);
  });

  test("are tried again under the same ids when the leader did not take them", async () => {
    for (const failure of [
      { kind: "not_sent" },
      { kind: "unreachable" },
      { kind: "timeout" },
      { kind: "refused", reason: "not_leader", detail: "" },
    ] as const) {
      const bench = new Bench();
      const settled = bench.execute();
      await bench.turn();
      bench.calls[0]!.answer(err(failure));
      await bench.turn();
      expect(bench.calls.length).toBe(1);
      bench.proposals.tick();
      await bench.turn();
      expect(sequencesIn(bench.calls[1]!.body)).toEqual([1]);
      expect(settled()).toBeUndefined();
    }
  });

  test("are passed on again when leader or term change, and when a snapshot came", async () => {
    const bench = new Bench();
    bench.execute();
    await bench.turn();
    bench.calls[0]!.answer(ok({}));
    bench.move(OTHER, 4);
    await bench.turn();
    bench.calls[1]!.answer(ok({}));
    await bench.turn();
    bench.proposals.restored();
    await bench.turn();
    expect(bench.calls.map(({ body }) => sequencesIn(body))).toEqual([[1], [1], [1]]);
  });

  test("say whether they may still happen", async () => {
    const failures = [
      { failure: { kind: "not_sent" }, mayHappen: false },
      { failure: { kind: "refused", reason: "not_leader", detail: "" }, mayHappen: false },
      { failure: { kind: "unreachable" }, mayHappen: true },
      { failure: { kind: "refused", reason: "leadership_moved", detail: "" }, mayHappen: true },
      { failure: undefined, mayHappen: true },
    ] as const;
    for (const { failure, mayHappen } of failures) {
      const bench = new Bench();
      const settled = bench.execute();
      await bench.turn();
      bench.calls[0]!.answer(failure === undefined ? ok({}) : err(failure));
      await bench.turn();
      bench.nowMs = 5_000;
      bench.proposals.tick();
      await bench.turn();
      expect(JSON.stringify(settled()).includes("may still happen")).toBe(mayHappen);
    }
  });

  test("fail when the leader is overloaded, unless an earlier leader may have them", async () => {
    const overloaded = err({ kind: "refused", reason: "overloaded", detail: "busy" } as const);
    const bench = new Bench();
    const fresh = bench.execute();
    await bench.turn();
    bench.calls[0]!.answer(overloaded);
    await bench.turn();
    expect(fresh()).toMatchObject({ ok: false, error: { kind: "overloaded" } });
    const doubtful = bench.execute();
    await bench.turn();
    bench.calls[1]!.answer(err({ kind: "unreachable" }));
    await bench.turn();
    bench.proposals.tick();
    await bench.turn();
    bench.calls[2]!.answer(overloaded);
    await bench.turn();
    expect(doubtful()).toBeUndefined();
  });

  test("ask for their outcome when the log does not bring it", async () => {
    const bench = new Bench();
    const settled = bench.execute();
    await bench.turn();
    bench.calls[0]!.answer(ok({}));
    bench.nowMs = OUTCOME_ASK_MS - 1;
    bench.proposals.tick();
    await bench.turn();
    expect(bench.calls.length).toBe(1);
    bench.nowMs = OUTCOME_ASK_MS;
    bench.proposals.tick();
    bench.proposals.tick();
    await bench.turn();
    expect(bench.calls.length).toBe(2);
    expect(bench.calls[1]!.body["outcome"]).toBeTrue();
    bench.calls[1]!.answer(ok({ outcome: "done" }));
    await bench.turn();
    expect(settled()).toEqual(ok("done"));
  });

  test("that begin on a leader keep the bytes that the log has of them", async () => {
    const bench = new Bench();
    bench.leader = SELF;
    bench.execute();
    await bench.turn();
    bench.nowMs = 50;
    bench.move(undefined, 4);
    bench.move(SELF, 5);
    await bench.turn();
    const times = bench.proposed.map(([entry]) =>
      entry?.kind === "normal" ? decodeCommand(entry.data)?.proposedAtMs : undefined,
    );
    expect(times).toEqual([1_000, 1_050]);
  });
});

describe("writes that others pass on", () => {
  const payload = (sequence: number, proposedAtMs = 0) =>
    encodeCommand({ command: COMMAND, request: request(sequence), proposedAtMs });
  const body = (...sequences: number[]) => ({
    writes: packPayloads(sequences.map((sequence) => payload(sequence))),
  });

  test("are proposed together, stamped here, and answered by the tick", async () => {
    const bench = new Bench();
    bench.leader = SELF;
    const answers = [
      bench.proposals.serve(OTHER, body(1, 2)),
      bench.proposals.serve(OTHER, body(3)),
    ];
    expect(bench.proposed).toEqual([]);
    await bench.turn();
    bench.proposals.tick();
    expect(await Promise.all(answers)).toEqual([ok({}), ok({})]);
    const data = [1, 2, 3].map((sequence) => payload(sequence, 1_000));
    expect(bench.proposed).toEqual([data.map((each) => ({ kind: "normal", data: each }))]);
  });

  test("were decoded to be looked at: that is remembered, once", async () => {
    const bench = new Bench();
    bench.leader = SELF;
    void bench.proposals.serve(OTHER, body(1));
    await bench.turn();
    const entry = bench.proposed[0]![0]!;
    const data = entry.kind === "normal" ? entry.data : new Uint8Array(0);
    expect(bench.proposals.decoded(data)).toEqual(decodeCommand(data)!);
    expect(bench.proposals.decoded(data)).toBeUndefined();
  });

  test("make the commit index hurry to where they began", async () => {
    const bench = new Bench();
    bench.leader = SELF;
    void bench.proposals.serve(OTHER, body(1));
    await bench.turn();
    bench.proposals.applied(request(1), "x");
    bench.proposals.applied({ client: decodeNodeId(5), sequence: 1 }, "x");
    expect(bench.hurried).toEqual([OTHER]);
  });

  test("are refused as a whole when the core does not take them", async () => {
    for (const [reason, word] of [
      ["too_busy", "overloaded"],
      ["transferring", "not_leader"],
    ] as const) {
      const bench = new Bench();
      bench.leader = SELF;
      bench.proposal = err({ kind: "dropped", reason });
      const plain = bench.proposals.serve(OTHER, body(1));
      const asking = bench.proposals.serve(OTHER, { ...body(2), outcome: true });
      await bench.turn();
      expect(await plain).toMatchObject({ ok: false, error: { reason: word } });
      expect(await asking).toMatchObject({ ok: false, error: { reason: word } });
    }
  });

  test("are refused by a node that does not lead", async () => {
    const bench = new Bench();
    const answer = await bench.proposals.serve(OTHER, body(1));
    expect(answer).toMatchObject({ ok: false, error: { reason: "not_leader" } });
  });

  test("get their outcome when it is asked for, or hear that the leader moved", async () => {
    const bench = new Bench();
    bench.leader = SELF;
    const done = bench.proposals.serve(OTHER, { ...body(1), outcome: true });
    const moved = bench.proposals.serve(OTHER, { ...body(2), outcome: true });
    await bench.turn();
    bench.proposals.applied(request(1), "one");
    bench.move(OTHER, 4);
    expect(await done).toEqual(ok({ outcome: "one" }));
    expect(await moved).toMatchObject({ ok: false, error: { reason: "leadership_moved" } });
  });

  const wrong: { why: string; body: PlainRecord }[] = [
    { why: "no writes", body: {} },
    { why: "an empty list", body: { writes: new Uint8Array(0) } },
    { why: "bytes that are no list", body: { writes: new Uint8Array([0, 0, 0, 9, 1]) } },
    { why: "half a length", body: { writes: new Uint8Array([0, 0]) } },
    { why: "no command", body: { writes: packPayloads([new Uint8Array([1, 2, 3])]) } },
    {
      why: "one command and one that is none",
      body: { writes: packPayloads([payload(1), payload(2).subarray(0, 20)]) },
    },
    {
      why: "a command without a request id",
      body: {
        writes: packPayloads([
          encodeCommand({ command: COMMAND, request: undefined, proposedAtMs: 0 }),
        ]),
      },
    },
    {
      why: "a command beyond the limit",
      body: {
        writes: packPayloads([
          encodeCommand({
            command: putOf(COMMAND_SIZE_MAX_BYTES),
            request: request(1),
            proposedAtMs: 0,
          }),
        ]),
      },
    },
  ];
  for (const { why, body: given } of wrong) {
    test(`never get into the log: ${why}`, async () => {
      const bench = new Bench();
      bench.leader = SELF;
      const answer = await bench.proposals.serve(OTHER, given);
      await bench.turn();
      expect(answer).toMatchObject({ ok: false, error: { reason: "malformed" } });
      expect(bench.proposed).toEqual([]);
    });
  }
});
