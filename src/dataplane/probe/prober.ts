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
import type { NodeId } from "../../base/ids.ts";
import { PROBE_SIZE } from "./frame.ts";
import { REPORT, REPORT_KIND } from "./mail.ts";
import { IDLE_INTERVAL_MS, IN_USE_INTERVAL_MS, PeerPath, type Question } from "./peer-path.ts";

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

/** A peer as the prober is told of it. */
export interface ProbedPeer {
  readonly peer: NodeId;
  /** Its counter slot: how the packet loop calls it. */
  readonly slot: number;
  /** Changes when the peer is reached in another way: what was measured counts no more. */
  readonly endpointKey: string;
}

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
  /** What the kernel believes that the path to a peer carries, in bytes; 0 for nothing. */
  readonly hintMtu?: (peer: NodeId) => number;
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

interface Watched extends ProbedPeer {
  readonly path: PeerPath;
  readonly token: number;
  traffic: number;
  movedMs: number;
  payloadMax: number;
  found: number;
}

/** Watches the peers of one node. */
export class Prober {
  /** Whether answers may come, as of the last `tick`. */
  isAwaiting = false;
  readonly #options: ProberOptions;
  readonly #peers = new Map<NodeId, Watched>();
  /** The same by slot, for reports. */
  readonly #bySlot = new Map<number, Watched>();
  readonly #pings = new Map<string, Ping>();
  #linkMtu: number;
  #order: Watched[] = [];
  #next = 0;
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
  setPeers(peers: readonly ProbedPeer[], nowMs: number): void {
    const known = new Map(this.#peers);
    this.#peers.clear();
    this.#bySlot.clear();
    for (const peer of peers) {
      const old = known.get(peer.peer);
      const isSame = old?.slot === peer.slot && old.endpointKey === peer.endpointKey;
      const watched = isSame ? old : this.#watch(peer, nowMs, peers.length);
      this.#peers.set(peer.peer, watched);
      this.#bySlot.set(peer.slot, watched);
    }
    this.#order = [...this.#peers.values()];
    this.#next = 0;
  }

  /** The underlay link carries `linkMtu` from now on: every path is looked at anew. */
  setLinkMtu(linkMtu: number, nowMs: number): void {
    if (linkMtu === this.#linkMtu) return;
    this.#linkMtu = linkMtu;
    for (const watched of this.#order) {
      watched.path.setLinkMtu(linkMtu, nowMs);
      this.#publish(watched);
    }
  }

  /** What is known of the way to `peer`. Borrowed: it changes with the next `tick`. */
  path(peer: NodeId): PeerPath | undefined {
    return this.#peers.get(peer)?.path;
  }

  /**
   * Asks `peer` once, outside of the rounds; `done` is called once, from a later `tick` or
   * `report`. False when there is no such peer.
   */
  ping(peer: NodeId, request: { nowMs: number; timeoutMs: number }, done: Ping["done"]): boolean {
    const watched = this.#peers.get(peer);
    if (watched === undefined) return false;
    const sequence = watched.path.nextSequence();
    const key = pingKey(watched.slot, sequence);
    const untilMs = request.nowMs + request.timeoutMs;
    this.#pings.set(key, { slot: watched.slot, untilMs, done });
    this.#send(watched, { sequence, size: PROBE_SIZE, isWhole: false });
    return true;
  }

  /** Gives up on every ping. */
  close(): void {
    this.#expirePings(Number.POSITIVE_INFINITY);
  }

  /** Takes what the packet loop tells (REPORT). */
  report(report: Float64Array, nowMs: number): void {
    const watched = this.#bySlot.get(report[REPORT.SLOT]!);
    // A token of another life, or of somebody who guesses: not our question.
    if (watched === undefined || report[REPORT.TOKEN] !== watched.token) return;
    const { path } = watched;
    const sequence = report[REPORT.SEQUENCE]!;
    const key = pingKey(watched.slot, sequence);
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
    this.#publish(watched);
  }

  /** Does what is due. When to call again, at the latest; earlier while answers are awaited. */
  tick(nowMs: number): number {
    this.#expirePings(nowMs);
    this.#sampleTraffic(nowMs);
    this.#fill(nowMs);
    this.isAwaiting = this.#pings.size > 0;
    let dueMs = Number.POSITIVE_INFINITY;
    const count = this.#order.length;
    const first = this.#next;
    for (let i = 0; i < count; i++) {
      const position = (first + i) % count;
      const watched = this.#order[position]!;
      if (watched.path.dueMs <= nowMs && !this.#act(watched, nowMs)) {
        this.#next = position;
        this.isAwaiting = true;
        return nowMs + NEXT_BURST_MS;
      }
      dueMs = Math.min(dueMs, watched.path.dueMs);
      this.isAwaiting ||= watched.path.isAsking;
    }
    for (const { untilMs } of this.#pings.values()) dueMs = Math.min(dueMs, untilMs);
    return dueMs;
  }

  /** False when there is no token for it. */
  #act(watched: Watched, nowMs: number): boolean {
    if (this.#tokens < 1) return false;
    const interval = watched.path.isInUse ? IN_USE_INTERVAL_MS : IDLE_INTERVAL_MS;
    const jitterMs = this.#options.below(Math.ceil(interval * JITTER_FRACTION));
    for (const question of watched.path.step(nowMs, jitterMs)) {
      this.#tokens--;
      this.#send(watched, question);
    }
    this.#publish(watched);
    return true;
  }

  #send({ slot, path, token }: Watched, question: Question): void {
    this.#options.send(slot, question, path.mtu.found ?? 0, token);
  }

  #watch(peer: ProbedPeer, nowMs: number, count: number): Watched {
    const { overhead, below } = this.#options;
    // Many at once, at start: as far apart as their rounds will be.
    const spreadMs = Math.max(FIRST_ROUND_MS, Math.min(IDLE_INTERVAL_MS, count * 5));
    const path = new PeerPath({
      linkMtu: this.#linkMtu,
      overhead,
      firstSequence: below(2 ** 32),
      firstMs: nowMs + below(spreadMs),
      hintMtu: () => this.#options.hintMtu?.(peer.peer) ?? 0,
    });
    const token = below(2 ** 32);
    const traffic = this.#options.traffic(peer.slot);
    const movedMs = Number.NEGATIVE_INFINITY;
    const watched = { ...peer, path, token, traffic, movedMs, payloadMax: 0, found: 0 };
    this.#publish(watched);
    return watched;
  }

  /** Tells the packet loop what fits, when that has changed. */
  #publish(watched: Watched): void {
    const { payloadMax, mtu } = watched.path;
    const found = mtu.found ?? 0;
    assert(payloadMax > 0, "a path must carry more than its headers");
    if (payloadMax === watched.payloadMax && found === watched.found) return;
    watched.payloadMax = payloadMax;
    watched.found = found;
    this.#options.onPath(watched.slot, { payloadMax, found });
  }

  #sampleTraffic(nowMs: number): void {
    if (nowMs - this.#sampledMs < IN_USE_INTERVAL_MS) return;
    this.#sampledMs = nowMs;
    for (const watched of this.#order) {
      const traffic = this.#options.traffic(watched.slot);
      if (traffic !== watched.traffic) {
        watched.traffic = traffic;
        watched.movedMs = nowMs;
      }
      const isInUse = nowMs - watched.movedMs < IDLE_AFTER_MS;
      if (isInUse === watched.path.isInUse) continue;
      watched.path.setInUse(isInUse, nowMs + this.#options.below(FIRST_ROUND_MS));
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

function pingKey(slot: number, sequence: number): string {
  return `${slot}/${sequence}`;
}
