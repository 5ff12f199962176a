/**
 * A snapshot on its way in: the announcement, its chunks in order, and the end.
 *
 *     snapshot {i: id, m: message}   chunk {i, o: offset, d: bytes} ...   done {i, z: size}
 *
 * One at a time for each connection; a new announcement gives up the one before. What is yielded is
 * whole and as long as the sender said; what it means is decided elsewhere. Pure.
 *
 * @module
 */
import type { SnapshotRequest } from "../raft/types.ts";
import type { PlainRecord } from "./codec.ts";
import { FieldReader } from "./fields.ts";
import { messageFromRecord } from "./message-codec.ts";
import { SNAPSHOT_SIZE_MAX_BYTES } from "./snapshot-codec.ts";

export type AssemblyStep =
  | { readonly kind: "more" }
  | { readonly kind: "wrong" }
  | {
      readonly kind: "whole";
      readonly id: number;
      readonly message: SnapshotRequest;
      readonly body: readonly Uint8Array[];
    };

const MORE: AssemblyStep = { kind: "more" };
const WRONG: AssemblyStep = { kind: "wrong" };

/** Puts the frames of one snapshot together. */
export class SnapshotAssembly {
  #current: { readonly id: number; readonly message: SnapshotRequest } | undefined;
  #body: Uint8Array[] = [];
  #sizeBytes = 0;

  /** Takes the next frame. */
  push(record: PlainRecord): AssemblyStep {
    const fields = new FieldReader(record);
    const id = fields.counter("i");
    if (fields.failed) return WRONG;
    switch (record["k"]) {
      case "snapshot":
        return this.#begin(id, record["m"]);
      case "chunk":
        return this.#add(id, fields);
      case "done":
        return this.#end(id, fields);
      default:
        return WRONG;
    }
  }

  #begin(id: number, value: unknown): AssemblyStep {
    const message = messageFromRecord(value);
    if (message?.kind !== "snapshot_request") return WRONG;
    this.#current = { id, message };
    this.#body = [];
    this.#sizeBytes = 0;
    return MORE;
  }

  #add(id: number, fields: FieldReader): AssemblyStep {
    const offset = fields.counter("o");
    const chunk = fields.bytes("d");
    const isNext = this.#current?.id === id && offset === this.#sizeBytes;
    if (fields.failed || !isNext) return WRONG;
    if (this.#sizeBytes + chunk.length > SNAPSHOT_SIZE_MAX_BYTES) return WRONG;
    this.#body.push(chunk);
    this.#sizeBytes += chunk.length;
    return MORE;
  }

  #end(id: number, fields: FieldReader): AssemblyStep {
    const size = fields.counter("z");
    const current = this.#current;
    if (fields.failed || current?.id !== id || size !== this.#sizeBytes) return WRONG;
    const step: AssemblyStep = { kind: "whole", id, message: current.message, body: this.#body };
    this.#current = undefined;
    this.#body = [];
    return step;
  }
}
