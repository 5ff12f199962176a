/**
 * Watches the peers of this node: turns the prober on the agent's clock and answers what people
 * ask about paths. The prober decides (dataplane/probe), the packet loop sends and listens.
 *
 * @module
 */

import type { IpAddress } from "../base/address.ts";
import type { NodeId } from "../base/ids.ts";
import { MAIL_WIDTH } from "../dataplane/probe/mail-ring.ts";
import type { PeerPath } from "../dataplane/probe/peer-path.ts";
import { type PingOutcome, Prober } from "../dataplane/probe/prober.ts";
import type { Clock, Random } from "../host/ports.ts";
import type { ProbeLink } from "./probe-link.ts";

/** How often answers are looked for while some are awaited; round trips do not depend on it. */
const POLL_MS = 50;
/** The same while somebody waits for them. */
const POLL_PING_MS = 10;
/** Longest rest: traffic is looked at once a second. */
const REST_MS = 1000;
/** With thousands of peers one is always about to be due: they are asked together. */
const REST_MIN_MS = 20;
/** Largest IP packet; the loopback's MTU is one byte more. */
const LINK_MTU_MAX = 65_535;

/** What is known of the way to one peer; undefined what is not. */
export interface PathReport {
  readonly rttMs: number | undefined;
  readonly rttMinMs: number | undefined;
  readonly rttLastMs: number | undefined;
  readonly lossPercent: number | undefined;
  /** Outer packet in bytes that the way there carries; undefined until found. */
  readonly pathMtu: number | undefined;
  /** The same for the way back, as the peer says. */
  readonly pathMtuBack: number | undefined;
  /** Whether the way there carries less than the underlay link. */
  readonly isNarrow: boolean;
  /** Largest inner packet that is sent this way, in bytes. */
  readonly innerMtu: number;
  /** Times that large packets stopped coming through. */
  readonly blackHoles: number;
  readonly isInUse: boolean;
  /** Since the last answer. */
  readonly answeredAgoMs: number | undefined;
  /** Since the first question after it that had none; undefined while it answers. */
  readonly silentForMs: number | undefined;
  /** Whether it never answered: a peer of another program, or one that was never reached. */
  readonly isDeaf: boolean;
}

export interface PeerProberOptions {
  readonly link: ProbeLink;
  /** MTU of the underlay link. */
  readonly linkMtu: number;
  /** What the kernel believes of the way to an address; undefined where it has none. */
  readonly hintMtu?: (target: IpAddress) => number | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** The watch of one packet engine. */
export class PeerProber {
  readonly #options: PeerProberOptions;
  readonly #prober: Prober;
  readonly #report = new Float64Array(MAIL_WIDTH);
  #pingCount = 0;
  #overlayMtu = LINK_MTU_MAX;
  #sealOverhead = 0;
  #overlayChangeCount = 0;
  #cancel: () => void = () => undefined;
  #isClosed = false;

  constructor(options: PeerProberOptions) {
    const { link, linkMtu, clock, random } = options;
    this.#options = options;
    this.#prober = new Prober(
      {
        linkMtu: Math.min(linkMtu, LINK_MTU_MAX),
        overhead: link.overhead,
        below: (limit) => random.below(limit),
        send: (slot, question, told, token) => link.ask(slot, question, told, token),
        traffic: (slot) => link.traffic(slot),
        hintMtu: (slot) => {
          const target = link.peers[slot]?.endpoint.address;
          return (target !== undefined && options.hintMtu?.(target)) || 0;
        },
        onPath: (slot, path) => link.setPath(slot, path),
      },
      clock.nowMs(),
    );
  }

  /** What the overlay link carries, and what sealing adds to each packet, in bytes. */
  setOverlay(mtu: number, sealOverhead: number): void {
    if (mtu === this.#overlayMtu && sealOverhead === this.#sealOverhead) return;
    this.#overlayChangeCount++;
    this.#overlayMtu = mtu;
    this.#sealOverhead = sealOverhead;
  }

  /** Watches the peers of the table that was published last. */
  follow(): void {
    const { link, clock } = this.#options;
    this.#prober.setPeers(link.peers, clock.nowMs());
    this.#turn();
  }

  /** The underlay link carries `linkMtu` from now on. */
  setLinkMtu(linkMtu: number): void {
    this.#prober.setLinkMtu(Math.min(linkMtu, LINK_MTU_MAX), this.#options.clock.nowMs());
    this.#turn();
  }

  /** Grows whenever `openMtu` of some peer changes. */
  get changeCount(): number {
    return this.#prober.changeCount + this.#overlayChangeCount;
  }

  /** Largest inner packet to `peer` while it answers, in bytes; 0 while it does not. */
  openMtu(peer: NodeId): number {
    const path = this.#path(peer);
    return path?.isAnswering === true ? this.#innerMtu(path) : 0;
  }

  /** What is known of the way to `peer`; undefined when nobody watches it. */
  path(peer: NodeId): PathReport | undefined {
    const path = this.#path(peer);
    if (path === undefined) return undefined;
    const nowMs = this.#options.clock.nowMs();
    const { trips, mtu } = path;
    const since = (ms: number | undefined) => (ms === undefined ? undefined : nowMs - ms);
    return {
      rttMs: trips.smoothedMs,
      rttMinMs: trips.minMs,
      rttLastMs: trips.lastMs,
      lossPercent: trips.lossPercent,
      pathMtu: mtu.found,
      pathMtuBack: path.told === 0 ? undefined : path.told,
      isNarrow: mtu.isNarrow,
      innerMtu: this.#innerMtu(path),
      blackHoles: mtu.blackHoleCount,
      isInUse: path.isInUse,
      answeredAgoMs: since(path.answeredMs),
      silentForMs: since(path.silentSinceMs),
      isDeaf: path.isDeaf,
    };
  }

  /** Asks `peer` once; undefined when nobody watches it. */
  async ping(peer: NodeId, timeoutMs: number): Promise<PingOutcome | undefined> {
    this.#pingCount++;
    try {
      return await this.ask(peer, timeoutMs);
    } finally {
      this.#pingCount--;
    }
  }

  /** The same for who is in no hurry: the outcome may come some 50 ms late. */
  async ask(peer: NodeId, timeoutMs: number): Promise<PingOutcome | undefined> {
    const { promise, resolve } = Promise.withResolvers<PingOutcome>();
    const request = { nowMs: this.#options.clock.nowMs(), timeoutMs };
    const slot = this.#options.link.slotOf(peer);
    if (slot === undefined || !this.#prober.ping(slot, request, resolve)) return undefined;
    this.#turn();
    return await promise;
  }

  /** Looks at once whether the path to `peer` carries more than was found. */
  raise(peer: NodeId): void {
    const slot = this.#options.link.slotOf(peer);
    if (slot !== undefined) this.#prober.raise(slot, this.#options.clock.nowMs());
    this.#turn();
  }

  /** Stops asking. Who waits for an answer gets none. */
  close(): void {
    this.#isClosed = true;
    this.#cancel();
    this.#prober.close();
  }

  #turn(): void {
    this.#cancel();
    if (this.#isClosed) return;
    const { link, clock } = this.#options;
    const nowMs = clock.nowMs();
    while (link.take(this.#report)) this.#prober.report(this.#report, nowMs);
    const dueMs = this.#prober.tick(nowMs);
    link.wake();
    const pollMs = this.#pingCount > 0 ? POLL_PING_MS : POLL_MS;
    const restMs = Math.max(REST_MIN_MS, dueMs - nowMs);
    const restMaxMs = this.#prober.isAwaiting ? pollMs : REST_MS;
    this.#cancel = clock.after(Math.min(restMs, restMaxMs), () => this.#turn());
  }

  #path(peer: NodeId): PeerPath | undefined {
    const slot = this.#options.link.slotOf(peer);
    return slot === undefined ? undefined : this.#prober.path(slot);
  }

  #innerMtu({ payloadMax }: PeerPath): number {
    return Math.min(this.#overlayMtu, payloadMax - this.#sealOverhead);
  }
}
