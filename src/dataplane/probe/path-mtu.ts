/**
 * The search for one peer's path MTU, by probes alone (RFC 8899: packetization layer path MTU
 * discovery for datagrams). ICMP is not needed: many paths lose it, and anybody can forge it.
 *
 *    fresh ──max answered──────────────────────────────────► complete at max
 *      └──max missed──► searching ──nothing left between──► complete below max
 *    complete ──its own size missed──► searching, from the floors up   (a black hole, §4.3)
 *    complete ──`raise`──► searching, the found one kept                (PMTU_RAISE_TIMER, §5.1.1)
 *
 * RFC 8899 starts at a base and goes up; here the first try is the link's own MTU, since it is
 * what most paths carry, and one answer ends the search. Below it comes what the kernel believes
 * (a hint, and proven like any other size), then sizes that are usual on the way, then halves,
 * until the size is known to the byte.
 *
 * Sizes are whole outer packets in bytes. The caller tells a loss only when the peer answered
 * something smaller meanwhile: a dead peer is no small path. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";

/** Where a search starts when the link's own MTU does not pass (RFC 8899 §5.1.2, BASE_PLPMTU). */
export const PATH_MTU_BASE = 1280;
/** And where it gives up: the datagram that every IPv4 host takes (RFC 791 §3.2). */
export const PATH_MTU_MIN = 576;

/** IP MTUs that are met: tunnels, PPPoE, WireGuard, VXLAN, clouds' and switches' jumbo frames. */
const USUAL = [
  576, 1006, 1280, 1350, 1380, 1400, 1420, 1440, 1450, 1460, 1476, 1480, 1492, 1500, 2304, 4352,
  4470, 7981, 8500, 8950, 8981, 9000, 9001, 9216, 16_110, 32_000, 65_535,
] as const;

/** What the kernel believes that the path to the peer with `slot` carries, bytes; 0 for nothing. */
export type MtuHint = (slot: number) => number;

/** One peer's search. */
export class PathMtu {
  readonly #hint: MtuHint;
  readonly #slot: number;
  #max: number;
  /** Largest size that was answered; 0 for none. */
  #low = 0;
  /** Smallest size known not to pass; above `#max` while there is none. */
  #high: number;
  /** Size to try now; 0 when there is nothing to find out. */
  #candidate: number;
  #misses = 0;
  /** Whether the path is known to carry less than the link. */
  #isNarrow = false;
  /** Times that a size stopped passing that had passed. */
  blackHoleCount = 0;

  /** For the path to `slot`, whose first link carries `max`; all paths share one `hint`. */
  constructor(max: number, hint: MtuHint = noHint, slot = 0) {
    assert(max > 0, "the link must carry something");
    this.#hint = hint;
    this.#slot = slot;
    this.#max = max;
    this.#high = max + 1;
    this.#candidate = max;
  }

  /** The size that was found; undefined until one was answered. */
  get found(): number | undefined {
    return this.#low === 0 ? undefined : this.#low;
  }

  /** Largest packet that should be sent: the link's own until the path is known to carry less. */
  get limit(): number {
    if (!this.#isNarrow) return this.#max;
    return this.#low > 0 ? this.#low : this.#floor();
  }

  /** Size to try next; 0 when the search is complete. */
  get candidate(): number {
    return this.#candidate;
  }

  /** Whether `found` is less than the link carries. */
  get isNarrow(): boolean {
    return this.#isNarrow;
  }

  /** Whether the found size was missed last, and not often enough to give it up. */
  get isDoubted(): boolean {
    return this.#candidate === 0 && this.#misses > 0;
  }

  /** A probe of `size` was answered. */
  answered(size: number): void {
    if (size > this.#max) return;
    if (size >= this.#high) this.#high = this.#max + 1; // It passes now, whatever was before.
    if (size > this.#low) this.#low = size;
    if (size === this.#low) this.#misses = 0;
    if (this.#low === this.#max) this.#isNarrow = false;
    if (this.#candidate !== 0 && this.#low >= this.#candidate) this.#choose();
  }

  /** A probe of `size` was lost on a path that carries smaller ones; `missMax` in a row count. */
  missed(size: number, missMax: number): void {
    const isConfirming = this.#candidate === 0 && size === this.#low;
    if (size !== this.#candidate && !isConfirming) return;
    if (++this.#misses >= missMax) this.refused(size);
  }

  /** `size` cannot be sent at all, or was missed often enough. */
  refused(size: number): void {
    if (size >= this.#high || size > this.#max) return;
    this.#misses = 0;
    this.#isNarrow = true;
    this.#high = size;
    if (this.#low >= size) {
      this.#low = 0;
      this.blackHoleCount++;
    }
    this.#choose();
  }

  /** Looks whether the path carries more by now; a search in progress begins again at the top. */
  raise(): void {
    if (this.#low === this.#max) return;
    this.#high = this.#max + 1;
    this.#misses = 0;
    this.#candidate = this.#max;
  }

  /** The first link carries `max` from now on: what was known may be wrong. */
  restart(max: number): void {
    this.#max = max;
    this.#low = 0;
    this.#high = max + 1;
    this.#candidate = max;
    this.#misses = 0;
    this.#isNarrow = false;
  }

  #choose(): void {
    this.#candidate = this.#next();
    this.#misses = 0;
  }

  #next(): number {
    if (this.#high > this.#max) return this.#low === this.#max ? 0 : this.#max;
    const hint = this.#hint(this.#slot);
    if (hint > this.#low && hint < this.#high && hint >= PATH_MTU_MIN) return hint;
    if (this.#low === 0) {
      const floor = this.#floor();
      return floor < this.#high ? floor : 0;
    }
    const [low, high] = [this.#low, this.#high];
    if (high - low <= 1) return 0;
    if (low === hint) return low + 1;
    const between = USUAL.filter((size) => size > low && size < high);
    const middle = between[between.length >> 1];
    return middle ?? (low + high) >> 1;
  }

  /** The size to fall back to while nothing is known to pass. */
  #floor(): number {
    if (PATH_MTU_BASE < this.#high) return Math.min(PATH_MTU_BASE, this.#max);
    return Math.min(PATH_MTU_MIN, this.#max);
  }
}

function noHint(): number {
  return 0;
}
