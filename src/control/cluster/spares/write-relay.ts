/**
 * Writes of spares on their way through a source to the leader, many in one call.
 *
 *     first of a burst --> leader, at once
 *     the others of the next moment --> together, one call
 *
 * A thousand spares that renew their leases cost the leader a few calls and no connections. Each
 * asker is told what the leader said of the call that its writes were in. Whoever is asked for an
 * outcome asks the leader by a call of its own. Nothing is passed on twice: `relayed` says so.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import { err, type Result } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import type { PlainRecord } from "../codec/codec.ts";
import {
  EXECUTE_TIMEOUT_MS,
  FORWARD_TIMEOUT_MS,
  MESSAGE_SIZE_MAX_BYTES,
  RELAY_INTERVAL_MS,
  RELAY_QUEUE_MAX_BYTES,
} from "../limits.ts";
import { decodeWrites } from "../requests/served-writes.ts";
import type { CallAnswer, CallFailure } from "../transport/peer-port.ts";

/** What the node lends. */
export interface RelayHost {
  /** Undefined: there is nobody to pass anything on to. */
  leader(): NodeId | undefined;
  call(
    target: NodeId,
    body: PlainRecord,
    timeoutMs: number,
  ): Promise<Result<PlainRecord, CallFailure>>;
  readonly clock: Pick<Clock, "after">;
}

interface Waiting {
  /** As `packPayloads` makes them: such bytes can be joined. */
  readonly writes: Uint8Array;
  readonly resolve: (answer: CallAnswer) => void;
}

/** What one source passes on. */
export class WriteRelay {
  readonly #host: RelayHost;
  #waiting: Waiting[] = [];
  #waitingSizeBytes = 0;
  /** Set while an interval runs. */
  #cancel: (() => void) | undefined;
  /** Calls made, and writes of spares in them. */
  readonly counts = { calls: 0, requests: 0 };

  constructor(host: RelayHost) {
    this.#host = host;
  }

  /** Passes on what `body` holds, all of it or nothing; resolves to what the leader says. */
  async serve(body: PlainRecord): Promise<CallAnswer> {
    const writes = body["writes"];
    // Looked at here: one that is malformed would spoil the call for all the others.
    if (!(writes instanceof Uint8Array) || decodeWrites(body) === undefined) {
      return err({ reason: "malformed", detail: "the request holds no writes" });
    }
    const leader = this.#host.leader();
    if (leader === undefined || body["relayed"] === true) return NOT_LEADER;
    this.counts.requests += 1;
    if (body["outcome"] === true) {
      this.counts.calls += 1;
      const asked = { writes, outcome: true, relayed: true };
      return answerOf(await this.#host.call(leader, asked, EXECUTE_TIMEOUT_MS));
    }
    if (this.#waitingSizeBytes + writes.length > RELAY_QUEUE_MAX_BYTES) return BUSY;
    return new Promise((resolve) => {
      this.#waiting.push({ writes, resolve });
      this.#waitingSizeBytes += writes.length;
      if (this.#cancel === undefined) this.#flush();
    });
  }

  /** Answers everybody: the node stops. */
  stop(): void {
    this.#cancel?.();
    for (const { resolve } of this.#waiting) resolve(NOT_LEADER);
    this.#waiting = [];
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#cancel = undefined;
    this.#waiting = [];
    this.#waitingSizeBytes = 0;
    if (waiting.length === 0) return;
    this.#cancel = this.#host.clock.after(RELAY_INTERVAL_MS, () => this.#flush());
    for (const part of inParts(waiting)) void this.#pass(part);
  }

  async #pass(part: readonly Waiting[]): Promise<void> {
    const leader = this.#host.leader();
    let answer: CallAnswer = NOT_LEADER;
    if (leader !== undefined) {
      this.counts.calls += 1;
      const writes = joined(part.map((each) => each.writes));
      const body = { writes, relayed: true };
      answer = answerOf(await this.#host.call(leader, body, FORWARD_TIMEOUT_MS));
    }
    for (const { resolve } of part) resolve(answer);
  }
}

const NOT_LEADER: CallAnswer = err({
  reason: "not_leader",
  detail: "this node knows of no leader to pass writes on to",
});
const BUSY: CallAnswer = err({
  reason: "overloaded",
  detail: "this node passes on too many writes of spares already",
});
/** Of a reason that promises nothing: the writes may be on their way. */
const LOST: CallAnswer = err({ reason: "leader_silent", detail: "the leader did not answer" });

function answerOf(result: Result<PlainRecord, CallFailure>): CallAnswer {
  if (result.ok) return result;
  const { error } = result;
  if (error.kind === "refused") return err({ reason: error.reason, detail: error.detail });
  return error.kind === "not_sent" ? NOT_LEADER : LOST;
}

function inParts(waiting: readonly Waiting[]): readonly (readonly Waiting[])[] {
  const parts: Waiting[][] = [];
  let sizeBytes = Number.POSITIVE_INFINITY;
  for (const each of waiting) {
    sizeBytes += each.writes.length;
    if (sizeBytes > MESSAGE_SIZE_MAX_BYTES) {
      parts.push([]);
      sizeBytes = each.writes.length;
    }
    parts.at(-1)?.push(each);
  }
  return parts;
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
