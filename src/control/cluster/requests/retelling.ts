/**
 * After the whole state was replaced: listeners cannot be told what changed, so they are told all
 * there is, as if it had been put just now, some of it in each turn of the loop.
 *
 * What is applied meanwhile is told as ever. A slice reads the state as it is then, so nobody is
 * told of something older than what he has heard.
 *
 * @module
 */
import type { Revision } from "../../../base/ids.ts";
import type { Clock } from "../../../host/ports.ts";
import type { KvEvent, KvReader } from "../../kv/types.ts";
import { RETELL_EVENTS } from "../limits.ts";

export interface RetellingOptions {
  readonly reader: KvReader;
  readonly clock: Pick<Clock, "after">;
  readonly tell: (events: readonly KvEvent[], revision: Revision) => void;
}

/** Tells the state of one node. */
export class Retelling {
  readonly #options: RetellingOptions;
  #cancel: () => void = () => undefined;

  constructor(options: RetellingOptions) {
    this.#options = options;
  }

  /** Begins at the first key; the first slice at once. Always tells something, if only nothing. */
  begin(): void {
    this.#cancel();
    this.#slice(undefined);
  }

  /** Tells nothing any more. */
  stop(): void {
    this.#cancel();
  }

  #slice(after: string | undefined): void {
    const { reader, clock, tell } = this.#options;
    const events: KvEvent[] = [];
    for (const current of reader.list("", after)) {
      events.push({ kind: "put", current, previous: undefined });
      if (events.length < RETELL_EVENTS) continue;
      const { key } = current;
      this.#cancel = clock.after(0, () => this.#slice(key));
      break;
    }
    tell(events, reader.revision);
  }
}
