/**
 * One attempt to send a snapshot over one connection.
 *
 *     ours     snapshot {i: id, m: message}
 *     theirs   resume {i, o: offset}      what they have of it already; or refused {i}
 *     ours     chunk {i, o: offset, d: bytes, c: crc32c} ...
 *     theirs   stored {i, o: offset} ...  what they have by now
 *     ours     done {i, z: size}
 *     theirs   got {i}                    the core there has decided; or refused {i}
 *
 * No more than a window is under way, so that little is sent again after a broken connection, and
 * little is in memory on either side. The core asks again after a failure; then the other side says
 * how far it is. Knows no sockets.
 *
 * @module
 */
import { crc32c } from "../../../base/crc32c.ts";
import type { Clock } from "../../../host/ports.ts";
import type { PlainRecord } from "../codec/codec.ts";
import { messageToRecord } from "../codec/message-codec.ts";
import { SNAPSHOT_CHUNK_SIZE_BYTES } from "../codec/snapshot-codec.ts";
import { SNAPSHOT_STALL_MS, SNAPSHOT_WINDOW_BYTES } from "../limits.ts";
import type { SnapshotTransfer } from "../transport/peer-port.ts";

export interface SnapshotSenderOptions {
  /** No other snapshot on this connection has it. */
  readonly id: number;
  readonly transfer: SnapshotTransfer;
  /** Sends a frame; false when it was dropped. */
  readonly send: (record: PlainRecord) => boolean;
  readonly clock: Pick<Clock, "after">;
}

/** One snapshot on its way out. */
export class SnapshotSender {
  readonly #options: SnapshotSenderOptions;
  readonly #end = Promise.withResolvers<boolean>();
  readonly #start = Promise.withResolvers<number>();
  #isEnded = false;
  #hasStarted = false;
  /** What the other side has, as far as it said. */
  #storedBytes = 0;
  #wake = () => {};
  #cancelStall = () => {};

  constructor(options: SnapshotSenderOptions) {
    this.#options = options;
  }

  /** Resolves to whether the other side has the whole snapshot. Called once. */
  async run(): Promise<boolean> {
    this.#progressed();
    const { id, transfer, send } = this.#options;
    if (!send({ k: "snapshot", i: id, m: messageToRecord(transfer.message) })) this.end(false);
    // A body that cannot be read, or a frame that was dropped, ends it too.
    this.#sendBody().then(
      (isSent) => isSent || this.end(false),
      (cause) => this.#end.reject(cause),
    );
    try {
      return await this.#end.promise;
    } finally {
      this.end(false);
    }
  }

  /** A frame from the other side; others than this one's are passed over. */
  received(record: PlainRecord): void {
    if (record["i"] !== this.#options.id) return;
    const offset = record["o"];
    const isOffset = typeof offset === "number" && Number.isSafeInteger(offset) && offset >= 0;
    switch (record["k"]) {
      case "resume":
        if (!isOffset || this.#hasStarted) return;
        this.#hasStarted = true;
        this.#storedBytes = offset;
        this.#start.resolve(offset);
        this.#progressed();
        return;
      case "stored":
        if (!isOffset || offset <= this.#storedBytes) return;
        this.#storedBytes = offset;
        this.#wake();
        this.#progressed();
        return;
      case "got":
        this.end(true);
        return;
      case "refused":
        this.end(false);
    }
  }

  /** The attempt is over: the connection ended, or this node stops. */
  end(hasArrived: boolean): void {
    this.#isEnded = true;
    this.#cancelStall();
    this.#end.resolve(hasArrived);
    this.#start.resolve(0);
    this.#wake();
  }

  /** Sends what the other side lacks; false when it could not. */
  async #sendBody(): Promise<boolean> {
    const { id, transfer, send } = this.#options;
    const start = await this.#start.promise;
    let offset = 0;
    if (this.#isEnded) return false;
    for await (const part of transfer.body) {
      for (let at = 0; at < part.length; at += SNAPSHOT_CHUNK_SIZE_BYTES) {
        const slice = part.subarray(at, at + SNAPSHOT_CHUNK_SIZE_BYTES);
        const chunk = slice.subarray(Math.min(slice.length, Math.max(0, start - offset)));
        offset += slice.length;
        if (chunk.length === 0) continue;
        const from = offset - chunk.length;
        while (!this.#isEnded && from - this.#storedBytes >= SNAPSHOT_WINDOW_BYTES) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
        const c = crc32c(chunk, 0, chunk.length);
        if (this.#isEnded || !send({ k: "chunk", i: id, o: from, d: chunk, c })) return false;
      }
    }
    return !this.#isEnded && send({ k: "done", i: id, z: offset });
  }

  #progressed(): void {
    this.#cancelStall();
    if (this.#isEnded) return;
    this.#cancelStall = this.#options.clock.after(SNAPSHOT_STALL_MS, () => this.end(false));
  }
}
