/**
 * Finds out whether checksums that a VXLAN link of ours leaves to others arrive right, and takes
 * them over where they do not.
 *
 * The kernel lets the underlay's card, or what a hypervisor has in its place, finish the checksum
 * of the inner packet. Some do it wrong for packets in a tunnel: pings pass, TCP does not. flannel
 * switches `tx-checksum-ip-generic` off on each link, which costs a pass over every packet. Here a
 * peer is asked by datagrams that differ in nothing but who finishes their checksum:
 *
 *     left to the link                  answered: right, and that is all
 *     finished here, left to the link   answered, not: three times in a row, the link is suspected
 *     switched off, left to the link    answered: that was it; not: switched on again
 *
 * No answer to either says nothing (a peer that is off, a firewall), so nothing is changed by it.
 *
 * @module
 */
import { type IpAddress, type Prefix, prefixAddress } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import type { Log } from "../base/log.ts";
import type { BackendConfig } from "../control/network/backend-config.ts";
import { partsOf } from "../dataplane/backends/auto.ts";
import type { BackendPeer } from "../dataplane/backends/backend.ts";
import { vxlanLinkName } from "../dataplane/backends/ownership.ts";
import { linkFeatures, linkIndex, setLinkFeature } from "../host/link/link-features.ts";
import type { Clock } from "../host/ports.ts";
import { type ChecksumBy, ClosedPortQuestion, type QuestionWay } from "../host/udp/closed-port.ts";

/** What ethtool calls it. */
const FEATURE = "tx-checksum-ip-generic";
/** Questions of each kind before the link is suspected. A kernel gives no more answers at once. */
const TRIES = 3;
/** When an answer is looked for; after the last one there is none. */
const LOOKS_MS = [2, 20, 150, 500] as const;
/** Peers that must answer before the link is believed for good: some may be on this very host. */
const RIGHT_PEERS = 8;
/** Peers that are asked at all. */
const TARGETS_MAX = 64;
/** Until the next peer is asked. */
const NEXT_PEER_MS = 250;
/** Until those are asked again who did not answer, doubled up to the other. */
const AGAIN_MIN_MS = 1000;
const AGAIN_MAX_MS = 60_000;

/** A link of ours, and who is behind it. */
export interface TestedLink {
  readonly name: string;
  /** Our address on it. */
  readonly source: IpAddress;
  /** Overlay addresses of peers. */
  readonly targets: readonly IpAddress[];
}

/** What is asked of the machine. All but `isAnswered` throw `HostError`. */
export interface ChecksumPorts {
  /** Number of the link. */
  indexOf(link: string): number;
  isOn(link: string): boolean;
  setOn(link: string, isOn: boolean): void;
  ask(way: QuestionWay): Disposable & { isAnswered(): boolean };
}

/** What is known of a link: `off`: switched off here, as the peer at `by` has shown. */
type Verdict =
  | { readonly kind: "open" }
  | { readonly kind: "right" }
  | { readonly kind: "off"; readonly by: IpAddress };

/** The ports of the real machine. */
export const CHECKSUM_PORTS: ChecksumPorts = {
  indexOf: linkIndex,
  isOn: (link) => linkFeatures(link).has(FEATURE),
  setOn: (link, isOn) => setLinkFeature(link, FEATURE, isOn),
  ask: (way) => new ClosedPortQuestion(way),
};

/** The link by which `config` has the others reached through tunnels, and those others. */
export function testedLink(
  config: BackendConfig,
  subnet: Prefix,
  peers: readonly BackendPeer[],
): TestedLink | undefined {
  const part = partsOf(config).find(({ kind }) => kind === "vxlan");
  if (part?.kind !== "vxlan") return undefined;
  const source = prefixAddress(subnet);
  const targets: IpAddress[] = [];
  // Each node begins at another one of them.
  const first = Bun.hash.crc32(source) % Math.max(1, peers.length);
  for (const peer of [...peers.slice(first), ...peers.slice(0, first)]) {
    if (targets.length === TARGETS_MAX) break;
    if (hasTunnel(peer)) targets.push(prefixAddress(peer.subnet));
  }
  return { name: vxlanLinkName(part), source, targets };
}

function hasTunnel({ backend }: BackendPeer): boolean {
  if (backend.kind === "other") return backend.type === "vxlan";
  return backend.ways !== undefined && backend.ways.vxlan !== null;
}

/** Tests the one link that matters, for as long as it is told of one. */
export class ChecksumKeeper {
  readonly #clock: Pick<Clock, "after">;
  readonly #log: Log;
  readonly #ports: ChecksumPorts;
  #link: TestedLink | undefined;
  #index: number | undefined;
  #verdict: Verdict = { kind: "open" };
  #right = new Set<IpAddress>();
  #asked = new Set<IpAddress>();
  #isTesting = false;
  #againMs = AGAIN_MIN_MS;
  #cancel: () => void = () => undefined;

  constructor(clock: Pick<Clock, "after">, log: Log, ports: ChecksumPorts) {
    this.#clock = clock;
    this.#log = log;
    this.#ports = ports;
  }

  /** Why packets are slower than they could be; empty when they are not. */
  warnings(): readonly string[] {
    if (this.#link === undefined || this.#verdict.kind !== "off") return [];
    const { name } = this.#link;
    const why = `checksums that were left to the underlay's card did not arrive right at ${this.#verdict.by}`;
    return [`Packets are slower than they could be: ${FEATURE} of ${name} is off (${why})`];
  }

  /** `link` is in use from now on; undefined: none is. */
  follow(link: TestedLink | undefined): void {
    if (link?.name !== this.#link?.name) this.#forget();
    this.#link = link;
    this.look();
  }

  /** Some link has changed. */
  look(): void {
    const { name } = this.#link ?? {};
    if (name === undefined) return;
    const index = this.#attempt(() => this.#ports.indexOf(name));
    if (index !== this.#index) {
      // Another link of this name: what was switched off is on again, and all may be otherwise.
      const before = this.#verdict;
      const isOff = before.kind === "off";
      this.#forget();
      this.#index = index;
      if (isOff) this.#verdict = before;
      if (isOff && index !== undefined) this.#attempt(() => this.#ports.setOn(name, false));
    }
    const isOpen = index !== undefined && this.#verdict.kind === "open";
    if (isOpen && this.#nextTarget() !== undefined) this.#later(0);
  }

  /** Stops. What is switched off stays so. */
  close(): void {
    this.#link = undefined;
    this.#forget();
  }

  #forget(): void {
    this.#cancel();
    this.#cancel = () => undefined;
    this.#index = undefined;
    this.#verdict = { kind: "open" };
    this.#right = new Set();
    this.#asked = new Set();
    this.#againMs = AGAIN_MIN_MS;
  }

  #later(delayMs: number): void {
    if (this.#isTesting) return;
    this.#cancel();
    this.#cancel = this.#clock.after(delayMs, () => void this.#testNext());
  }

  async #testNext(): Promise<void> {
    const [link, index] = [this.#link, this.#index];
    if (link === undefined || this.#isTesting || this.#verdict.kind !== "open") return;
    // Whoever has switched it off, it is not ours to judge.
    if (this.#attempt(() => this.#ports.isOn(link.name)) !== true) return this.#later(AGAIN_MAX_MS);
    const target = this.#nextTarget();
    if (target === undefined) return this.#askAgainLater();
    this.#asked.add(target);
    this.#isTesting = true;
    const outcome = await this.#test(link, target);
    this.#isTesting = false;
    // Meanwhile there may be another link, or none.
    if (this.#link === undefined) return;
    if (this.#link.name !== link.name || this.#index !== index) return this.#later(0);
    if (outcome === "right") this.#right.add(target);
    if (outcome === "off") this.#verdict = { kind: "off", by: target };
    else if (this.#right.size >= RIGHT_PEERS) this.#verdict = { kind: "right" };
    else return this.#later(NEXT_PEER_MS);
    for (const reason of this.warnings()) this.#log.warn("checksums are done here", { reason });
  }

  #nextTarget(): IpAddress | undefined {
    return this.#link?.targets.find((each) => !this.#asked.has(each));
  }

  /** All were asked: those who did not answer may be there one day. */
  #askAgainLater(): void {
    if (this.#link?.targets.every((each) => this.#right.has(each)) !== false) return;
    this.#cancel();
    this.#cancel = this.#clock.after(this.#againMs, () => {
      this.#asked = new Set(this.#right);
      void this.#testNext();
    });
    this.#againMs = Math.min(this.#againMs * 2, AGAIN_MAX_MS);
  }

  async #test(link: TestedLink, target: IpAddress): Promise<"right" | "off" | "unknown"> {
    for (let tries = 0; tries < TRIES; tries++) {
      if (await this.#isAnswered(link, target, "link")) return "right";
      if (!(await this.#isAnswered(link, target, "kernel"))) return "unknown";
    }
    const { name } = link;
    this.#attempt(() => this.#ports.setOn(name, false));
    for (let tries = 0; tries < TRIES; tries++) {
      if (await this.#isAnswered(link, target, "link")) return "off";
    }
    this.#attempt(() => this.#ports.setOn(name, true));
    return "unknown";
  }

  async #isAnswered(
    { name, source }: TestedLink,
    target: IpAddress,
    by: ChecksumBy,
  ): Promise<boolean> {
    const question = this.#attempt(() => this.#ports.ask({ link: name, source, target, by }));
    if (question === undefined) return false;
    using asked = question;
    let passedMs = 0;
    for (const atMs of LOOKS_MS) {
      const waitMs = atMs - passedMs;
      passedMs = atMs;
      await new Promise<void>((resolve) => this.#clock.after(waitMs, resolve));
      if (asked.isAnswered()) return true;
    }
    return false;
  }

  /** Links come and go: what fails is tried again, or of no interest any more. */
  #attempt<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      return undefined;
    }
  }
}
