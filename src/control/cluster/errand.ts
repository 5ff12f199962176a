/**
 * Work that is asked for by events, does not overlap itself, and must not be forgotten.
 *
 * Asked for while it is under way, it runs once more afterwards: what the first run looked at may
 * have changed behind its back. What it could not finish is tried again after a while.
 *
 * @module
 */
import type { Clock } from "../../host/ports.ts";

export interface ErrandOptions {
  readonly clock: Clock;
  readonly retryMs: number;
  /** Does what is to be done. False: not all of it could be done now. Must not reject. */
  readonly run: () => Promise<boolean>;
}

export class Errand {
  readonly #options: ErrandOptions;
  #isRunning = false;
  #isAskedAgain = false;
  #isStopped = false;
  #cancelRetry: () => void = () => undefined;

  constructor(options: ErrandOptions) {
    this.#options = options;
  }

  /** Runs it now, or once more when the present run is over. */
  ask(): void {
    if (this.#isStopped) return;
    if (this.#isRunning) {
      this.#isAskedAgain = true;
      return;
    }
    this.#cancelRetry();
    this.#isRunning = true;
    this.#isAskedAgain = false;
    void this.#options.run().then((isDone) => this.#ended(isDone));
  }

  /** Begins nothing more. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelRetry();
  }

  #ended(isDone: boolean): void {
    const { clock, retryMs } = this.#options;
    this.#isRunning = false;
    if (this.#isAskedAgain) this.ask();
    else if (!isDone && !this.#isStopped) {
      this.#cancelRetry = clock.after(retryMs, () => this.ask());
    }
  }
}
