/**
 * The network between simulated nodes: delay, loss, repetition, cuts in one direction or both,
 * connections that break.
 *
 * Each ordered pair of nodes is a link with a connection on it. A cut loses silently; a broken
 * connection loses what is on its way and is noticed at both ends. Messages travel as they are, or
 * through the real codec (`codecShare`). A damaged message never arrives: TLS would refuse it and
 * end the connection, and so does this.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import {
  decodeRecord,
  encodeValue,
  type PlainRecord,
} from "../../../src/control/cluster/codec/codec.ts";
import {
  messageFromRecord,
  messageToRecord,
} from "../../../src/control/cluster/codec/message-codec.ts";
import type { PeerReceiver } from "../../../src/control/cluster/transport/peer-port.ts";
import type { PeerMessage } from "../../../src/control/raft/types.ts";
import type { Coverage } from "./coverage.ts";
import type { Scheduler } from "./scheduler.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";
import { must } from "./violation.ts";

/** How the network behaves, everywhere and all the time. */
export interface NetworkWeather {
  delayMinMs: number;
  delayMeanMs: number;
  /** Share of messages that take very long. */
  tailChance: number;
  tailMeanMs: number;
  dropChance: number;
  duplicateChance: number;
  corruptChance: number;
  /** Whether messages of one link arrive in order, as TCP has it within one connection. */
  isOrdered: boolean;
  /** Share of messages that go through the real codec. */
  codecShare: number;
}

/** One direction between two nodes. */
interface Link {
  /** How many faults cut it now. */
  cutCount: number;
  /** Nothing arrives before this true time. */
  cloggedUntilMs: number;
  /** Every message takes so much longer. */
  extraDelayMs: number;
  /** Bulk takes so many times as long. */
  throttle: number;
  lastArrivalMs: number;
  /** Counts connections. */
  connection: number;
}

/** A run of a node that can be reached. */
interface Endpoint {
  readonly process: SimProcess;
  readonly receiver: PeerReceiver;
}

/** Tells a sender that what was sent to a run is lost. */
type Lost = () => void;

const NOTICE_DELAY_MS = 3;

/** All links. */
export class SimNetwork {
  readonly weather: NetworkWeather;
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #coverage: Coverage;
  readonly #endpoints = new Map<NodeId, Endpoint>();
  readonly #links = new Map<number, Link>();
  /** Calls that wait for an answer of a run. */
  readonly #waiting = new Map<SimProcess, Set<Lost>>();
  /** Whether `to` talks to `from` at all; asked when a message arrives. */
  admits: (from: NodeId, to: NodeId) => boolean = () => true;
  /** Told of each message that arrives. */
  arrived: (from: NodeId, to: NodeId) => void = () => undefined;
  /** Told which run a message is about to be handed to. */
  entering: (process: SimProcess) => void = () => undefined;

  constructor(parts: {
    readonly scheduler: Scheduler;
    readonly random: SimRandom;
    readonly coverage: Coverage;
    readonly weather: NetworkWeather;
  }) {
    this.#scheduler = parts.scheduler;
    this.#random = parts.random;
    this.#coverage = parts.coverage;
    this.weather = parts.weather;
  }

  get random(): SimRandom {
    return this.#random;
  }

  attach(process: SimProcess, receiver: PeerReceiver): void {
    this.#endpoints.set(process.node, { process, receiver });
  }

  /** The run at `node` that can be reached now. */
  endpoint(node: NodeId): Endpoint | undefined {
    return this.#endpoints.get(node);
  }

  /**
   * `process` ended. Its kernel closes its connections, unless the whole machine went down: then
   * nobody is told.
   */
  detach(process: SimProcess, isMachineDown: boolean): void {
    const { node } = process;
    if (this.#endpoints.get(node)?.process === process) this.#endpoints.delete(node);
    const lost = this.#waiting.get(process) ?? [];
    this.#waiting.delete(process);
    if (isMachineDown) return;
    for (const tell of lost) tell();
    for (const other of this.#endpoints.keys()) this.breakConnection(node, other);
  }

  cut(from: NodeId, to: NodeId): void {
    this.#link(from, to).cutCount += 1;
  }

  mend(from: NodeId, to: NodeId): void {
    const link = this.#link(from, to);
    link.cutCount = Math.max(0, link.cutCount - 1);
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#link(from, to).cutCount > 0;
  }

  /** Holds back everything from `from` to `to` until `untilMs`. */
  clog(from: NodeId, to: NodeId, untilMs: number): void {
    this.#link(from, to).cloggedUntilMs = untilMs;
  }

  slow(
    from: NodeId,
    to: NodeId,
    extra: { readonly delayMs: number; readonly times: number },
  ): void {
    const link = this.#link(from, to);
    link.extraDelayMs = extra.delayMs;
    link.throttle = extra.times;
  }

  /** Ends the connections between `a` and `b`: what is on its way is lost, both ends notice. */
  breakConnection(a: NodeId, b: NodeId): void {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const link = this.#link(from, to);
      if (link.cutCount > 0) continue;
      // What the sender still holds may go out on the next connection.
      if (this.#random.chance(0.7)) link.connection += 1;
      this.#notice(to, (receiver) => receiver.closed(from));
      if (this.#random.chance(0.5)) {
        this.#notice(from, (receiver) => receiver.unreachable(to));
      }
    }
  }

  /** Ends every cut, clog and delay. */
  heal(): void {
    for (const link of this.#links.values()) {
      link.cutCount = 0;
      link.cloggedUntilMs = 0;
      link.extraDelayMs = 0;
      link.throttle = 1;
    }
  }

  /** Sends `message`, from a run that was allowed to. */
  send(message: PeerMessage): void {
    const { weather } = this;
    const link = this.#link(message.from, message.to);
    if (link.cutCount > 0) {
      this.#coverage.hit("net.cut");
      return;
    }
    if (this.#random.chance(weather.dropChance)) {
      this.#coverage.hit("net.drop");
      return;
    }
    if (this.#random.chance(weather.corruptChance)) {
      this.#corrupt(message);
      return;
    }
    this.#transmit(link, message);
    if (this.#random.chance(weather.duplicateChance)) {
      this.#coverage.hit("net.duplicate");
      this.#transmit(link, message);
    }
  }

  /** Milliseconds for something of `sizeBytes` to get from `from` to `to`. */
  transferMs(from: NodeId, to: NodeId, sizeBytes: number): number {
    const { throttle } = this.#link(from, to);
    return this.#delayMs(this.#link(from, to)) + (sizeBytes / 10_000 + 5) * throttle;
  }

  /** Which connection is up from `from` to `to`. */
  connection(from: NodeId, to: NodeId): number {
    return this.#link(from, to).connection;
  }

  /** A moment after which something sent now from `from` has reached `to`; undefined: lost. */
  arrivalDelayMs(from: NodeId, to: NodeId): number | undefined {
    const link = this.#link(from, to);
    if (link.cutCount > 0 || this.#random.chance(this.weather.dropChance)) return undefined;
    return this.#delayMs(link);
  }

  /** Calls `lost` when the run ends before `release` (the result) was called. */
  awaitFrom(process: SimProcess, lost: Lost): () => void {
    const set = this.#waiting.get(process) ?? new Set();
    this.#waiting.set(process, set);
    set.add(lost);
    return () => set.delete(lost);
  }

  /** `record` as the other end will read it. */
  copyRecord(record: PlainRecord): PlainRecord {
    if (!this.#random.chance(this.weather.codecShare)) return record;
    return decodeRecord(encodeValue(record)) ?? {};
  }

  /** `message` as the other end will read it. */
  copyMessage<Message extends PeerMessage>(message: Message): Message {
    // A newer version may send fields that this one does not know.
    const record = { ...messageToRecord(message), ...(this.#random.chance(0.5) && { zz: 1 }) };
    const decoded = messageFromRecord(decodeRecord(encodeValue(record)));
    must(
      decoded?.kind === message.kind && Bun.deepEquals(decoded, message),
      "codec",
      () => `${message.kind} came back as ${JSON.stringify(decoded)}`,
    );
    return decoded as Message;
  }

  #transmit(link: Link, message: PeerMessage): void {
    const { codecShare } = this.weather;
    const copy = this.#random.chance(codecShare) ? this.copyMessage(message) : message;
    const { connection } = link;
    this.#scheduler.after(this.#delayMs(link), {
      kind: "message",
      subject: message,
      run: () => {
        if (link.connection === connection && link.cutCount === 0) this.#arrive(copy);
      },
    });
  }

  #arrive(message: PeerMessage): void {
    const { from, to } = message;
    const endpoint = this.#endpoints.get(to);
    if (endpoint === undefined) {
      if (this.#random.chance(0.3)) {
        this.#notice(from, (receiver) => receiver.unreachable(to));
      }
      return;
    }
    if (!this.admits(from, to)) {
      this.#notice(from, (receiver) => receiver.expelled());
      return;
    }
    const { process, receiver } = endpoint;
    this.arrived(from, to);
    if (!process.isPaused) {
      this.entering(process);
      receiver.receive(message);
      return;
    }
    process.after(0, "message", () => receiver.receive(message), message);
  }

  #corrupt(message: PeerMessage): void {
    this.#coverage.hit("net.corrupt");
    const bytes = encodeValue(messageToRecord(message)).slice();
    const at = this.#random.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << this.#random.below(8));
    // The decoder must take anything, even what TLS would have kept from it.
    messageFromRecord(decodeRecord(bytes));
    this.breakConnection(message.from, message.to);
  }

  #delayMs(link: Link): number {
    const { delayMinMs, delayMeanMs, tailChance, tailMeanMs, isOrdered } = this.weather;
    const { nowMs } = this.#scheduler;
    let delayMs = delayMinMs + this.#random.exponential(delayMeanMs) + link.extraDelayMs;
    if (this.#random.chance(tailChance)) {
      this.#coverage.hit("net.heavy-tail");
      delayMs += this.#random.exponential(tailMeanMs);
    }
    if (link.cloggedUntilMs > nowMs) {
      this.#coverage.hit("net.clog");
      delayMs += link.cloggedUntilMs - nowMs;
    }
    if (isOrdered) {
      delayMs = Math.max(delayMs, link.lastArrivalMs - nowMs);
    } else if (nowMs + delayMs < link.lastArrivalMs) {
      this.#coverage.hit("net.reorder");
    }
    link.lastArrivalMs = Math.max(link.lastArrivalMs, nowMs + delayMs);
    return delayMs;
  }

  /** Tells the run at `node` something about its connections, a little later. */
  #notice(node: NodeId, tell: (receiver: PeerReceiver) => void): void {
    const endpoint = this.#endpoints.get(node);
    if (endpoint === undefined) return;
    const delayMs = NOTICE_DELAY_MS + this.#random.exponential(1);
    endpoint.process.after(delayMs, "message", () => tell(endpoint.receiver), "connection notice");
  }

  #link(from: NodeId, to: NodeId): Link {
    const key = from * 1024 + to;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = {
        cutCount: 0,
        cloggedUntilMs: 0,
        extraDelayMs: 0,
        throttle: 1,
        lastArrivalMs: 0,
        connection: 0,
      };
      this.#links.set(key, link);
    }
    return link;
  }
}
