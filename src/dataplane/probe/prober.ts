/**
 * The watch over all peers: whose turn it is, within what all of them together may cost.
 *
 * Each peer has its own times (peer-path.ts); they start spread over one interval and are jittered,
 * so that a thousand peers are not asked at the same moment. All questions together are bounded by
 * a token bucket: when there are more peers in use than it has room for, rounds come later and no
 * peer is left out, since the walk goes on where it ended.
 *
 * Pure: told the time, calls `send`.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { PROBE_SIZE } from "./frame.ts";
import { REPORT, REPORT_KIND } from "./mail.ts";
import type { MtuHint } from "./path-mtu.ts";
import { IDLE_INTERVAL_MS, IN_USE_INTERVAL_MS, PeerPath, type Question } from "./peer-path.ts";
import type { PeersBySlot, ProbePeer } from "./peer-table.ts";
import { WatchColumns } from "./watch-columns.ts";

/** Questions a second in the long run, to all peers together. */
export const QUESTIONS_PER_SECOND_MAX = 1000;
/** Questions at once: more would wait for each other, and their round trips be that wait. */
export const QUESTION_BURST_MAX = 30;
/** When there were more to ask, the others' turn comes after this. */
const NEXT_BURST_MS = 20;
/** Without a packet for this long a peer is idle. */
export const IDLE_AFTER_MS = 10_000;
/** How far a round may come early, as a part of its interval. */
const JITTER_FRACTION = 0.1;
/** The first round to a new peer comes within this. */
const FIRST_ROUND_MS = 500;

const EMSGSIZE = 90;

export interface ProberOptions {
  readonly linkMtu: number;
  /** Outer IP and UDP headers of the underlay in bytes. */
  readonly overhead: number;
  /** An integer from 0 to `limit` − 1. */
  readonly below: (limit: number) => number;
  /** Sends a question; false when it cannot be taken now, and then it counts as sent and lost. */
  readonly send: (slot: number, question: Question, told: number, token: number) => boolean;
  /** Inner packets that went to and came from the peer with `slot` so far. */
  readonly traffic: (slot: number) => number;
  readonly hintMtu?: MtuHint;
  /** Called when what is known of the path to the peer with `slot` has changed. */
  readonly onPath: (slot: number, path: KnownPath) => void;
}

/** What the packet loop needs to know of a path. */
export interface KnownPath {
  /** Most bytes of a datagram's payload. */
  readonly payloadMax: number;
  /** Path MTU that was found, 0 for none. */
  readonly found: number;
}

/** An answer to a question that somebody asked for, or why there is none. */
export type PingOutcome =
  | { readonly kind: "answered"; readonly roundTripMs: number }
  | { readonly kind: "refused"; readonly errno: number }
  /** It could not even be tried. */
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "lost" };

interface Ping {
  readonly slot: number;
  readonly untilMs: number;
  readonly done: (outcome: PingOutcome) => void;
}

/** Watches the peers of one node, each by its counter slot. */
export class Prober {
  /** Whether answers may come, as of the last `tick`. */
  isAwaiting = false;
  /** Grows whenever a peer begins or ceases to answer, or its path carries another size. */
  changeCount = 0;
  readonly #options: ProberOptions;
  readonly #columns = new WatchColumns();
  readonly #pings = new Map<string, Ping>();
  #linkMtu: number;
  /** The slot that the walk goes on from. */
  #next = 0;
  /** Peers with a round under way. */
  #askingCount = 0;
  #tokens = QUESTION_BURST_MAX;
  #filledMs: number;
  #sampledMs: number;

  constructor(options: ProberOptions, nowMs: number) {
    this.#options = options;
    this.#linkMtu = options.linkMtu;
    this.#filledMs = nowMs;
    this.#sampledMs = nowMs;
  }

  /** The peers from now on. Who stays as he was keeps what was measured. */
  setPeers(peers: PeersBySlot, nowMs: number): void {
    const columns = this.#columns;
    columns.reserve(peers.length);
    for (let slot = 0; slot < columns.count; slot++) {
      const [known, peer] = [columns.peers[slot], peers[slot]];
      if (known !== undefined && !isSame(known, peer)) this.#forget(slot);
      if (peer === undefined) continue;
      if (columns.paths[slot] === undefined) this.#watch(slot, { nowMs, count: peers.length });
      columns.peers[slot] = peer;
    }
  }

  /** The underlay link carries `linkMtu` from now on: every path is looked at anew. */
  setLinkMtu(linkMtu: number, nowMs: number): void {
    if (linkMtu === this.#linkMtu) return;
    this.#linkMtu = linkMtu;
    for (const [slot, path] of this.#columns.paths.entries()) {
      if (path === undefined) continue;
      path.setLinkMtu(linkMtu, nowMs);
      this.#settle(slot, path);
    }
  }

  /** What is known of the way to `slot`'s peer. Borrowed: it changes with the next `tick`. */
  path(slot: number): PeerPath | undefined {
    return this.#columns.paths[slot];
  }

  /** Looks at once whether the path to `slot` carries more than was found. */
  raise(slot: number, nowMs: number): void {
    const path = this.#columns.paths[slot];
    if (path === undefined) return;
    path.raise(nowMs);
    this.#settle(slot, path);
  }

  /**
   * Asks the peer with `slot` once, outside of the rounds; `done` is called once, from a later
   * `tick` or `report`. False when there is no such peer.
   */
  ping(slot: number, request: { nowMs: number; timeoutMs: number }, done: Ping["done"]): boolean {
    const path = this.#columns.paths[slot];
    if (path === undefined) return false;
    const sequence = path.nextSequence();
    const untilMs = request.nowMs + request.timeoutMs;
    this.#pings.set(pingKey(slot, sequence), { slot, untilMs, done });
    this.#send(slot, path, { sequence, size: PROBE_SIZE, isWhole: false });
    return true;
  }

  /** Gives up on every ping. */
  close(): void {
    this.#expirePings(Number.POSITIVE_INFINITY);
  }

  /** Takes what the packet loop tells (REPORT). */
  report(report: Float64Array, nowMs: number): void {
    const slot = report[REPORT.SLOT]!;
    const path = this.#columns.paths[slot];
    // A token of another life, or of somebody who guesses: not our question.
    if (path === undefined || report[REPORT.TOKEN] !== this.#columns.token[slot]) return;
    const sequence = report[REPORT.SEQUENCE]!;
    const key = pingKey(slot, sequence);
    const ping = this.#pings.get(key);
    this.#pings.delete(key);
    if (report[REPORT.KIND] === REPORT_KIND.REFUSED) {
      const errno = report[REPORT.ERRNO]!;
      path.refused(sequence, errno === EMSGSIZE, nowMs);
      ping?.done({ kind: "refused", errno });
    } else {
      const roundTripMs = report[REPORT.ROUND_TRIP_MS]!;
      const answer = { sequence, size: report[REPORT.SIZE]!, roundTripMs };
      path.told = report[REPORT.TOLD]!;
      path.answered(answer, nowMs);
      ping?.done({ kind: "answered", roundTripMs });
    }
    this.#settle(slot, path);
  }

  /** Does what is due. When to call again, at the latest; earlier while answers are awaited. */
  tick(nowMs: number): number {
    this.#expirePings(nowMs);
    this.#sampleTraffic(nowMs);
    this.#fill(nowMs);
    const nextMs = this.#walk(nowMs);
    this.isAwaiting = nextMs === undefined || this.#askingCount > 0 || this.#pings.size > 0;
    if (nextMs === undefined) return nowMs + NEXT_BURST_MS;
    let dueMs = nextMs;
    for (const { untilMs } of this.#pings.values()) dueMs = Math.min(dueMs, untilMs);
    return dueMs;
  }

  /** Lets every path act that is due. When the next one is; undefined: there is more to ask now. */
  #walk(nowMs: number): number | undefined {
    const { dueMs, paths, count } = this.#columns;
    let nextMs = Number.POSITIVE_INFINITY;
    const first = this.#next < count ? this.#next : 0;
    for (let i = 0; i < count; i++) {
      const slot = first + i < count ? first + i : first + i - count;
      const path = dueMs[slot]! <= nowMs ? paths[slot] : undefined;
      if (path !== undefined && !this.#act(slot, path, nowMs)) {
        this.#next = slot;
        return undefined;
      }
      if (dueMs[slot]! < nextMs) nextMs = dueMs[slot]!;
    }
    return nextMs;
  }

  /** False when there is no token for it. */
  #act(slot: number, path: PeerPath, nowMs: number): boolean {
    if (this.#tokens < 1) return false;
    const interval = path.isInUse ? IN_USE_INTERVAL_MS : IDLE_INTERVAL_MS;
    const jitterMs = this.#options.below(Math.ceil(interval * JITTER_FRACTION));
    for (const question of path.step(nowMs, jitterMs)) {
      this.#tokens--;
      this.#send(slot, path, question);
    }
    this.#settle(slot, path);
    return true;
  }

  #send(slot: number, path: PeerPath, question: Question): void {
    this.#options.send(slot, question, path.mtu.found ?? 0, this.#columns.token[slot]!);
  }

  #watch(slot: number, { nowMs, count }: { nowMs: number; count: number }): void {
    const { overhead, below, hintMtu } = this.#options;
    // Many at once, at start: as far apart as their rounds will be.
    const spreadMs = Math.max(FIRST_ROUND_MS, Math.min(IDLE_INTERVAL_MS, count * 5));
    const path = new PeerPath({
      linkMtu: this.#linkMtu,
      overhead,
      firstSequence: below(2 ** 32),
      firstMs: nowMs + below(spreadMs),
      slot,
      hintMtu,
    });
    const columns = this.#columns;
    columns.paths[slot] = path;
    columns.token[slot] = below(2 ** 32);
    columns.traffic[slot] = this.#options.traffic(slot);
    columns.movedMs[slot] = Number.NEGATIVE_INFINITY;
    this.#settle(slot, path);
  }

  #forget(slot: number): void {
    const columns = this.#columns;
    this.#askingCount -= columns.isAsking[slot]!;
    columns.clear(slot);
    this.changeCount++;
  }

  /** Notes what a path has become; tells the packet loop what fits, when that has changed. */
  #settle(slot: number, path: PeerPath): void {
    const columns = this.#columns;
    const { payloadMax, dueMs } = path;
    const found = path.mtu.found ?? 0;
    assert(payloadMax > 0, "a path must carry more than its headers");
    columns.dueMs[slot] = dueMs;
    const isAsking = path.isAsking ? 1 : 0;
    this.#askingCount += isAsking - columns.isAsking[slot]!;
    columns.isAsking[slot] = isAsking;
    const isAnswering = path.isAnswering ? 1 : 0;
    const isSameSize = payloadMax === columns.payloadMax[slot] && found === columns.found[slot];
    if (isSameSize && isAnswering === columns.isAnswering[slot]) return;
    this.changeCount++;
    columns.isAnswering[slot] = isAnswering;
    columns.payloadMax[slot] = payloadMax;
    columns.found[slot] = found;
    if (!isSameSize) this.#options.onPath(slot, { payloadMax, found });
  }

  #sampleTraffic(nowMs: number): void {
    if (nowMs - this.#sampledMs < IN_USE_INTERVAL_MS) return;
    this.#sampledMs = nowMs;
    const { traffic, movedMs, paths } = this.#columns;
    for (const [slot, path] of paths.entries()) {
      if (path === undefined) continue;
      const now = this.#options.traffic(slot);
      if (now !== traffic[slot]) {
        traffic[slot] = now;
        movedMs[slot] = nowMs;
      }
      const isInUse = nowMs - movedMs[slot]! < IDLE_AFTER_MS;
      if (isInUse === path.isInUse) continue;
      path.setInUse(isInUse, nowMs + this.#options.below(FIRST_ROUND_MS));
      this.#settle(slot, path);
    }
  }

  #expirePings(nowMs: number): void {
    for (const [key, ping] of this.#pings) {
      if (ping.untilMs > nowMs) continue;
      this.#pings.delete(key);
      ping.done({ kind: "lost" });
    }
  }

  #fill(nowMs: number): void {
    const earned = ((nowMs - this.#filledMs) * QUESTIONS_PER_SECOND_MAX) / 1000;
    this.#tokens = Math.min(QUESTION_BURST_MAX, this.#tokens + earned);
    this.#filledMs = nowMs;
  }
}

/** Whether what was measured still counts: the same peer, reached in the same way. */
function isSame(known: ProbePeer, peer: ProbePeer | undefined): boolean {
  if (known === peer) return true;
  const [a, b] = [known.endpoint, peer?.endpoint];
  return known.peer === peer?.peer && a.address === b?.address && a.port === b.port;
}

function pingKey(slot: number, sequence: number): string {
  return `${slot}/${sequence}`;
}
