/**
 * The commands of etcd-io/raft's quorum files: what is committed, and who wins.
 *
 * Beside the answer, the same question is asked in other ways that must not make a difference;
 * one that does shows in the output.
 *
 * @module
 */
import { decodeNodeId, type NodeId } from "../../src/base/ids.ts";
import { type Quorum, quorumAcked, quorumVote } from "../../src/control/raft/quorum.ts";
import { fail, type Stanza, toNumber } from "./datadriven.ts";

const RESULT_NAMES = { won: "VoteWon", pending: "VotePending", lost: "VoteLost" } as const;

interface Question {
  readonly voters: readonly NodeId[];
  /** Undefined unless the question is about a joint quorum. */
  readonly outgoing: readonly NodeId[] | undefined;
  /** One per distinct voter in order of appearance; `_` for none. */
  readonly inputs: readonly string[];
}

/** Runs one stanza; these files have no state. */
export function runQuorumStanza(stanza: Stanza): string {
  const question = parseQuestion(stanza);
  const ids = distinct([...question.voters, ...(question.outgoing ?? [])]);
  if (ids.length !== question.inputs.length) {
    return `error: mismatched input (explicit or _) for voters [${ids.join(" ")}]`;
  }
  const inputs = new Map<NodeId, string>();
  for (const [i, id] of ids.entries()) {
    if (question.inputs[i] !== "_") inputs.set(id, question.inputs[i]!);
  }
  if (stanza.command === "committed") return runCommitted(question, inputs);
  if (stanza.command === "vote") return runVote(question, inputs);
  return fail(`unknown command: ${stanza.command}`);
}

function parseQuestion(stanza: Stanza): Question {
  let voters: NodeId[] = [];
  let outgoing: NodeId[] | undefined;
  let inputs: readonly string[] = [];
  for (const { key, values } of stanza.args) {
    if (key === "cfg") voters = values.map(toNode);
    else if (key === "cfgj") outgoing = values[0] === "zero" ? [] : values.map(toNode);
    else if (key === "idx" || key === "votes") inputs = values;
    else fail(`unknown argument: ${key}`);
  }
  return { voters: distinct(voters), outgoing: outgoing && distinct(outgoing), inputs };
}

function runCommitted(question: Question, inputs: ReadonlyMap<NodeId, string>): string {
  const { voters, outgoing } = question;
  const acked = new Map([...inputs].map(([id, text]) => [id, toNumber(text)]));
  const votersOutgoing = outgoing ?? [];
  const index = committed({ voters, votersOutgoing }, acked);
  const differences =
    outgoing === undefined
      ? majorityDifferences(voters, acked, index)
      : difference(committed({ voters: votersOutgoing, votersOutgoing: voters }, acked), index, [
          "via symmetry",
        ]);
  const bars = describeBars(distinct([...voters, ...votersOutgoing]), acked);
  return `${bars}${differences}${formatIndex(index)}\n`;
}

function majorityDifferences(
  voters: readonly NodeId[],
  acked: ReadonlyMap<NodeId, number>,
  index: number,
): string {
  let text = difference(countedCommitted(voters, acked), index, ["via alternative computation"]);
  const selfJoint = committed({ voters, votersOutgoing: voters }, acked);
  const zeroJoint = committed({ voters: [], votersOutgoing: voters }, acked);
  text += difference(zeroJoint, index, ["via zero-joint quorum"]);
  text += difference(selfJoint, index, ["via self-joint quorum"]);
  for (const id of voters) {
    const own = acked.get(id) ?? 0;
    if (index <= own || own === 0) continue;
    // Who is behind what is committed may fall further behind.
    for (const lower of [own - 1, 0]) {
      const lowered = new Map(acked).set(id, lower);
      text += difference(committed({ voters, votersOutgoing: [] }, lowered), index, [
        `overlaying ${id}->${lower}`,
      ]);
    }
  }
  return text;
}

function runVote(question: Question, inputs: ReadonlyMap<NodeId, string>): string {
  const { voters, outgoing } = question;
  const votes = new Map([...inputs].map(([id, text]) => [id, toVote(text)]));
  const votersOutgoing = outgoing ?? [];
  const result = RESULT_NAMES[quorumVote({ voters, votersOutgoing }, votes)];
  const swapped =
    RESULT_NAMES[quorumVote({ voters: votersOutgoing, votersOutgoing: voters }, votes)];
  return swapped === result ? `${result}\n` : `${swapped} <-- via symmetry\n${result}\n`;
}

/** One line per voter: the more of the others are behind it, the longer its bar. */
function describeBars(voters: readonly NodeId[], acked: ReadonlyMap<NodeId, number>): string {
  const count = voters.length;
  if (count === 0) return "<empty majority quorum>";
  const ids = [...voters].sort((a, b) => a - b);
  let text = `${" ".repeat(count)}    idx\n`;
  for (const id of ids) {
    const index = acked.get(id);
    const bar = ids.filter((other) => (acked.get(other) ?? 0) < (index ?? 0)).length;
    text +=
      index === undefined
        ? `?${" ".repeat(count)}`
        : `${"x".repeat(bar)}>${" ".repeat(count - bar)}`;
    text += ` ${String(index ?? 0).padStart(5)}    (id=${id})\n`;
  }
  return text;
}

/** The definition, spelled out: the highest index that more than half of the voters reached. */
function countedCommitted(voters: readonly NodeId[], acked: ReadonlyMap<NodeId, number>): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const indexes = [0, ...voters.map((id) => acked.get(id) ?? 0)];
  const reached = indexes.filter(
    (index) => voters.filter((id) => (acked.get(id) ?? 0) >= index).length > voters.length / 2,
  );
  return Math.max(...reached);
}

function committed(quorum: Quorum, acked: ReadonlyMap<NodeId, number>): number {
  return quorumAcked(quorum, (id) => acked.get(id));
}

function difference(other: number, index: number, how: readonly [string]): string {
  return other === index ? "" : `${formatIndex(other)} <-- ${how[0]}\n`;
}

function formatIndex(index: number): string {
  return index === Number.POSITIVE_INFINITY ? "∞" : String(index);
}

function toVote(text: string): boolean {
  if (text !== "y" && text !== "n") fail(`unknown vote: ${text}`);
  return text === "y";
}

function toNode(text: string): NodeId {
  return decodeNodeId(toNumber(text));
}

function distinct(ids: readonly NodeId[]): NodeId[] {
  return [...new Set(ids)];
}
