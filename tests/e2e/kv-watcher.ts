/**
 * Somebody who watches the store from outside: over HTTP, from one node to the next when one dies.
 *
 * @module
 */
import { StreamDecoder, type StreamEvent } from "../../src/admin/event-stream.ts";
import type { Host } from "../lab/host.ts";

const EVENT_SIZE_MAX_BYTES = 16_000_000;

/** One change that the watcher was told of. */
export interface Change {
  readonly kind: string;
  readonly key: string;
  readonly revision: number;
  readonly value: unknown;
}

/** Follows `prefix` after a revision, until it is stopped. */
export class KvWatcher {
  readonly changes: Change[] = [];
  /** Revision of the newest bookmark. */
  bookmark = 0;
  /** Connections made; the first is one. */
  connectionCount = 0;
  readonly #hosts: readonly Host[];
  readonly #prefix: string;
  readonly #since: number;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #lastId: string;

  /** Begins at the first of `hosts`; when that ends the watch, goes on at the next one. */
  constructor(hosts: readonly Host[], prefix: string, since: number) {
    this.#hosts = hosts;
    this.#prefix = prefix;
    this.#since = since;
    this.#lastId = String(since);
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#stop.signal.aborted; turn++) {
      try {
        await this.#follow(this.#hosts[turn % this.#hosts.length]!);
      } catch (error) {
        if (error instanceof WatchRefused) throw error;
        // The node is gone, or was stopped by us: the next one, from where this one was.
      }
    }
  }

  async #follow(host: Host): Promise<void> {
    const query = `prefix=${this.#prefix}&since=${this.#since}`;
    const response = await fetch(`http://localhost/watch?${query}`, {
      signal: this.#stop.signal,
      headers: { "last-event-id": this.#lastId },
      unix: host.socket,
    });
    // A node that was just started knows less than we do, and cannot ask anybody yet.
    if (response.status === 503 || response.status === 504) return;
    if (response.status !== 200 || response.body === null) {
      throw new WatchRefused(`${host.name}: ${response.status} ${await response.text()}`);
    }
    this.connectionCount += 1;
    const decoder = new StreamDecoder(EVENT_SIZE_MAX_BYTES);
    const partial: Change[] = [];
    for await (const chunk of response.body) {
      for (const event of decoder.push(chunk) ?? []) this.#take(event, partial);
    }
  }

  /** What of a revision came before its end counts only when the end comes too. */
  #take({ name, data, lastId }: StreamEvent, partial: Change[]): void {
    const body: Record<string, unknown> = JSON.parse(data);
    const revision = Number(name === "put" ? body["modRevision"] : body["revision"]);
    if (name === "bookmark") {
      this.bookmark = revision;
    } else {
      partial.push({ kind: name, key: String(body["key"]), revision, value: body["value"] });
    }
    if (Number(lastId) !== revision) return;
    this.#lastId = lastId;
    this.changes.push(...partial.splice(0));
  }
}

/** The node answered, and it was no stream. */
class WatchRefused extends Error {}
