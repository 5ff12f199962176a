/**
 * What the prober keeps of its peers, in columns by counter slot: to look through ten thousand
 * objects many times a second would cost more than all questions, and they take several times the
 * memory.
 *
 * Columns grow and never shrink, since slots are given out again.
 *
 * @module
 */
import type { PeerPath } from "./peer-path.ts";
import type { ProbePeer } from "./peer-table.ts";

const COUNT_MIN = 16;

/** Watched peers by slot. A slot without one has no path and is never due. */
export class WatchColumns {
  readonly peers: (ProbePeer | undefined)[] = [];
  readonly paths: (PeerPath | undefined)[] = [];
  /** When the path can do something next, in milliseconds. */
  dueMs = new Float64Array();
  /** 1 while an answer of a round may still come. */
  isAsking = new Uint8Array();
  /** 1 while the peer answers. */
  isAnswering = new Uint8Array();
  /** What the questions carry, so that nobody else can answer them. */
  token = new Uint32Array();
  /** Inner packets as of the last look. */
  traffic = new Float64Array();
  /** When they were last seen to have grown, in milliseconds. */
  movedMs = new Float64Array();
  /** As `KnownPath` has them: what the packet loop was told last; 0 before. */
  payloadMax = new Uint16Array();
  found = new Uint16Array();

  /** How many slots there is room for. */
  get count(): number {
    return this.dueMs.length;
  }

  /** Makes room for `count` slots. */
  reserve(count: number): void {
    if (count <= this.count) return;
    const room = Math.max(COUNT_MIN, count, this.count * 2);
    const before = this.dueMs;
    this.dueMs = new Float64Array(room).fill(Number.POSITIVE_INFINITY);
    this.dueMs.set(before);
    this.isAsking = grown(this.isAsking, new Uint8Array(room));
    this.isAnswering = grown(this.isAnswering, new Uint8Array(room));
    this.token = grown(this.token, new Uint32Array(room));
    this.traffic = grown(this.traffic, new Float64Array(room));
    this.movedMs = grown(this.movedMs, new Float64Array(room));
    this.payloadMax = grown(this.payloadMax, new Uint16Array(room));
    this.found = grown(this.found, new Uint16Array(room));
  }

  /** `slot` is nobody's. */
  clear(slot: number): void {
    this.peers[slot] = undefined;
    this.paths[slot] = undefined;
    this.dueMs[slot] = Number.POSITIVE_INFINITY;
    this.isAsking[slot] = 0;
    this.isAnswering[slot] = 0;
    this.payloadMax[slot] = 0;
    this.found[slot] = 0;
  }
}

/** `to`, which is longer, with the content of `from`. */
function grown<Column extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(
  from: Column,
  to: Column,
): Column {
  to.set(from);
  return to;
}
