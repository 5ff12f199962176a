/**
 * Server-sent events (WHATWG HTML §9.2): text of a stream out of events, and back.
 *
 * Pure.
 *
 * @module
 */

/** The media type of a stream. */
export const EVENT_STREAM_TYPE = "text/event-stream";

/** One event as a client dispatches it. */
export interface StreamEvent {
  /** "message" when the stream did not name it. */
  readonly name: string;
  readonly data: string;
  /** As last given, by this event or by one before it; "" before the first. */
  readonly lastId: string;
}

/** An event's lines. `data` must have no line end in it: JSON text has none. */
export function encodeStreamEvent(name: string, data: unknown, id: number | undefined): string {
  const idLine = id === undefined ? "" : `id: ${id}\n`;
  return `event: ${name}\n${idLine}data: ${JSON.stringify(data)}\n\n`;
}

/** A line that clients pass over; keeps the connection alive. */
export const STREAM_COMMENT = ":\n\n";

/** Cuts a stream into its events, piece by piece. */
export class StreamDecoder {
  readonly #text = new TextDecoder();
  readonly #sizeMaxBytes: number;
  #rest = "";
  #name = "";
  #data: string[] = [];
  #lastId = "";

  /** `sizeMaxBytes`: of what may be waiting for its end before it counts as no stream. */
  constructor(sizeMaxBytes: number) {
    this.#sizeMaxBytes = sizeMaxBytes;
  }

  /** The events that `bytes` complete; undefined when one is larger than allowed. */
  push(bytes: Uint8Array): readonly StreamEvent[] | undefined {
    const events: StreamEvent[] = [];
    const lines = (this.#rest + this.#text.decode(bytes, { stream: true })).split(
      /\r\n|\n|\r(?!$)/,
    );
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const event = this.#line(line);
      if (event !== undefined) events.push(event);
    }
    const waiting = this.#data.reduce((sum, line) => sum + line.length, this.#rest.length);
    return waiting > this.#sizeMaxBytes ? undefined : events;
  }

  #line(line: string): StreamEvent | undefined {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#lastId = value;
    return undefined;
  }

  /** An event without data is none. */
  #dispatch(): StreamEvent | undefined {
    const event = {
      name: this.#name || "message",
      data: this.#data.join("\n"),
      lastId: this.#lastId,
    };
    const isEvent = this.#data.length > 0;
    this.#name = "";
    this.#data = [];
    return isEvent ? event : undefined;
  }
}
