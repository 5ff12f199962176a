/**
 * The ways in which this node was reached until a moment ago.
 *
 * Others hear a little later that a node is reached otherwise now, and send the old way until then.
 * So what the old way needs stays for a while after the config has named another backend.
 *
 * @module
 */
import type { BackendConfig } from "../control/network/backend-config.ts";
import type { Clock } from "../host/ports.ts";

/** How long: a lease gets around in a fraction of it, also on a busy machine. */
const LINGER_MS = 5000;

interface Lingering {
  readonly config: BackendConfig;
  readonly cancel: () => void;
}

/** Remembers backends that the config has left, each for a while. */
export class LingeringBackends {
  readonly #clock: Clock;
  readonly #onOver: () => void;
  #current: BackendConfig | undefined;
  #former: readonly Lingering[] = [];

  /** Calls `onOver` each time that one of them has had its time. */
  constructor(clock: Clock, onOver: () => void) {
    this.#clock = clock;
    this.#onOver = onOver;
  }

  /** At most one of each kind, none of the current one. */
  get configs(): readonly BackendConfig[] {
    return this.#former.map(({ config }) => config);
  }

  /** The node is about to be reached by `config`. */
  follow(config: BackendConfig): void {
    const before = this.#current;
    this.#current = config;
    if (before === undefined || before.kind === config.kind) return;
    this.#drop(config.kind);
    const cancel = this.#clock.after(LINGER_MS, () => {
      this.#drop(before.kind);
      this.#onOver();
    });
    this.#former = [...this.#former, { config: before, cancel }];
  }

  /** Forgets all of them, and the current one. */
  clear(): void {
    for (const { cancel } of this.#former) cancel();
    this.#former = [];
    this.#current = undefined;
  }

  #drop(kind: BackendConfig["kind"]): void {
    for (const former of this.#former) if (former.config.kind === kind) former.cancel();
    this.#former = this.#former.filter(({ config }) => config.kind !== kind);
  }
}
