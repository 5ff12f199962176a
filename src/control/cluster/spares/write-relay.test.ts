import { describe, expect, test } from "bun:test";
import { decodeNodeId, type NodeId } from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { PlainRecord } from "../codec/codec.ts";
import { encodeCommand, packPayloads, unpackPayloads } from "../codec/entry-codec.ts";
import { RELAY_INTERVAL_MS } from "../limits.ts";
import { SimClock } from "../sim-cluster.fake.ts";
import type { CallFailure } from "../transport/peer-port.ts";
import { WriteRelay } from "./write-relay.ts";

const LEADER = decodeNodeId(1);
const CLIENT = decodeNodeId(7);

function start() {
  const clock = new SimClock();
  const calls: PlainRecord[] = [];
  const rig: { leader: NodeId | undefined; answer: Result<PlainRecord, CallFailure> } = {
    leader: LEADER,
    answer: ok({}),
  };
  const relay = new WriteRelay({
    clock,
    leader: () => rig.leader,
    call: (_target, body) => {
      calls.push(body);
      return Promise.resolve(rig.answer);
    },
  });
  return { relay, clock, calls, rig };
}

function write(sequence: number): PlainRecord {
  const request = { client: CLIENT, sequence };
  const payload = encodeCommand({ command: { kind: "x" }, request, proposedAtMs: 0 });
  return { writes: packPayloads([payload]) };
}

function countIn(call: PlainRecord): number {
  return unpackPayloads(call["writes"] as Uint8Array)!.length;
}

describe("a relay", () => {
  test("passes the first on at once, and those of the next moment together", async () => {
    const { relay, clock, calls } = start();
    const answers = Array.from({ length: 50 }, (_, i) => relay.serve(write(i)));
    expect(calls.map(countIn)).toEqual([1]);
    clock.step(RELAY_INTERVAL_MS);
    expect(calls.map(countIn)).toEqual([1, 49]);
    expect(calls.every((call) => call["relayed"] === true)).toBeTrue();
    expect((await Promise.all(answers)).every((answer) => answer.ok)).toBeTrue();
  });

  test("tells each what the leader said, and never that nothing happened when it may have", async () => {
    const { relay, clock, rig } = start();
    const failures: [CallFailure, string][] = [
      [{ kind: "refused", reason: "overloaded", detail: "" }, "overloaded"],
      [{ kind: "not_sent" }, "not_leader"],
      [{ kind: "timeout" }, "leader_silent"],
      [{ kind: "unreachable" }, "leader_silent"],
    ];
    for (const [failure, reason] of failures) {
      rig.answer = err(failure);
      const answer = await relay.serve(write(1));
      expect(answer.ok ? "" : answer.error.reason).toBe(reason);
      clock.step(clock.nowMs() + RELAY_INTERVAL_MS);
    }
  });

  test("passes nothing on twice, without a leader, or that makes no sense", async () => {
    const { relay, calls, rig } = start();
    const reasons: string[] = [];
    const ask = async (body: PlainRecord) => {
      const answer = await relay.serve(body);
      reasons.push(answer.ok ? "ok" : answer.error.reason);
    };
    await ask({ ...write(1), relayed: true });
    await ask({ writes: Uint8Array.of(0, 0, 0, 1, 9) });
    await ask({});
    rig.leader = undefined;
    await ask(write(1));
    expect(reasons).toEqual(["not_leader", "malformed", "malformed", "not_leader"]);
    expect(calls).toEqual([]);
  });

  test("asks for an outcome by a call of its own", async () => {
    const { relay, rig, calls } = start();
    rig.answer = ok({ outcome: 5 });
    const answer = await relay.serve({ ...write(1), outcome: true });
    expect(answer).toEqual(ok({ outcome: 5 }));
    expect(calls[0]).toMatchObject({ outcome: true, relayed: true });
  });
});
