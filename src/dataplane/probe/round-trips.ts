/**
 * Round trips and losses of one peer's probes.
 *
 * The smoothed round trip is RFC 6298's (§2, α = 1/8). Loss is counted over the last WINDOW
 * probes, so it forgets an outage after half a minute of answers to a peer in use.
 *
 * Pure.
 *
 * @module
 */

/** Probes over which loss is counted. */
export const LOSS_WINDOW = 30;

const ALPHA = 1 / 8;

/** One peer's figures; undefined until there is one. */
export class RoundTrips {
  lastMs: number | undefined = undefined;
  smoothedMs: number | undefined = undefined;
  minMs: number | undefined = undefined;
  /** Probes without an answer since the last one that had one. */
  lostInRow = 0;
  /** Answers ever. */
  answeredCount = 0;
  /** The last probes, the newest in bit 0: 1 is lost. */
  #losses = 0;
  #count = 0;

  answered(roundTripMs: number): void {
    this.#push(0);
    this.lostInRow = 0;
    this.answeredCount++;
    this.lastMs = roundTripMs;
    this.minMs = Math.min(roundTripMs, this.minMs ?? roundTripMs);
    const smoothed = this.smoothedMs ?? roundTripMs;
    this.smoothedMs = smoothed + (roundTripMs - smoothed) * ALPHA;
  }

  lost(): void {
    this.#push(1);
    this.lostInRow++;
  }

  /** Part of the last probes that had no answer, 0 to 100; undefined before the first. */
  get lossPercent(): number | undefined {
    if (this.#count === 0) return undefined;
    let lost = 0;
    for (let bits = this.#losses; bits !== 0; bits &= bits - 1) lost++;
    return (100 * lost) / this.#count;
  }

  #push(bit: number): void {
    this.#losses = ((this.#losses << 1) | bit) & (2 ** LOSS_WINDOW - 1);
    this.#count = Math.min(this.#count + 1, LOSS_WINDOW);
  }
}
