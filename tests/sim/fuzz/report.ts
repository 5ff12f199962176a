/**
 * What a round of hostile input came to.
 *
 * @module
 */

/** How often what happened. */
export type Tally = Map<string, number>;

export interface RoundReport {
  /** Datagrams and frames that were fed. */
  readonly cases: number;
  readonly tally: Tally;
}

/** A round that failed: what is wrong, and the input of the burst in which it was seen. */
export class FuzzFailure extends Error {
  /** One line each, bytes in hexadecimal. */
  readonly input: readonly string[];

  constructor(message: string, input: readonly string[]) {
    super(message);
    this.input = input;
  }
}
