/**
 * What the core sends to other nodes, without what costs more than it tells.
 *
 * A message costs its sender and its receiver a wakeup each, many times what is in it. Two kinds
 * can be had for less:
 *
 *     leader    entries 1..9 acknowledged  --> [append, no entries, commit 9] held
 *               next write within the hold --> [append, entry 10, commit 9] goes instead of it
 *               whoever waits for commit 9 --> it goes at once (`release`)
 *               nothing else in time       --> it goes by itself
 *     follower  [append, no entries] at the last index that this node acknowledged
 *                                          --> the same acknowledgement is not sent again
 *
 * Raft allows messages to be late or lost, so neither can do harm to safety. Nor to progress: a
 * held message leaves after `COMMIT_HOLD_MS` at most. An acknowledgement is left out only when the
 * one before it said the same and went out on a connection that is still up; only once, so that a
 * leader that asks again is answered; and never when entries came in, since a leader that sends
 * entries again has missed the answer. Whether a follower lives, leaders learn from heartbeats.
 *
 * Stands between the driver and the transport; knows nothing of either's insides.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import type { Clock } from "../../host/ports.ts";
import type { AppendRequest, AppendResponse, EntryId, PeerMessage } from "../raft/types.ts";
import { COMMIT_HOLD_MS } from "./limits.ts";

interface Held {
  message: AppendRequest;
  /** When the first that it replaced, or it itself, has been held for long enough. */
  readonly dueMs: number;
}

/** The messages of one node on their way to its transport. */
export class Outgoing {
  readonly #send: (message: PeerMessage) => void;
  readonly #clock: Clock;
  /** At most one for each peer, the newest; in the order in which they are due. */
  readonly #held = new Map<NodeId, Held>();
  #cancelTimer: (() => void) | undefined;
  /** Where a leader's append without entries began, for as long as nothing else came from it. */
  readonly #asked = new Map<NodeId, EntryId>();
  /** The acknowledgement sent last; forgotten when one like it was left out. */
  readonly #acknowledged = new Map<NodeId, EntryId>();

  constructor(send: (message: PeerMessage) => void, clock: Clock) {
    this.#send = send;
    this.#clock = clock;
  }

  /** Sends `message`, now, or soon, or not at all. */
  send(message: PeerMessage): void {
    const { to } = message;
    const held = this.#held.get(to);
    if (message.kind === "append_request" && message.entries.length === 0) {
      if (held === undefined) this.#hold(message);
      else if (covers(message, held.message)) held.message = message;
      else {
        this.release(to);
        this.#hold(message);
      }
      return;
    }
    if (held !== undefined) {
      if (covers(message, held.message)) this.#held.delete(to);
      else this.release(to);
    }
    if (message.kind === "append_response" && this.#isRepeated(message)) return;
    this.#send(message);
  }

  /** Lets go what is held for `node`: somebody there waits for it. */
  release(node: NodeId): void {
    const held = this.#held.get(node);
    if (held === undefined) return;
    this.#held.delete(node);
    this.#send(held.message);
  }

  /** Lets go everything that is held. */
  releaseAll(): void {
    for (const node of this.#held.keys()) this.release(node);
  }

  /** To be told every message that comes in, before the core is. */
  received(message: PeerMessage): void {
    if (message.kind !== "append_request") return;
    const { from, term, previous, entries } = message;
    if (entries.length > 0) this.#asked.delete(from);
    else this.#asked.set(from, { term, index: previous.index });
  }

  /** What was sent to `node` may be lost. */
  lost(node: NodeId): void {
    this.#acknowledged.delete(node);
  }

  /** Drops what is held. */
  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#held.clear();
  }

  #hold(message: AppendRequest): void {
    const dueMs = this.#clock.nowMs() + COMMIT_HOLD_MS;
    this.#held.set(message.to, { message, dueMs });
    this.#cancelTimer ??= this.#clock.after(COMMIT_HOLD_MS, () => this.#timeIsUp());
  }

  #timeIsUp(): void {
    this.#cancelTimer = undefined;
    const nowMs = this.#clock.nowMs();
    for (const [node, { dueMs }] of this.#held) {
      if (dueMs > nowMs) {
        this.#cancelTimer = this.#clock.after(dueMs - nowMs, () => this.#timeIsUp());
        return;
      }
      this.release(node);
    }
  }

  #isRepeated({ to, term, index, rejected }: AppendResponse): boolean {
    const last = this.#acknowledged.get(to);
    const asked = this.#asked.get(to);
    this.#asked.delete(to);
    if (rejected !== undefined) return false;
    const isSame = last?.term === term && last.index === index;
    if (isSame && asked?.term === term && asked.index === index) {
      this.#acknowledged.delete(to);
      return true;
    }
    this.#acknowledged.set(to, { term, index });
    return false;
  }
}

/** Whether `next` tells its receiver all that `held` would. */
function covers(next: PeerMessage, held: AppendRequest): boolean {
  return (
    next.kind === "append_request" &&
    next.term === held.term &&
    next.commit >= held.commit &&
    next.previous.index >= held.previous.index
  );
}
