/**
 * The leader's side of writes that followers pass on: looked at, stamped, proposed, answered.
 *
 * Whether the writes were taken in is known at the end of the turn. That they were not is said at
 * once; that they were, at the next tick, for all of them together: nobody waits for that. Their
 * outcomes are found by whoever applies their entries, so nothing is kept here until then but who
 * waits for the commit index, and what was decoded anyway. Only who asks for the outcome of a
 * write waits here until it is applied. A write that comes twice is proposed twice; the state
 * machine applies it once.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import { err, ok } from "../../../base/result.ts";
import type { RequestId } from "../../kv/types.ts";
import type { PlainRecord } from "../codec/codec.ts";
import {
  decodeCommand,
  type LoggedCommand,
  stampCommand,
  unpackPayloads,
} from "../codec/entry-codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { COMMAND_SIZE_MAX_BYTES } from "../limits.ts";
import type { CallAnswer } from "../transport/peer-port.ts";
import { RequestMap } from "./request-map.ts";

/** What the proposals lend. */
export interface ServedHost {
  isLeader(): boolean;
  /** Takes over the payload of an entry, which is proposed at the end of this turn. */
  enqueue(data: Uint8Array): void;
  /** Somebody at `node` waits for what was just applied here. */
  hurry(node: NodeId): void;
  wallMs(): number;
}

type Waiter = (answer: CallAnswer) => void;

const ACCEPTED: CallAnswer = ok({});

/** Clients whose node is remembered; each run of a node is one. */
const CLIENTS_MAX = 1_000;

/** Writes that others began. */
export class ServedWrites {
  readonly #host: ServedHost;
  /** By payload, until it is applied: what was decoded to be looked at is not decoded again. */
  readonly #decoded = new Map<Uint8Array, LoggedCommand>();
  /** Where the clients are that passed something on in this term. */
  readonly #homes = new Map<NodeId, NodeId>();
  /** Who waits to hear whether the writes of this turn were taken in. */
  #askers: Waiter[] = [];
  /** Who will hear that they were. */
  #accepted: Waiter[] = [];
  /** Who waits for an outcome. */
  readonly #waiters = new RequestMap<Waiter>();
  /** Those writes. */
  #fresh: Uint8Array[] = [];

  constructor(host: ServedHost) {
    this.#host = host;
  }

  /** Takes in what `body` holds, all of it or nothing; may write to its bytes and keep them. */
  serve(from: NodeId, body: PlainRecord): Promise<CallAnswer> {
    const writes = decodeWrites(body);
    if (writes === undefined) {
      return Promise.resolve(refuse("malformed", "the request holds no writes"));
    }
    if (!this.#host.isLeader()) {
      return Promise.resolve(refuse("not_leader", "this node is not the leader"));
    }
    const proposedAtMs = this.#host.wallMs();
    if (this.#homes.size >= CLIENTS_MAX) this.#homes.clear();
    for (const { payload, logged, request } of writes) {
      stampCommand(payload, proposedAtMs);
      this.#decoded.set(payload, { ...logged, proposedAtMs });
      this.#homes.set(request.client, from);
      this.#fresh.push(payload);
      this.#host.enqueue(payload);
    }
    return new Promise((resolve) => {
      const [first] = writes;
      if (body["outcome"] !== true || first === undefined) this.#askers.push(resolve);
      else this.#awaitOutcome(first.request, resolve);
    });
  }

  /** The writes of this turn were all taken in. */
  accepted(): void {
    for (const asker of this.#askers) this.#accepted.push(asker);
    this.#askers = [];
    this.#fresh = [];
  }

  /** None of this turn's writes was taken in. */
  refused(refusal: CallAnswer): void {
    const askers = this.#askers;
    for (const payload of this.#fresh) this.#decoded.delete(payload);
    this.#askers = [];
    this.#fresh = [];
    for (const asker of askers) asker(refusal);
  }

  /** Tells the good news. */
  tick(): void {
    const askers = this.#accepted;
    this.#accepted = [];
    for (const asker of askers) asker(ACCEPTED);
  }

  /** Answers everybody. */
  stop(refusal: CallAnswer): void {
    this.tick();
    this.refused(refusal);
    for (const waiter of this.#waiters.values()) waiter(refusal);
    this.#waiters.clear();
  }

  /** What the payload `data` says, when it was served here; forgets it. */
  decoded(data: Uint8Array): LoggedCommand | undefined {
    const logged = this.#decoded.get(data);
    if (logged !== undefined) this.#decoded.delete(data);
    return logged;
  }

  /** The entry of `request` was applied here. */
  applied(request: RequestId, outcome: unknown): void {
    const home = this.#homes.get(request.client);
    if (home !== undefined) this.#host.hurry(home);
    if (this.#waiters.size === 0) return;
    this.#waiters.get(request)?.(ok({ outcome }));
    this.#waiters.delete(request);
  }

  /** What was decoded may never be applied, and nobody may wait for this node any more. */
  leadershipChanged(): void {
    this.#decoded.clear();
    this.#homes.clear();
    const moved = refuse("leadership_moved", "the write was on its way already");
    for (const waiter of this.#waiters.values()) waiter(moved);
    this.#waiters.clear();
  }

  #awaitOutcome(request: RequestId, waiter: Waiter): void {
    this.#waiters.get(request)?.(refuse("asked_again", "the outcome was asked for once more"));
    this.#waiters.set(request, waiter);
    this.#askers.push((answer) => {
      if (answer.ok || this.#waiters.get(request) !== waiter) return;
      this.#waiters.delete(request);
      waiter(answer);
    });
  }
}

export interface ServedWrite {
  readonly payload: Uint8Array;
  readonly logged: LoggedCommand;
  readonly request: RequestId;
}

/** Looked at before they are proposed: what cannot be decoded must never get into the log. */
export function decodeWrites(body: PlainRecord): readonly ServedWrite[] | undefined {
  const fields = new FieldReader(body);
  const payloads = unpackPayloads(fields.bytes("writes"));
  if (fields.failed || payloads === undefined || payloads.length === 0) return undefined;
  const writes: ServedWrite[] = [];
  for (const payload of payloads) {
    const logged = payload.length > COMMAND_SIZE_MAX_BYTES ? undefined : decodeCommand(payload);
    if (logged?.request === undefined) return undefined;
    writes.push({ payload, logged, request: logged.request });
  }
  return writes;
}

function refuse(reason: string, detail: string): CallAnswer {
  return err({ reason, detail });
}
