/**
 * What the cluster port hands out over plain server-side TLS, so that a node can be installed from
 * a peer: one GET for each connection.
 *
 * Anybody who reaches the port may ask, so everything is bounded: connections in all and for each
 * address, the size of a request, the time without progress, and the rate of all answers together,
 * so that strangers take a small part of a core and of the link. What there is to hand out comes
 * from outside (`HandOut`); without one the port only says what it is.
 *
 * Not a web server: no keep-alive, no ranges, no other method.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import { err, type Result } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import { endGently } from "../transport/peer-intake.ts";

/** A request line and headers of a browser are below; more is not read. */
const REQUEST_SIZE_MAX_BYTES = 16 * 1024;
const REQUEST_TIMEOUT_MS = 5_000;
/** A rack that is installed at once waits in turns: the script tries again. */
const OPEN_COUNT_MAX = 16;
/** Behind one address may be a few nodes; one stranger does not take all places. */
const OPEN_PER_ADDRESS_MAX = 4;
/** A receiver that takes nothing for so long is gone. */
const STALL_TIMEOUT_MS = 20_000;
/**
 * All answers together: an executable takes two seconds, and TLS some 5 % of a core meanwhile.
 */
const RATE_BYTES_PER_SECOND = 64 * 1024 * 1024;
const RETRY_AFTER_SECONDS = 5;
/** RFC 9110 §7.2 as far as an address and a port need it; it is written into a shell script. */
const HOST_PATTERN = /^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?$/;
const GREETING = "overlay node, cluster port\n";

/** Something to hand out. */
export interface HandOutBody {
  readonly type: string;
  readonly sizeBytes: number;
  /** Exactly `sizeBytes`, in pieces that are borrowed until the next one is asked for. */
  readonly chunks: () => AsyncIterable<Uint8Array>;
}

/** A request whose parts are safe to use. */
export interface HandOutRequest {
  /** Begins with a slash; no query. */
  readonly path: string;
  /** How the asking node reached this one: "host" or "host:port". */
  readonly host: string;
}

/** What there is to hand out. */
export interface HandOut {
  /** The body for a request, or a sentence that says why there is none. */
  find(request: HandOutRequest): Promise<Result<HandOutBody, string>>;
}

/** Answers plain HTTPS on the cluster port. */
export class HandOutServer {
  readonly #clock: Clock;
  readonly #handOut: HandOut | undefined;
  /** Connections by the address that they come from. */
  readonly #open = new Map<TLSSocket, string>();
  /** When the rate lets the next piece go. */
  #nextMs = 0;

  constructor(options: { readonly clock: Clock; readonly handOut: HandOut | undefined }) {
    this.#clock = options.clock;
    this.#handOut = options.handOut;
  }

  /** Takes over a connection that speaks neither of the cluster's own protocols. */
  accept(socket: TLSSocket): void {
    const address = socket.remoteAddress ?? "";
    const sameCount = [...this.#open.values()].filter((each) => each === address).length;
    const isFull = this.#open.size >= OPEN_COUNT_MAX || sameCount >= OPEN_PER_ADDRESS_MAX;
    socket.on("error", () => socket.destroy());
    if (!isFull) this.#open.set(socket, address);
    let text = "";
    const cancel = this.#clock.after(REQUEST_TIMEOUT_MS, () => socket.destroy());
    socket.once("close", () => {
      cancel();
      this.#open.delete(socket);
    });
    socket.on("data", (chunk: Uint8Array) => {
      text += Buffer.from(chunk).toString("latin1");
      if (!text.includes("\r\n\r\n") && text.length < REQUEST_SIZE_MAX_BYTES) return;
      cancel();
      socket.removeAllListeners("data");
      socket.resume();
      if (isFull) this.#refuse(socket, 503, "Cannot hand this out now: too many ask; try again\n");
      else void this.#serve(socket, text.slice(0, REQUEST_SIZE_MAX_BYTES));
    });
  }

  close(): void {
    for (const socket of this.#open.keys()) socket.destroy();
  }

  async #serve(socket: TLSSocket, text: string): Promise<void> {
    const request = parseRequest(text);
    const found =
      request === undefined || this.#handOut === undefined
        ? err(GREETING)
        : await this.#handOut.find(request);
    if (!found.ok) {
      this.#refuse(socket, 404, found.error.endsWith("\n") ? found.error : `${found.error}\n`);
      return;
    }
    const { type, sizeBytes, chunks } = found.value;
    socket.write(head(200, type, sizeBytes));
    try {
      for await (const chunk of chunks()) {
        // The pieces are borrowed, and what a socket cannot send yet it keeps.
        if (!socket.write(Buffer.from(chunk)) && !(await this.#drained(socket))) return;
        if (!(await this.#paced(socket, chunk.length))) return;
      }
    } catch {
      // The source failed halfway: a short answer is noticed by its length and its checksum.
      socket.destroy();
      return;
    }
    this.#end(socket);
  }

  /** Whether the socket takes more; false when it is gone, or takes nothing for too long. */
  #drained(socket: TLSSocket): Promise<boolean> {
    if (socket.destroyed) return Promise.resolve(false);
    return new Promise((resolve) => {
      const done = () => {
        cancel();
        socket.off("drain", done);
        socket.off("close", done);
        resolve(!socket.destroyed);
      };
      const cancel = this.#clock.after(STALL_TIMEOUT_MS, () => socket.destroy());
      socket.once("drain", done);
      socket.once("close", done);
    });
  }

  /** Waits until the rate of all answers allows the next piece. */
  #paced(socket: TLSSocket, length: number): Promise<boolean> {
    const nowMs = this.#clock.nowMs();
    this.#nextMs = Math.max(this.#nextMs, nowMs) + (length * 1000) / RATE_BYTES_PER_SECOND;
    const waitMs = this.#nextMs - nowMs;
    if (waitMs < 1) return Promise.resolve(!socket.destroyed);
    return new Promise((resolve) => {
      this.#clock.after(waitMs, () => resolve(!socket.destroyed));
    });
  }

  #refuse(socket: TLSSocket, status: 404 | 503, body: string): void {
    const bytes = Buffer.from(body);
    socket.write(head(status, "text/plain; charset=utf-8", bytes.length));
    socket.write(bytes);
    this.#end(socket);
  }

  #end(socket: TLSSocket): void {
    if (!socket.destroyed) endGently(socket, this.#clock);
  }
}

const REASONS = { 200: "OK", 404: "Not Found", 503: "Service Unavailable" } as const;

function head(status: keyof typeof REASONS, type: string, sizeBytes: number): string {
  const lines = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `content-type: ${type}`,
    `content-length: ${sizeBytes}`,
    ...(status === 503 ? [`retry-after: ${RETRY_AFTER_SECONDS}`] : []),
    "connection: close",
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** The request in `text`; undefined when it is none that could be answered. */
function parseRequest(text: string): HandOutRequest | undefined {
  const path = /^GET (\/[\w./-]{0,200})(?:\?[^ ]{0,1000})? HTTP\/1\.[01]\r\n/.exec(text)?.[1];
  const host = /\r\nhost:[ \t]*([^\r\n]*?)[ \t]*\r\n/i.exec(text)?.[1];
  if (path === undefined || host === undefined || !HOST_PATTERN.test(host)) return undefined;
  return { path, host };
}
