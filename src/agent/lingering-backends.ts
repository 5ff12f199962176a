/**
 * The ways in which this node was reached until a moment ago.
 *
 * Others hear a little later that a node is reached otherwise now, and send the old way until then.
 * So what the old way needs stays for a while after the config has named another backend, another
 * port of the packet engine, or another VXLAN link.
 *
 * @module
 */
import type { BackendConfig } from "../control/network/backend-config.ts";
import { partsOf } from "../dataplane/backends/auto.ts";
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

  /** The one that was left last comes last; the current one is none of them. */
  get configs(): readonly BackendConfig[] {
    return this.#former.map(({ config }) => config);
  }

  /** The node is about to be reached by `config`. */
  follow(config: BackendConfig): void {
    const before = this.#current;
    this.#current = config;
    if (before === undefined || isSameWay(before, config)) return;
    this.#drop((former) => isSameWay(former, before) || isSameWay(former, config));
    const cancel = this.#clock.after(LINGER_MS, () => {
      this.#drop((former) => former === before);
      this.#onOver();
    });
    this.#former = [...this.#former, { config: before, cancel }];
  }

  /** The node is reached by `config` still: what it was about to change to could not be had. */
  stay(config: BackendConfig): void {
    this.#drop((former) => isSameWay(former, config));
    this.#current = config;
  }

  /** Forgets all of them, and the current one. */
  clear(): void {
    for (const { cancel } of this.#former) cancel();
    this.#former = [];
    this.#current = undefined;
  }

  #drop(isOver: (former: BackendConfig) => boolean): void {
    for (const { config, cancel } of this.#former) if (isOver(config)) cancel();
    this.#former = this.#former.filter(({ config }) => !isOver(config));
  }
}

/** Whether who sends as `a` says reaches a node that is reached by `b`. */
function isSameWay(a: BackendConfig, b: BackendConfig): boolean {
  return endsOf(a) === endsOf(b);
}

/** What packets come in by. */
function endsOf(config: BackendConfig): string {
  const ends = partsOf(config).map((part) => {
    if (part.kind === "udp") return `udp ${part.port}`;
    return part.kind === "vxlan" ? `vxlan ${part.vni} ${part.port}` : part.kind;
  });
  return ends.join(", ");
}
