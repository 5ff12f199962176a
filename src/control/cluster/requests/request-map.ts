/**
 * Values by request id, without making a string of it for every look.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { RequestId } from "../../kv/types.ts";

/** A map from request ids. */
export class RequestMap<Value> {
  readonly #clients = new Map<NodeId, Map<number, Value>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get({ client, sequence }: RequestId): Value | undefined {
    return this.#clients.get(client)?.get(sequence);
  }

  set({ client, sequence }: RequestId, value: Value): void {
    let values = this.#clients.get(client);
    if (values === undefined) {
      values = new Map();
      this.#clients.set(client, values);
    }
    if (!values.has(sequence)) this.#size += 1;
    values.set(sequence, value);
  }

  /** False when it was not there. */
  delete({ client, sequence }: RequestId): boolean {
    const values = this.#clients.get(client);
    if (values === undefined || !values.delete(sequence)) return false;
    this.#size -= 1;
    if (values.size === 0) this.#clients.delete(client);
    return true;
  }

  clear(): void {
    this.#clients.clear();
    this.#size = 0;
  }

  /** All values; those deleted meanwhile are left out. */
  *values(): Generator<Value> {
    for (const values of this.#clients.values()) yield* values.values();
  }
}
