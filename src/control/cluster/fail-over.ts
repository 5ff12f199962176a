/**
 * Fast fail-over: what a follower does when the leader's connection is closed by the other end.
 *
 * A process that dies has its connections closed by its kernel at once, so its followers need not
 * wait for the election timeout. Each forgets the leader and, after a small random delay, asks
 * for a pre-vote. This cannot disturb a leader that lives (its agent only reconnects): the others
 * refuse while they hear from it, nobody's term moves, and its next heartbeat ends the attempt.
 *
 * Two nodes that ask at the same time split the votes. So a node that has just promised its vote
 * holds back, and an attempt is repeated, with delays that exceed an election's own duration,
 * until there is a leader.
 *
 * @module
 */
import type { Clock, Random } from "../../host/ports.ts";
import {
  FAIL_OVER_ATTEMPTS_MAX,
  FAIL_OVER_DELAY_MAX_MS,
  FAIL_OVER_DELAY_MIN_MS,
  FAIL_OVER_RETRY_MAX_MS,
  FAIL_OVER_RETRY_MIN_MS,
} from "./limits.ts";

/** What the driver lends. */
export interface FailOverHost {
  readonly clock: Clock;
  readonly random: Random;
  hasLeader(): boolean;
  campaign(): void;
}

/** The attempt of one node to replace a leader that is gone. */
export class FailOver {
  readonly #host: FailOverHost;
  #cancel: (() => void) | undefined;
  #attempt = 0;

  constructor(host: FailOverHost) {
    this.#host = host;
  }

  /** The leader is gone, and forgotten. A second call while an attempt runs changes nothing. */
  begin(): void {
    if (this.#cancel !== undefined) return;
    this.#attempt = 0;
    this.#schedule(FAIL_OVER_DELAY_MIN_MS, FAIL_OVER_DELAY_MAX_MS);
  }

  /** An election is under way, here or elsewhere: gives it time. */
  holdBack(): void {
    if (this.#cancel === undefined) return;
    this.#cancel();
    this.#schedule(FAIL_OVER_RETRY_MIN_MS, FAIL_OVER_RETRY_MAX_MS);
  }

  /** Ends the attempt, if there is one. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #schedule(minMs: number, maxMs: number): void {
    const { clock, random } = this.#host;
    this.#cancel = clock.after(minMs + random.below(maxMs - minMs), () => {
      this.#cancel = undefined;
      this.#attempt += 1;
      // After the last attempt the election timeout takes over.
      if (this.#host.hasLeader() || this.#attempt > FAIL_OVER_ATTEMPTS_MAX) return;
      this.#schedule(FAIL_OVER_RETRY_MIN_MS, FAIL_OVER_RETRY_MAX_MS);
      this.#host.campaign();
    });
  }
}
