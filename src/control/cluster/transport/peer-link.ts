/**
 * One outgoing connection to one peer.
 *
 *     idle --send--> connecting --handshake, right node--> open
 *     connecting, open --error, closed, silent--> waiting --back-off over--> idle
 *
 * Opened by the first frame or ahead of it, kept while it is used. While it is down, frames are
 * dropped and the owner is told: the core sends again what matters. Frames of one turn leave in one
 * write: a TLS record costs more than the bytes in it.
 *
 * @module
 */
import { connect, type TLSSocket } from "node:tls";
import { assert } from "../../../base/assert.ts";
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import { FRAME_SIZE_MAX_BYTES, FrameSplitter } from "../codec/frame.ts";
import {
  CONNECT_TIMEOUT_MS,
  LINK_DOUBT_MS,
  LINK_KEEP_ALIVE_MS,
  LINK_SILENCE_MS,
  RECONNECT_MAX_MS,
  RECONNECT_MIN_MS,
  SEND_QUEUE_MAX_BYTES,
} from "../limits.ts";
import { soon } from "../soon.ts";
import type { Credentials } from "../trust/credentials.ts";
import type { HostPort } from "../types.ts";

/** ALPN of members among themselves. */
export const PEER_PROTOCOL = "overlay-peer/1";

export interface LinkOptions {
  readonly peer: NodeId;
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly random: Random;
  /** Where the peer is now; undefined while unknown. */
  readonly address: () => HostPort | undefined;
  /** The first frame on every connection. */
  readonly hello: () => Uint8Array;
  readonly ping: () => Uint8Array;
  readonly onFrame: (frame: Uint8Array) => void;
  /** Frames were lost: the connection failed, or never came about, so that none has left. */
  readonly onDown: (reason: string, wasOpen: boolean) => void;
}

type LinkState =
  | { readonly kind: "idle" }
  | { readonly kind: "connecting"; readonly socket: TLSSocket; readonly cancel: () => void }
  | { readonly kind: "open"; readonly socket: TLSSocket }
  | { readonly kind: "waiting"; readonly cancel: () => void }
  | { readonly kind: "closed" };

/** The connection, or the wish for one. */
export class PeerLink {
  readonly #options: LinkOptions;
  #state: LinkState = { kind: "idle" };
  /** Frames of this turn, or of the time until the connection is open. */
  #outbox: Uint8Array[] = [];
  #outboxSizeBytes = 0;
  #isFlushScheduled = false;
  #failedCount = 0;
  #lastSentMs = 0;
  /** When the first of what was sent since the last sign of life was sent. */
  #unansweredSinceMs: number | undefined;
  #connectedTo: HostPort | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#state.kind === "open";
  }

  /** Bytes handed in and not yet taken by the kernel. */
  get queuedBytes(): number {
    const queued = this.#state.kind === "open" ? this.#state.socket.writableLength : 0;
    return queued + this.#outboxSizeBytes;
  }

  /** Sends `frame`, now or when the connection is open. False: dropped, nothing will come of it. */
  send(frame: Uint8Array): boolean {
    if (this.#state.kind === "idle") this.#connect();
    const { kind } = this.#state;
    if (kind !== "open" && kind !== "connecting") return false;
    if (this.queuedBytes + frame.length > SEND_QUEUE_MAX_BYTES) return false;
    this.#outbox.push(frame);
    this.#outboxSizeBytes += frame.length;
    if (kind === "open" && !this.#isFlushScheduled) {
      this.#isFlushScheduled = true;
      soon(this.#options.clock, () => this.#flush());
    }
    return true;
  }

  /** Connects when it is not connected and no back-off is under way. */
  open(): void {
    if (this.#state.kind === "idle") this.send(this.#options.ping());
  }

  /** The peer gave a sign of life, on this or any other connection. */
  heard(): void {
    this.#unansweredSinceMs = undefined;
  }

  /** Ends a back-off: the peer has just shown that it is up. */
  retryNow(): void {
    if (this.#state.kind !== "waiting") return;
    this.#state.cancel();
    this.#state = { kind: "idle" };
    this.#failedCount = 0;
  }

  /** Looks at the time: asks a silent peer, gives up a dead one, keeps an idle one. */
  check(nowMs: number): void {
    if (this.#state.kind !== "open") return;
    const wanted = this.#options.address();
    const isMoved =
      wanted !== undefined &&
      (wanted.host !== this.#connectedTo?.host || wanted.port !== this.#connectedTo.port);
    if (isMoved) {
      this.#down("the peer has another address");
      return;
    }
    const unansweredMs =
      this.#unansweredSinceMs === undefined ? 0 : nowMs - this.#unansweredSinceMs;
    if (unansweredMs >= LINK_SILENCE_MS) this.#down("the peer is silent");
    else if (unansweredMs >= LINK_DOUBT_MS) this.send(this.#options.ping());
    else if (nowMs - this.#lastSentMs >= LINK_KEEP_ALIVE_MS) this.send(this.#options.ping());
  }

  /** Closes a connection that is not needed now; the next frame opens another. */
  rest(): void {
    if (this.#state.kind !== "open") return;
    const { socket } = this.#state;
    this.#flush();
    this.#state = { kind: "idle" };
    socket.end();
  }

  /** Closes for good. Frames handed in before still leave when the connection is open. */
  close(): void {
    const state = this.#state;
    this.#flush();
    this.#state = { kind: "closed" };
    if (state.kind === "waiting" || state.kind === "connecting") state.cancel();
    if (state.kind === "connecting") state.socket.destroy();
    if (state.kind === "open") state.socket.end();
    this.#dropOutbox();
  }

  #connect(): void {
    const { address, credentials, clock } = this.#options;
    const { keys, chain } = credentials;
    const target = address();
    if (target === undefined) {
      this.#wait("its address is unknown", false);
      return;
    }
    this.#connectedTo = target;
    const socket = connect({
      host: target.host,
      port: target.port,
      ca: keys.ca,
      cert: chain,
      key: keys.key,
      minVersion: "TLSv1.3",
      ALPNProtocols: [PEER_PROTOCOL],
      // The chain is judged below, before anything is sent: by our own rule, and it names a node,
      // not a host.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    const cancel = clock.after(CONNECT_TIMEOUT_MS, () => this.#down("no answer", socket));
    this.#state = { kind: "connecting", socket, cancel };
    socket.setNoDelay(true);
    socket.on("secureConnect", () => this.#opened(socket));
    socket.on("error", (error) => this.#down(error.message, socket));
    socket.on("end", () => this.#down("closed by the peer", socket));
    socket.on("close", () => this.#down("closed", socket));
    const splitter = new FrameSplitter(FRAME_SIZE_MAX_BYTES);
    socket.on("data", (chunk: Uint8Array) => this.#received(socket, splitter.push(chunk)));
  }

  #opened(socket: TLSSocket): void {
    if (this.#state.kind !== "connecting" || this.#state.socket !== socket) return;
    this.#state.cancel();
    const { credentials, peer } = this.#options;
    const identified = credentials.identifyMember(socket);
    if (!identified.ok) {
      this.#down(`its certificate is not good (${identified.error.kind})`, socket);
      return;
    }
    if (identified.value !== peer) {
      this.#down(`the address is that of ${formatNodeId(identified.value)}`, socket);
      return;
    }
    this.#state = { kind: "open", socket };
    this.#failedCount = 0;
    this.#outbox.unshift(this.#options.hello());
    this.#flush();
  }

  #received(socket: TLSSocket, frames: readonly Uint8Array[] | undefined): void {
    if (this.#state.kind !== "open" || this.#state.socket !== socket) return;
    if (frames === undefined) {
      this.#down("what it sends is no frame", socket);
      return;
    }
    for (const frame of frames) this.#options.onFrame(frame);
  }

  #flush(): void {
    this.#isFlushScheduled = false;
    if (this.#state.kind !== "open" || this.#outbox.length === 0) return;
    const bytes = this.#outbox.length === 1 ? this.#outbox[0]! : Buffer.concat(this.#outbox);
    this.#outbox = [];
    this.#outboxSizeBytes = 0;
    this.#lastSentMs = this.#options.clock.nowMs();
    this.#unansweredSinceMs ??= this.#lastSentMs;
    this.#state.socket.write(bytes);
  }

  /** The connection is of no use (any more). With `of`, only when it is still that one. */
  #down(reason: string, of?: TLSSocket): void {
    const state = this.#state;
    if (state.kind !== "connecting" && state.kind !== "open") return;
    if (of !== undefined && state.socket !== of) return;
    if (state.kind === "connecting") state.cancel();
    state.socket.destroy();
    this.#wait(reason, state.kind === "open");
  }

  #wait(reason: string, wasOpen: boolean): void {
    const { clock, random } = this.#options;
    const backOffMs = Math.min(RECONNECT_MIN_MS * 2 ** this.#failedCount, RECONNECT_MAX_MS);
    this.#failedCount = Math.min(this.#failedCount + 1, 10);
    this.#unansweredSinceMs = undefined;
    const cancel = clock.after(backOffMs + random.below(Math.ceil(backOffMs / 2)), () => {
      assert(this.#state.kind === "waiting", "a link must not connect twice");
      this.#state = { kind: "idle" };
    });
    this.#state = { kind: "waiting", cancel };
    this.#dropOutbox();
    this.#options.onDown(reason, wasOpen);
  }

  #dropOutbox(): void {
    this.#outbox = [];
    this.#outboxSizeBytes = 0;
  }
}
