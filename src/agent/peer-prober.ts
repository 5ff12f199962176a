/**
 * Watches the peers of this node: turns the prober on the agent's clock and answers what people
 * ask about paths. The prober decides (dataplane/probe), the packet loop sends and listens.
 *
 * @module
 */

import type { IpAddress } from "../base/address.ts";
import type { NodeId } from "../base/ids.ts";
import type { Endpoint } from "../dataplane/fib/row.ts";
import { MAIL_WIDTH } from "../dataplane/probe/mail-ring.ts";
import { type PingOutcome, Prober } from "../dataplane/probe/prober.ts";
import type { Clock, Random } from "../host/ports.ts";
import type { ProbeLink } from "./probe-link.ts";

/** How often answers are looked for while some are awaited; round trips do not depend on it. */
const POLL_MS = 50;
/** The same while somebody waits for them. */
const POLL_PING_MS = 10;
/** Longest rest: traffic is looked at once a second. */
const REST_MS = 1000;
const REST_MIN_MS = 5;
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
        hintMtu: (peer) => {
          const target = link.peers.find((each) => each.peer === peer)?.endpoint.address;
          return (target !== undefined && options.hintMtu?.(target)) || 0;
        },
        onPath: (slot, path) => link.setPath(slot, path),
      },
      clock.nowMs(),
    );
  }

  /** What the overlay link carries, and what sealing adds to each packet, in bytes. */
  setOverlay(mtu: number, sealOverhead: number): void {
    this.#overlayMtu = mtu;
    this.#sealOverhead = sealOverhead;
  }

  /** Watches the peers of the table that was published last. */
  follow(): void {
    const { link, clock } = this.#options;
    const peers = link.peers.map(({ peer, slot, endpoint }) => ({
      peer,
      slot,
      endpointKey: endpointKey(endpoint),
    }));
    this.#prober.setPeers(peers, clock.nowMs());
    this.#turn();
  }

  /** The underlay link carries `linkMtu` from now on. */
  setLinkMtu(linkMtu: number): void {
    this.#prober.setLinkMtu(Math.min(linkMtu, LINK_MTU_MAX), this.#options.clock.nowMs());
    this.#turn();
  }

  /** What is known of the way to `peer`; undefined when nobody watches it. */
  path(peer: NodeId): PathReport | undefined {
    const path = this.#prober.path(peer);
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
      innerMtu: Math.min(this.#overlayMtu, path.payloadMax - this.#sealOverhead),
      blackHoles: mtu.blackHoleCount,
      isInUse: path.isInUse,
      answeredAgoMs: since(path.answeredMs),
      silentForMs: since(path.silentSinceMs),
      isDeaf: path.isDeaf,
    };
  }

  /** Asks `peer` once; undefined when nobody watches it. */
  async ping(peer: NodeId, timeoutMs: number): Promise<PingOutcome | undefined> {
    const { promise, resolve } = Promise.withResolvers<PingOutcome>();
    const request = { nowMs: this.#options.clock.nowMs(), timeoutMs };
    if (!this.#prober.ping(peer, request, resolve)) return undefined;
    this.#pingCount++;
    this.#turn();
    try {
      return await promise;
    } finally {
      this.#pingCount--;
    }
  }

  /** Looks at once whether the path to `peer` carries more than was found. */
  raise(peer: NodeId): void {
    this.#prober.path(peer)?.raise(this.#options.clock.nowMs());
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
    const restMs = Math.min(dueMs - nowMs, this.#prober.isAwaiting ? pollMs : REST_MS);
    this.#cancel = clock.after(Math.max(REST_MIN_MS, restMs), () => this.#turn());
  }
}

function endpointKey({ address, port }: Endpoint): string {
  return `${address} ${port}`;
}
