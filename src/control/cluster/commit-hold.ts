/**
 * Appends that carry nothing but a new commit index, held back for a moment.
 *
 *     entries 1..9 acknowledged --> [append, no entries, commit 9] held
 *     next write within the hold --> [append, entry 10, commit 9] goes instead of it
 *     nothing else in time       --> it goes by itself
 *
 * With one writer the next write nearly always comes in time, so half of all messages between
 * leader and followers are saved, and the writer's answer does not wait until they are encrypted.
 * Nobody depends on the moment: to the core a held message is a slow one. Who does wait for the
 * commit index, a follower whose own write or read is being answered, gets it before the answer.
 *
 * Stands between the driver and the transport; knows nothing of either's insides.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import type { Clock } from "../../host/ports.ts";
import type { AppendRequest, PeerMessage } from "../raft/types.ts";
import { COMMIT_HOLD_MS } from "./limits.ts";
import type { PeerReceiver, Transport } from "./peer-port.ts";

/** `inner` with commit-only appends held back for at most `COMMIT_HOLD_MS`. */
export function holdCommits(inner: Transport, clock: Clock): Transport {
  return new CommitHold(inner, clock);
}

class CommitHold implements Transport {
  readonly #inner: Transport;
  readonly #clock: Clock;
  /** At most one for each peer: the newest. */
  readonly #held = new Map<NodeId, AppendRequest>();
  #isTimed = false;

  constructor(inner: Transport, clock: Clock) {
    this.#inner = inner;
    this.#clock = clock;
  }

  attach(receiver: PeerReceiver): void {
    this.#inner.attach({
      receive: (message) => receiver.receive(message),
      receiveSnapshot: (message, body) => receiver.receiveSnapshot(message, body),
      unreachable: (node) => receiver.unreachable(node),
      closed: (node) => receiver.closed(node),
      expelled: () => receiver.expelled(),
      answer: async (from, method, body) => {
        const answer = await receiver.answer(from, method, body);
        this.#release(from);
        return answer;
      },
    });
  }

  send(message: PeerMessage): void {
    const { to } = message;
    const held = this.#held.get(to);
    if (held !== undefined) {
      this.#held.delete(to);
      if (!covers(message, held)) this.#inner.send(held);
    }
    if (message.kind !== "append_request" || message.entries.length > 0) {
      this.#inner.send(message);
      return;
    }
    this.#held.set(to, message);
    if (this.#isTimed) return;
    this.#isTimed = true;
    this.#clock.after(COMMIT_HOLD_MS, () => {
      this.#isTimed = false;
      for (const node of [...this.#held.keys()]) this.#release(node);
    });
  }

  sendSnapshot(...args: Parameters<Transport["sendSnapshot"]>): Promise<boolean> {
    return this.#inner.sendSnapshot(...args);
  }

  call(...args: Parameters<Transport["call"]>): ReturnType<Transport["call"]> {
    return this.#inner.call(...args);
  }

  #release(node: NodeId): void {
    const held = this.#held.get(node);
    if (held === undefined) return;
    this.#held.delete(node);
    this.#inner.send(held);
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
