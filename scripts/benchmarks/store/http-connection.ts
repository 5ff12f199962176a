/**
 * One HTTP/1.1 keep-alive connection with one request at a time: the client of the benchmark.
 *
 * Requests are rendered before the clock starts, and of a response only the status and the body's
 * place are looked at, so that the client takes a small part of the machine that it shares with
 * what it measures. Reads bodies with a Content-Length only; a stream has `openStream`.
 *
 * @module
 */
import type { Socket } from "bun";

/** Where a member serves HTTP. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A whole response. */
export interface Reply {
  readonly status: number;
  readonly body: Buffer;
}

interface Waiting {
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

const HEADER_END = "\r\n\r\n";
const LENGTH_PATTERN = /\r\ncontent-length: *(\d+)/i;
/** "HTTP/1.1 " */
const STATUS_OFFSET = 9;

/** What a request to be sent again and again looks like on the wire. */
export interface RequestHead {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The bytes of one request. */
export function renderRequest(head: RequestHead, body: string | Uint8Array = ""): Uint8Array {
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  const headers = { host: "127.0.0.1", ...head.headers, "content-length": String(bytes.length) };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const text = `${head.method} ${head.path} HTTP/1.1\r\n${lines.join("")}\r\n`;
  return Buffer.concat([Buffer.from(text, "latin1"), bytes]);
}

/** An open connection; `close` it. */
export class HttpConnection {
  #socket: Socket | undefined;
  #waiting: Waiting | undefined;
  /** Beginning of a response that came in pieces. */
  #pending: Buffer | undefined;
  #unsent: Uint8Array | undefined;
  #isClosed = false;

  /** Connects to `address`. */
  static async open(address: Address): Promise<HttpConnection> {
    const connection = new HttpConnection();
    connection.#socket = await Bun.connect({
      hostname: address.host,
      port: address.port,
      socket: {
        data: (_, chunk) => connection.#receive(chunk),
        drain: () => connection.#sendRest(),
        close: () => connection.#fail(new Error("The connection was closed")),
        error: (_, error) => connection.#fail(error),
      },
    });
    return connection;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether a response is being waited for. */
  get isBusy(): boolean {
    return this.#waiting !== undefined;
  }

  /** Sends `request` and waits for the whole response. One at a time. */
  send(request: Uint8Array): Promise<Reply> {
    if (this.#waiting !== undefined) throw new Error("The connection is in use");
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(new Error("The connection is closed"));
        return;
      }
      this.#waiting = { resolve, reject };
      this.#unsent = request;
      this.#sendRest();
    });
  }

  close(): void {
    this.#fail(new Error("The connection was closed here"));
    this.#socket?.end();
  }

  #sendRest(): void {
    if (this.#unsent === undefined || this.#socket === undefined) return;
    const count = this.#socket.write(this.#unsent);
    this.#unsent = count < this.#unsent.length ? this.#unsent.subarray(count) : undefined;
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk]);
    const headerEnd = bytes.indexOf(HEADER_END);
    if (headerEnd < 0) {
      this.#pending = Buffer.from(bytes);
      return;
    }
    const bodyStart = headerEnd + HEADER_END.length;
    const length = LENGTH_PATTERN.exec(bytes.toString("latin1", 0, headerEnd))?.[1];
    if (length === undefined) {
      this.#fail(new Error("The response has no Content-Length"));
      return;
    }
    const end = bodyStart + Number(length);
    if (bytes.length < end) {
      this.#pending = Buffer.from(bytes);
      return;
    }
    this.#pending = undefined;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({
      status: Number(bytes.toString("latin1", STATUS_OFFSET, STATUS_OFFSET + 3)),
      body: bytes.subarray(bodyStart, end),
    });
  }

  #fail(error: Error): void {
    this.#isClosed = true;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(error);
  }
}

/** A response that goes on; its bytes are passed on as they come, head and chunk marks included. */
export async function openStream(
  address: Address,
  request: Uint8Array,
  onBytes: (chunk: Buffer) => void,
): Promise<{ close(): void }> {
  const started = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: address.host,
    port: address.port,
    socket: {
      data: (_, chunk) => {
        started.resolve();
        onBytes(chunk);
      },
      close: () => started.reject(new Error("The stream was closed before it began")),
      error: (_, error) => started.reject(error),
    },
  });
  socket.write(request);
  await started.promise;
  return { close: () => socket.end() };
}
