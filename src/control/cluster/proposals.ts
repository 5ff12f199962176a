/**
 * Writes on their way through the log: from `execute` on any node to the outcome, exactly once.
 *
 *     waiting --leader is here--> proposed --applied here--> done
 *     waiting --leader is elsewhere--> forwarded --answered--> answered --applied here--> done
 *     proposed, forwarded --leader or term changed, call failed--> waiting
 *     any --deadline--> failed (answered: done)
 *
 * A retry carries the same request id, and the state machine applies each id once, so trying
 * again after a lost answer is harmless. Driven by the driver: role changes, applied entries,
 * ticks. Holds no timer of its own.
 *
 * @module
 */
import type { Index, NodeId, Term } from "../../base/ids.ts";
import { err, ok, type Result } from "../../base/result.ts";
import type { Command, RequestId } from "../kv/types.ts";
import type { ProposeError } from "../raft/raft.ts";
import type { ProposedEntry } from "../raft/types.ts";
import type { PlainRecord } from "./codec.ts";
import { decodeCommand, encodeCommand, type LoggedCommand, stampCommand } from "./entry-codec.ts";
import { FieldReader } from "./fields.ts";
import {
  COMMAND_SIZE_MAX_BYTES,
  GUESS_INTERVAL_MS,
  PENDING_COUNT_MAX,
  READ_YOUR_WRITES_GRACE_MS,
} from "./limits.ts";
import type { CallAnswer, CallFailure } from "./peer-port.ts";
import type { ClusterFailure } from "./types.ts";

/** What the driver lends. */
export interface ProposalHost {
  /** Whose request ids this run uses; no other run ever did. */
  readonly client: NodeId;
  readonly nodeId: NodeId;
  leadership(): { readonly term: Term; readonly leader: NodeId | undefined };
  /** Members that may know or be the leader when this node knows none. */
  others(): readonly NodeId[];
  propose(entries: readonly ProposedEntry[]): Result<void, ProposeError>;
  forward(
    target: NodeId,
    body: PlainRecord,
    timeoutMs: number,
  ): Promise<Result<PlainRecord, CallFailure>>;
  appliedIndex(): Index;
  /** Runs `task` at the end of this turn. */
  soon(task: () => void): void;
  nowMs(): number;
  wallMs(): number;
  /** Why nothing can be written now, for a deadline that passed. */
  explain(): ClusterFailure;
}

type Phase =
  | { readonly kind: "waiting" }
  | { readonly kind: "proposed"; readonly term: Term }
  | { readonly kind: "forwarded"; readonly leader: NodeId; readonly term: Term }
  | { readonly kind: "answered"; readonly outcome: unknown };

interface Pending {
  /** As it goes into the log, but for its time, which the leader stamps. */
  readonly payload: Uint8Array;
  deadlineMs: number;
  phase: Phase;
  /**
   * Whether a leader may have taken it in, this node included. Once it may, no failure can promise
   * that the write does not happen, whatever this node learns later.
   */
  mayHappen: boolean;
  /** Told the outcome, or why there is none. */
  readonly waiters: ((result: Result<unknown, ClusterFailure>) => void)[];
}

interface Served {
  readonly term: Term;
  readonly deadlineMs: number;
  readonly waiters: ((answer: CallAnswer) => void)[];
}

/** All writes that this node started, and those that followers passed on to it. */
export class Proposals {
  readonly #host: ProposalHost;
  /** Writes that began here, by request. */
  readonly #pending = new Map<string, Pending>();
  /** Writes that followers passed on, by request. */
  readonly #served = new Map<string, Served>();
  /** Of writes that were passed on, so that none is decoded twice. */
  readonly #decoded = new WeakMap<Uint8Array, LoggedCommand>();
  /** Proposed together at the end of this turn: one batch, one append message, one fsync. */
  #outbox: { readonly key: string; readonly entry: ProposedEntry }[] = [];
  #sequence = 0;
  #guessCount = 0;
  #lastGuessMs = Number.NEGATIVE_INFINITY;
  #isStopped = false;

  constructor(host: ProposalHost) {
    this.#host = host;
  }

  /** Carries `command` out. */
  execute(
    command: Command,
    options: { readonly timeoutMs: number; readonly requestId: RequestId | undefined },
  ): Promise<Result<unknown, ClusterFailure>> {
    const request = options.requestId ?? {
      client: this.#host.client,
      sequence: ++this.#sequence,
    };
    const key = requestKey(request);
    const known = this.#pending.get(key);
    if (this.#isStopped) return Promise.resolve(err(STOPPED));
    if (known === undefined && this.#pending.size >= PENDING_COUNT_MAX) {
      return Promise.resolve(err(overloaded("too many writes wait for their outcome")));
    }
    return new Promise((resolve) => {
      const deadlineMs = this.#host.nowMs() + options.timeoutMs;
      if (known !== undefined) {
        known.deadlineMs = Math.max(known.deadlineMs, deadlineMs);
        known.waiters.push(resolve);
        return;
      }
      const payload = encodeCommand({ command, request, proposedAtMs: 0 });
      if (payload.length > COMMAND_SIZE_MAX_BYTES) {
        // The edge has limits of its own below this one; what gets here would fit no message.
        const limit = `the limit is ${COMMAND_SIZE_MAX_BYTES}`;
        resolve(err(overloaded(`it has ${payload.length} bytes, ${limit}`)));
        return;
      }
      const waiters = [resolve];
      const pending: Pending = {
        payload,
        deadlineMs,
        phase: { kind: "waiting" },
        mayHappen: false,
        waiters,
      };
      this.#pending.set(key, pending);
      this.#dispatch(key, pending);
    });
  }

  /** Serves a write that another member passed on. */
  serve(body: PlainRecord): Promise<CallAnswer> {
    const fields = new FieldReader(body);
    const payload = fields.bytes("payload");
    const timeoutMs = fields.counter("timeoutMs");
    // Looked at before it is proposed: what cannot be decoded must never get into the log.
    const logged = fields.failed ? undefined : decodeCommand(payload);
    const request = logged?.request;
    if (logged === undefined || request === undefined || payload.length > COMMAND_SIZE_MAX_BYTES) {
      return Promise.resolve(refuse("malformed", "the request is not a write"));
    }
    const { leader, term } = this.#host.leadership();
    if (leader !== this.#host.nodeId || this.#isStopped) {
      return Promise.resolve(refuse("not_leader", "this node is not the leader"));
    }
    return new Promise((resolve) => {
      const key = requestKey(request);
      const known = this.#served.get(key);
      if (known?.term === term) {
        known.waiters.push(resolve);
        return;
      }
      const deadlineMs = this.#host.nowMs() + timeoutMs;
      this.#served.set(key, { term, deadlineMs, waiters: [resolve] });
      const proposedAtMs = this.#host.wallMs();
      const data = stampCommand(payload, proposedAtMs);
      this.#decoded.set(data, { ...logged, proposedAtMs });
      this.#enqueue(key, data);
    });
  }

  /** What the entry's payload `data` says, when that is known here already. */
  decoded(data: Uint8Array): LoggedCommand | undefined {
    return this.#decoded.get(data);
  }

  /** The entry of `request` was applied here, at `index`. */
  applied(request: RequestId, outcome: unknown, index: Index): void {
    const key = requestKey(request);
    this.#finish(key, ok(outcome));
    this.#answer(key, ok({ outcome, index }));
  }

  /** Role, term or leader changed: what was on its way may be lost. */
  leadershipChanged(): void {
    const { leader, term } = this.#host.leadership();
    for (const [key, served] of this.#served) {
      if (leader === this.#host.nodeId && served.term === term) continue;
      this.#answer(key, refuse("leadership_moved", "the write was on its way already"));
    }
    for (const [key, pending] of this.#pending) {
      const phase = pending.phase;
      if (phase.kind === "answered") continue;
      const stays =
        phase.kind !== "waiting" &&
        phase.term === term &&
        leader === (phase.kind === "proposed" ? this.#host.nodeId : phase.leader);
      if (stays) continue;
      pending.phase = { kind: "waiting" };
      this.#dispatch(key, pending);
    }
  }

  /** Tries again what waits, and gives up what is past its deadline. */
  tick(): void {
    const nowMs = this.#host.nowMs();
    for (const [key, served] of this.#served) {
      if (nowMs >= served.deadlineMs) this.#answer(key, refuse("timeout", "not applied in time"));
    }
    const guess = this.#guess(nowMs);
    for (const [key, pending] of this.#pending) {
      if (nowMs < pending.deadlineMs) {
        if (pending.phase.kind === "waiting") this.#dispatch(key, pending, guess);
        continue;
      }
      const { phase, mayHappen } = pending;
      const failure = () =>
        err(mayHappen ? undetermined(this.#host.explain()) : this.#host.explain());
      this.#finish(key, phase.kind === "answered" ? ok(phase.outcome) : failure());
    }
  }

  /** Fails everything: the node stops. */
  stop(): void {
    this.#isStopped = true;
    for (const key of [...this.#pending.keys()]) this.#finish(key, err(STOPPED));
    for (const key of [...this.#served.keys()]) {
      this.#answer(key, refuse("not_leader", "this node stops"));
    }
  }

  /**
   * Whom to try while no leader is known: each of the others in turn. A node whose address changed
   * is not found by its leader, but finds it so, and can say where it is now.
   */
  #guess(nowMs: number): NodeId | undefined {
    if (this.#pending.size === 0 || this.#host.leadership().leader !== undefined) return undefined;
    if (nowMs - this.#lastGuessMs < GUESS_INTERVAL_MS) return undefined;
    this.#lastGuessMs = nowMs;
    const others = this.#host.others();
    return others[this.#guessCount++ % others.length];
  }

  #dispatch(key: string, pending: Pending, guess?: NodeId): void {
    const known = this.#host.leadership();
    const { term } = known;
    const leader = known.leader ?? guess;
    if (leader === undefined) return;
    if (leader === this.#host.nodeId) {
      pending.phase = { kind: "proposed", term };
      this.#enqueue(key, stampCommand(pending.payload, this.#host.wallMs()));
      return;
    }
    pending.phase = { kind: "forwarded", leader, term };
    void this.#forward(key, pending, leader);
  }

  async #forward(key: string, pending: Pending, leader: NodeId): Promise<void> {
    const phase = pending.phase;
    const timeoutMs = Math.max(1, Math.ceil(pending.deadlineMs - this.#host.nowMs()));
    const body = { payload: pending.payload, timeoutMs };
    const mightBefore = pending.mayHappen;
    pending.mayHappen = true;
    const result = await this.#host.forward(leader, body, timeoutMs);
    if (!result.ok && isNotTaken(result.error)) pending.mayHappen = mightBefore;
    if (this.#pending.get(key) !== pending || pending.phase !== phase) return;
    if (result.ok) {
      const index = result.value["index"];
      const isHere = typeof index === "number" && this.#host.appliedIndex() >= index;
      const outcome = result.value["outcome"];
      if (isHere) {
        this.#finish(key, ok(outcome));
        return;
      }
      // The caller may read here next: wait until its write can be seen, but not for long.
      pending.phase = { kind: "answered", outcome };
      pending.deadlineMs = Math.min(
        pending.deadlineMs,
        this.#host.nowMs() + READ_YOUR_WRITES_GRACE_MS,
      );
    } else if (result.error.kind === "refused" && result.error.reason === "overloaded") {
      this.#finish(key, err(overloaded(result.error.detail)));
    } else {
      pending.phase = { kind: "waiting" }; // The next tick tries again.
    }
  }

  #enqueue(key: string, data: Uint8Array): void {
    if (this.#outbox.length === 0) this.#host.soon(() => this.#flush());
    this.#outbox.push({ key, entry: { kind: "normal", data } });
  }

  #flush(): void {
    const batch = this.#outbox;
    this.#outbox = [];
    const result = this.#host.propose(batch.map((item) => item.entry));
    if (result.ok) {
      for (const { key } of batch) {
        const pending = this.#pending.get(key);
        if (pending !== undefined) pending.mayHappen = true;
      }
      return;
    }
    const isBusy = result.error.kind === "dropped" && result.error.reason === "too_busy";
    for (const { key } of batch) {
      const pending = this.#pending.get(key);
      if (isBusy) {
        const detail = "the leader has too many writes under way";
        this.#finish(key, err(overloaded(detail)));
        this.#answer(key, refuse("overloaded", detail));
      } else {
        if (pending?.phase.kind === "proposed") pending.phase = { kind: "waiting" };
        this.#answer(key, refuse("not_leader", "leadership is being handed over"));
      }
    }
  }

  #finish(key: string, result: Result<unknown, ClusterFailure>): void {
    const pending = this.#pending.get(key);
    if (pending === undefined) return;
    this.#pending.delete(key);
    for (const waiter of pending.waiters) waiter(result);
  }

  #answer(key: string, answer: CallAnswer): void {
    const served = this.#served.get(key);
    if (served === undefined) return;
    this.#served.delete(key);
    for (const waiter of served.waiters) waiter(answer);
  }
}

const STOPPED: ClusterFailure = {
  kind: "no_leader",
  detail: "Cannot write to the cluster: this node stops; use another node",
};

/** Refusals of a node that took nothing in. After any other failure the write may be on its way. */
const UNREAD_REASONS: ReadonlySet<string> = new Set(["not_leader", "malformed", "overloaded"]);

function isNotTaken(failure: CallFailure): boolean {
  if (failure.kind === "not_sent") return true;
  return failure.kind === "refused" && UNREAD_REASONS.has(failure.reason);
}

/** `failure` of a write that may have left this node. */
function undetermined(failure: ClusterFailure): ClusterFailure {
  const warning = "the write may still happen";
  if (failure.detail.includes(warning)) return failure;
  return { ...failure, detail: `${failure.detail}; ${warning}` };
}

function requestKey(request: RequestId): string {
  return `${request.client}/${request.sequence}`;
}

function refuse(reason: string, detail: string): CallAnswer {
  return err({ reason, detail });
}

function overloaded(state: string): ClusterFailure {
  return { kind: "overloaded", detail: `Cannot write to the cluster: ${state}; try again shortly` };
}
