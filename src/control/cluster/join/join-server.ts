/**
 * The join on the cluster port of any member: reads one request, passes it to the leader, answers.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import type { Result } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import { decodeRecord, type PlainRecord } from "../codec/codec.ts";
import { FrameSplitter, JOIN_FRAME_SIZE_MAX_BYTES } from "../codec/frame.ts";
import type { PeerCounters } from "../transport/peer-counters.ts";
import { endGently } from "../transport/peer-intake.ts";
import { GuessLimit } from "../trust/guess-limit.ts";
import {
  type AdmissionFailure,
  type AdmissionRequest,
  encodeGrant,
  encodeRefusal,
  requestFromRecord,
} from "./join-protocol.ts";

/** From the handshake to the answer. */
const JOIN_TIMEOUT_MS = 20_000;
/** Joins at a time; a rack that starts at once is below. */
const JOINS_OPEN_MAX = 256;

export interface JoinServerOptions {
  readonly clock: Clock;
  readonly counters: PeerCounters;
  /** Whether it is that of a token which may be used, as far as this member knows. */
  readonly isSecretKnown: (secret: Uint8Array) => boolean;
  /** Lets the node in here or on the leader; the grant as a record. */
  readonly admit: (request: AdmissionRequest) => Promise<Result<PlainRecord, AdmissionFailure>>;
}

/** Answers nodes that want in. */
export class JoinServer {
  readonly #options: JoinServerOptions;
  readonly #guesses = new GuessLimit();
  readonly #open = new Set<TLSSocket>();

  constructor(options: JoinServerOptions) {
    this.#options = options;
  }

  /** Takes over a connection whose protocol is the join's. */
  accept(socket: TLSSocket): void {
    const { clock, counters } = this.#options;
    counters.joinRequests += 1;
    socket.on("error", () => socket.destroy());
    if (this.#open.size >= JOINS_OPEN_MAX) {
      this.#answer(socket, encodeRefusal(BUSY));
      return;
    }
    this.#open.add(socket);
    const cancel = clock.after(JOIN_TIMEOUT_MS, () => socket.destroy());
    socket.once("close", () => {
      cancel();
      this.#open.delete(socket);
    });
    const address = socket.remoteAddress ?? "";
    if (this.#guesses.isBlocked(address, clock.nowMs())) {
      counters.joinTokensRefused += 1;
      this.#answer(socket, encodeRefusal(BLOCKED));
      return;
    }
    const splitter = new FrameSplitter(JOIN_FRAME_SIZE_MAX_BYTES);
    let isAsked = false;
    socket.on("data", (chunk: Uint8Array) => {
      const frames = splitter.push(chunk);
      if (frames !== undefined && frames.length === 0) return;
      // One request for each connection: whatever follows is not read.
      if (isAsked) return;
      isAsked = true;
      void this.#serve(socket, address, frames?.[0]);
    });
  }

  close(): void {
    for (const socket of this.#open) socket.destroy();
  }

  async #serve(socket: TLSSocket, address: string, frame: Uint8Array | undefined): Promise<void> {
    const { clock, counters, admit } = this.#options;
    const request = requestFromRecord(frame === undefined ? undefined : decodeRecord(frame));
    if (request === undefined) {
      this.#answer(socket, encodeRefusal(MALFORMED));
      return;
    }
    // A rack that starts at once comes from one network, or through one address.
    const isGuess = !this.#options.isSecretKnown(request.secret);
    // Counted before the leader knows, so that many at once are not more than one by one.
    if (isGuess && !this.#guesses.take(address, clock.nowMs())) {
      counters.joinTokensRefused += 1;
      this.#answer(socket, encodeRefusal(BLOCKED));
      return;
    }
    const result = await admit(request);
    const isWrong = !result.ok && result.error.kind === "join_refused";
    if (isWrong) counters.joinTokensRefused += 1;
    else if (isGuess) this.#guesses.giveBack(address);
    if (result.ok) {
      counters.joinsGranted += 1;
      this.#answer(socket, encodeGrant(result.value));
      return;
    }
    this.#answer(socket, encodeRefusal(result.error));
  }

  #answer(socket: TLSSocket, frame: Uint8Array): void {
    if (socket.destroyed) return;
    socket.write(frame);
    endGently(socket, this.#options.clock);
  }
}

const BUSY: AdmissionFailure = {
  kind: "overloaded",
  detail: "Cannot join the cluster: too many nodes join through this member; try again",
};
const BLOCKED: AdmissionFailure = {
  kind: "join_refused",
  detail:
    "Cannot join the cluster: this address tried too many wrong tokens; wait a minute, then try again",
};
const MALFORMED: AdmissionFailure = {
  kind: "join_refused",
  detail:
    "Cannot join the cluster: the member does not understand the request; " +
    "use the same version of overlay on both nodes",
};
