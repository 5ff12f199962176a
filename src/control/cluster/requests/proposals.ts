/**
 * Writes on their way through the log: from `execute` on any node to the outcome, exactly once.
 *
 *     waiting --leader is here--> proposed --applied here--> done
 *     waiting --leader is elsewhere--> forwarded --applied here--> done
 *     forwarded --not applied here for long--> asked --answered, applied here--> done
 *     all of these --leader or term changed, refused, no word of the leader,
 *                    a snapshot came instead of entries--> waiting
 *     any --deadline--> failed
 *
 * Every node applies every entry, so the outcome of a write is found where it began; what is
 * passed on to the leader comes back as an entry of the log, and whoever was told the outcome
 * reads its own write there. The leader only says whether it took the writes in: once for all
 * that were passed on together in one turn. It is asked for an outcome when the log brings none.
 *
 * A retry carries the same request id, and the state machine applies each id once, so trying
 * again is harmless. Driven by the driver: role changes, applied entries, ticks. Holds no timer
 * of its own.
 *
 * @module
 */
import type { NodeId, Term } from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Command, RequestId } from "../../kv/types.ts";
import type { ProposeError } from "../../raft/raft.ts";
import type { ProposedEntry } from "../../raft/types.ts";
import type { PlainRecord } from "../codec/codec.ts";
import {
  encodeCommand,
  type LoggedCommand,
  packPayloads,
  stampCommand,
} from "../codec/entry-codec.ts";
import {
  COMMAND_SIZE_MAX_BYTES,
  FORWARD_TIMEOUT_MS,
  GUESS_INTERVAL_MS,
  MESSAGE_SIZE_MAX_BYTES,
  OUTCOME_ASK_MS,
  PENDING_COUNT_MAX,
} from "../limits.ts";
import type { CallAnswer, CallFailure } from "../transport/peer-port.ts";
import type { ClusterFailure } from "../types.ts";
import { RequestMap } from "./request-map.ts";
import { ServedWrites } from "./served-writes.ts";

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
  /** Somebody at `node` waits for what was just applied here. */
  hurry(node: NodeId): void;
  /** Runs `task` at the end of this turn. */
  soon(task: () => void): void;
  nowMs(): number;
  wallMs(): number;
  /** Why nothing can be written now, for a deadline that passed. */
  explain(): ClusterFailure;
}

/** Writes that are passed on together. */
interface Forwarded {
  readonly kind: "forwarded";
  readonly leader: NodeId;
  readonly term: Term;
  readonly sinceMs: number;
  readonly writes: Pending[];
}

/** A write of which the leader is to tell the outcome. */
interface Asked {
  readonly kind: "asked";
  readonly leader: NodeId;
  readonly term: Term;
}

type Phase =
  | { readonly kind: "waiting" }
  | { readonly kind: "proposed"; readonly term: Term }
  | Forwarded
  | Asked;

interface Pending {
  readonly request: RequestId;
  /** As it goes into the log, but for its time, which the leader stamps. */
  readonly payload: Uint8Array;
  /** Whether the log has these very bytes, so that they must not be stamped again. */
  isLogged: boolean;
  deadlineMs: number;
  phase: Phase;
  /**
   * How often a leader may have taken it in, this node included. Once it may, no failure can
   * promise that the write does not happen, whatever this node learns later.
   */
  takenCount: number;
  /** Told the outcome, or why there is none. */
  readonly waiters: ((result: Result<unknown, ClusterFailure>) => void)[];
}

const WAITING: Phase = { kind: "waiting" };

/** All writes that this node started, and those that followers passed on to it. */
export class Proposals {
  readonly #host: ProposalHost;
  /** Writes that began here. */
  readonly #pending = new RequestMap<Pending>();
  readonly #served: ServedWrites;
  /** Proposed together at the end of this turn: one batch, one append message, one fsync. */
  #outbox: { readonly write: Pending | undefined; readonly entry: ProposedEntry }[] = [];
  /** Passed on together at the end of this turn. */
  #forwards: Forwarded[] = [];
  #sequence = 0;
  #guessCount = 0;
  #lastGuessMs = Number.NEGATIVE_INFINITY;
  #isStopped = false;

  constructor(host: ProposalHost) {
    this.#host = host;
    this.#served = new ServedWrites({
      isLeader: () => !this.#isStopped && host.leadership().leader === host.nodeId,
      enqueue: (data) => this.#enqueue({ write: undefined, entry: { kind: "normal", data } }),
      hurry: (node) => host.hurry(node),
      wallMs: () => host.wallMs(),
    });
  }

  /** Carries `command` out. */
  execute(
    command: Command,
    options: { readonly timeoutMs: number; readonly requestId: RequestId | undefined },
  ): Promise<Result<unknown, ClusterFailure>> {
    const { requestId, timeoutMs } = options;
    const request = requestId ?? { client: this.#host.client, sequence: ++this.#sequence };
    const known = requestId === undefined ? undefined : this.#pending.get(request);
    if (this.#isStopped) return Promise.resolve(err(STOPPED));
    if (known === undefined && this.#pending.size >= PENDING_COUNT_MAX) {
      return Promise.resolve(err(overloaded("too many writes wait for their outcome")));
    }
    return new Promise((resolve) => {
      const deadlineMs = this.#host.nowMs() + timeoutMs;
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
      const pending: Pending = {
        request,
        payload,
        isLogged: false,
        deadlineMs,
        phase: WAITING,
        takenCount: 0,
        waiters: [resolve],
      };
      this.#pending.set(request, pending);
      this.#dispatch(pending);
    });
  }

  /** Takes in writes that `from` passes on. */
  serve(from: NodeId, body: PlainRecord): Promise<CallAnswer> {
    return this.#served.serve(from, body);
  }

  /** What the entry's payload `data` says, when that is known here already. To be asked once. */
  decoded(data: Uint8Array): LoggedCommand | undefined {
    return this.#served.decoded(data);
  }

  /** The entry of `request` was applied here. */
  applied(request: RequestId, outcome: unknown): void {
    const pending = this.#pending.get(request);
    if (pending !== undefined) this.#finish(pending, ok(outcome));
    this.#served.applied(request, outcome);
  }

  /** A snapshot took the place of entries: what was in those is only known by asking again. */
  restored(): void {
    for (const pending of this.#pending.values()) this.#retry(pending);
  }

  /** Role, term or leader changed: what was on its way may be lost. */
  leadershipChanged(): void {
    const { leader, term } = this.#host.leadership();
    this.#served.leadershipChanged();
    for (const pending of this.#pending.values()) {
      const { phase } = pending;
      const stays =
        phase.kind !== "waiting" &&
        phase.term === term &&
        leader === (phase.kind === "proposed" ? this.#host.nodeId : phase.leader);
      if (!stays) this.#retry(pending);
    }
  }

  /** Tries again what waits, and gives up what is past its deadline. */
  tick(): void {
    const nowMs = this.#host.nowMs();
    this.#served.tick();
    const guess = this.#guess(nowMs);
    for (const pending of this.#pending.values()) {
      const { phase, deadlineMs } = pending;
      if (nowMs < deadlineMs) {
        if (phase.kind === "waiting") this.#dispatch(pending, guess);
        const isLate = phase.kind === "forwarded" && nowMs - phase.sinceMs >= OUTCOME_ASK_MS;
        if (isLate) void this.#ask(pending, { ...phase, kind: "asked" });
        continue;
      }
      const failure = this.#host.explain();
      this.#finish(pending, err(pending.takenCount > 0 ? undetermined(failure) : failure));
    }
  }

  /** Fails everything: the node stops. */
  stop(): void {
    this.#isStopped = true;
    for (const pending of this.#pending.values()) {
      this.#finish(pending, err(pending.takenCount > 0 ? undetermined(STOPPED) : STOPPED));
    }
    this.#served.stop(refuse("not_leader", "this node stops"));
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

  #retry(pending: Pending): void {
    pending.phase = WAITING;
    this.#dispatch(pending);
  }

  #dispatch(pending: Pending, guess?: NodeId): void {
    const known = this.#host.leadership();
    const { term } = known;
    const leader = known.leader ?? guess;
    if (leader === undefined) return;
    if (leader !== this.#host.nodeId) {
      this.#forward(pending, { leader, term });
      return;
    }
    const data = pending.isLogged ? pending.payload.slice() : pending.payload;
    stampCommand(data, this.#host.wallMs());
    pending.isLogged = true;
    pending.phase = { kind: "proposed", term };
    this.#enqueue({ write: pending, entry: { kind: "normal", data } });
  }

  #forward(pending: Pending, to: { readonly leader: NodeId; readonly term: Term }): void {
    if (this.#forwards.length === 0) this.#host.soon(() => this.#flushForwards());
    let batch = this.#forwards.at(-1);
    if (batch === undefined || batch.leader !== to.leader || batch.term !== to.term) {
      batch = { kind: "forwarded", ...to, sinceMs: this.#host.nowMs(), writes: [] };
      this.#forwards.push(batch);
    }
    pending.phase = batch;
    batch.writes.push(pending);
  }

  #flushForwards(): void {
    const batches = this.#forwards;
    this.#forwards = [];
    for (const batch of batches) {
      // A write may have been finished, or gone another way, since it was put there.
      const writes = batch.writes.filter((pending) => pending.phase === batch);
      for (const part of inParts(writes)) void this.#sendForward(batch, part);
    }
  }

  async #sendForward(batch: Forwarded, writes: readonly Pending[]): Promise<void> {
    for (const pending of writes) pending.takenCount += 1;
    const body = { writes: packPayloads(writes.map(({ payload }) => payload)) };
    const result = await this.#host.forward(batch.leader, body, FORWARD_TIMEOUT_MS);
    if (!result.ok) this.#failed(batch, writes, result.error); // Else they come back as entries.
  }

  async #ask(pending: Pending, phase: Asked): Promise<void> {
    pending.phase = phase;
    pending.takenCount += 1;
    const timeoutMs = Math.max(1, Math.ceil(pending.deadlineMs - this.#host.nowMs()));
    const body = { writes: packPayloads([pending.payload]), outcome: true };
    const result = await this.#host.forward(phase.leader, body, timeoutMs);
    if (!result.ok) this.#failed(phase, [pending], result.error);
    else if (pending.phase === phase) this.#finish(pending, ok(result.value["outcome"]));
  }

  #failed(phase: Phase, writes: readonly Pending[], error: CallFailure): void {
    const isOverloaded = error.kind === "refused" && error.reason === "overloaded";
    for (const pending of writes) {
      if (isNotTaken(error)) pending.takenCount -= 1;
      if (pending.phase !== phase) continue;
      // The next tick tries again. A write that another leader may have has to be found out.
      pending.phase = WAITING;
      if (isOverloaded && pending.takenCount === 0) {
        this.#finish(pending, err(overloaded(error.detail)));
      }
    }
  }

  #enqueue(item: { readonly write: Pending | undefined; readonly entry: ProposedEntry }): void {
    if (this.#outbox.length === 0) this.#host.soon(() => this.#flush());
    this.#outbox.push(item);
  }

  #flush(): void {
    const batch = this.#outbox;
    this.#outbox = [];
    const result = this.#host.propose(batch.map((item) => item.entry));
    if (result.ok) {
      for (const { write } of batch) if (write !== undefined) write.takenCount += 1;
      this.#served.accepted();
      return;
    }
    const isBusy = result.error.kind === "dropped" && result.error.reason === "too_busy";
    const busy = "the leader has too many writes under way";
    for (const { write } of batch) {
      if (write?.phase.kind !== "proposed") continue;
      write.phase = WAITING;
      if (isBusy && write.takenCount === 0) this.#finish(write, err(overloaded(busy)));
    }
    this.#served.refused(
      isBusy ? refuse("overloaded", busy) : refuse("not_leader", "leadership is being handed over"),
    );
  }

  #finish(pending: Pending, result: Result<unknown, ClusterFailure>): void {
    pending.phase = WAITING;
    if (!this.#pending.delete(pending.request)) return;
    for (const waiter of pending.waiters) waiter(result);
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

/** `writes` in order, in parts that one message holds; a larger one travels alone. */
function inParts(writes: readonly Pending[]): readonly (readonly Pending[])[] {
  const parts: Pending[][] = [];
  let sizeBytes = Number.POSITIVE_INFINITY;
  for (const pending of writes) {
    sizeBytes += pending.payload.length;
    if (sizeBytes > MESSAGE_SIZE_MAX_BYTES) {
      parts.push([]);
      sizeBytes = pending.payload.length;
    }
    parts.at(-1)?.push(pending);
  }
  return parts;
}

/** `failure` of a write that may have left this node: of a kind that promises nothing. */
function undetermined({ detail }: ClusterFailure): ClusterFailure {
  const warning = "the write may still happen";
  return { kind: "timeout", detail: detail.includes(warning) ? detail : `${detail}; ${warning}` };
}

function refuse(reason: string, detail: string): CallAnswer {
  return err({ reason, detail });
}

function overloaded(state: string): ClusterFailure {
  return { kind: "overloaded", detail: `Cannot write to the cluster: ${state}; try again shortly` };
}
