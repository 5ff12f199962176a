/**
 * Snapshots that come in over one connection; the other end of `snapshot-sender.ts`.
 *
 *     idle --snapshot--> opening --there is a place for it--> receiving --done--> handing over
 *     any --snapshot--> opening (the sender began anew)
 *
 * Each chunk is checked and goes to the stage before it is confirmed, so that a transfer resumes
 * behind it. What is yielded is as long as the sender said; what it means is decided elsewhere.
 *
 * @module
 */
import { crc32c } from "../../../base/crc32c.ts";
import type { SnapshotStage } from "../../../host/ports.ts";
import type { SnapshotRequest } from "../../raft/types.ts";
import type { PlainRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { messageFromRecord } from "../codec/message-codec.ts";
import { SNAPSHOT_CHUNK_SIZE_BYTES, SNAPSHOT_SIZE_MAX_BYTES } from "../codec/snapshot-codec.ts";
import { SNAPSHOT_WINDOW_BYTES } from "../limits.ts";

export interface SnapshotIntakeHost {
  /** Whether the sender may send `message` to this node. */
  isExpected(message: SnapshotRequest): boolean;
  /** A place for the body; undefined when it is not wanted or there is no room. Never rejects. */
  stage(message: SnapshotRequest): Promise<SnapshotStage | undefined>;
  /** All of it is in `stage`. Resolves when the core has decided. */
  whole(message: SnapshotRequest, stage: SnapshotStage): Promise<void>;
  answer(record: PlainRecord): void;
}

interface Transfer {
  readonly id: number;
  readonly message: SnapshotRequest;
  stage: SnapshotStage | undefined;
  /** What was received, and what of it is in the stage. */
  receivedBytes: number;
  storedBytes: number;
  /** Resolves when all that was received is stored, or was not taken. */
  storing: Promise<void>;
}

/** The receiving end of one connection. */
export class SnapshotIntake {
  readonly #host: SnapshotIntakeHost;
  #current: Transfer | undefined;

  constructor(host: SnapshotIntakeHost) {
    this.#host = host;
  }

  /** Takes the next frame; false when it makes no sense. */
  push(record: PlainRecord): boolean {
    const fields = new FieldReader(record);
    const id = fields.counter("i");
    if (fields.failed) return false;
    switch (record["k"]) {
      case "snapshot":
        return this.#begin(id, record["m"]);
      case "chunk":
        return this.#add(id, fields);
      case "done":
        return this.#finish(id, fields);
      default:
        return false;
    }
  }

  #begin(id: number, value: unknown): boolean {
    const message = messageFromRecord(value);
    if (message?.kind !== "snapshot_request" || !this.#host.isExpected(message)) return false;
    const transfer: Transfer = {
      ...{ id, message },
      ...{ stage: undefined, receivedBytes: 0, storedBytes: 0 },
      storing: Promise.resolve(),
    };
    this.#current = transfer;
    void this.#open(transfer);
    return true;
  }

  async #open(transfer: Transfer): Promise<void> {
    const { id, message } = transfer;
    const stage = await this.#host.stage(message);
    if (this.#current !== transfer) return;
    if (stage === undefined) {
      this.#refuse(transfer);
      return;
    }
    transfer.stage = stage;
    transfer.receivedBytes = stage.sizeBytes;
    transfer.storedBytes = stage.sizeBytes;
    this.#host.answer({ k: "resume", i: id, o: stage.sizeBytes });
  }

  #add(id: number, fields: FieldReader): boolean {
    const offset = fields.counter("o");
    const chunk = fields.bytes("d");
    const crc = fields.counter("c");
    const transfer = this.#current;
    // Refused meanwhile: what was under way then still arrives.
    if (transfer === undefined) return !fields.failed;
    const { stage } = transfer;
    if (fields.failed || transfer.id !== id || stage === undefined) return false;
    const isNext = offset === transfer.receivedBytes && crc === crc32c(chunk, 0, chunk.length);
    const isSmall = chunk.length > 0 && chunk.length <= SNAPSHOT_CHUNK_SIZE_BYTES;
    if (!isNext || !isSmall || offset + chunk.length > SNAPSHOT_SIZE_MAX_BYTES) return false;
    transfer.receivedBytes += chunk.length;
    // More than it may send before it hears from us.
    const waitingBytes = transfer.receivedBytes - transfer.storedBytes;
    if (waitingBytes > SNAPSHOT_WINDOW_BYTES + SNAPSHOT_CHUNK_SIZE_BYTES) return false;
    transfer.storing = this.#store(transfer, { stage, offset, chunk });
    return true;
  }

  async #store(
    transfer: Transfer,
    work: {
      readonly stage: SnapshotStage;
      readonly offset: number;
      readonly chunk: Uint8Array;
    },
  ): Promise<void> {
    const end = work.offset + work.chunk.length;
    // A full disk ends the attempt; the leader tries again later.
    const sizeBytes = await work.stage.append(work.offset, work.chunk).catch(() => -1);
    if (this.#current !== transfer) return;
    if (sizeBytes < end) {
      this.#refuse(transfer);
      return;
    }
    transfer.storedBytes = end;
    this.#host.answer({ k: "stored", i: transfer.id, o: end });
  }

  #finish(id: number, fields: FieldReader): boolean {
    const size = fields.counter("z");
    const transfer = this.#current;
    if (transfer === undefined) return !fields.failed;
    const isWhole = transfer.id === id && size === transfer.receivedBytes;
    if (fields.failed || !isWhole || transfer.stage === undefined) return false;
    void this.#handOver(transfer, transfer.stage);
    return true;
  }

  async #handOver(transfer: Transfer, stage: SnapshotStage): Promise<void> {
    const { id, message } = transfer;
    await transfer.storing;
    if (this.#current !== transfer) return;
    this.#current = undefined;
    await this.#host.whole(message, stage);
    this.#host.answer({ k: "got", i: id });
  }

  #refuse({ id }: Transfer): void {
    this.#current = undefined;
    this.#host.answer({ k: "refused", i: id });
  }
}
