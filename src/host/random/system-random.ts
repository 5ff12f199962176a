/**
 * The `Random` port on the kernel's generator.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { Random } from "../ports.ts";

const U32_COUNT = 2 ** 32;

/** Randomness of this machine, fit for keys. */
export function openSystemRandom(): Random {
  return {
    bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
    below(limit) {
      assert(Number.isSafeInteger(limit) && limit > 0 && limit <= U32_COUNT, "limit out of range");
      const word = crypto.getRandomValues(new Uint32Array(1))[0]!;
      // Scaling favours no value by more than limit / 2^32: enough for jitter.
      return Math.floor((word / U32_COUNT) * limit);
    },
  };
}
