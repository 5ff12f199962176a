/**
 * Somebody who watches the store from outside and writes down everything that comes, from one node
 * to the next: when a node dies, when it is silent, and now and then for no reason.
 *
 * @module
 */
import { StreamDecoder, type StreamEvent } from "../../src/admin/event-stream.ts";
import type { Host } from "../lab/host.ts";
import type { SimRandom } from "../sim/cluster/sim-random.ts";
import { fromWire, type ItemView } from "./client.ts";
import type { Finding, WatchedBookmark, WatchedEvent, WatchSession } from "./history.ts";

const EVENT_SIZE_MAX_BYTES = 16_000_000;
/** More than two of the bookmarks that an idle watch gets. */
const SILENCE_MAX_MS = 25_000;
const STAY_MEAN_MS = 12_000;
const PAUSE_MS = 50;
const CONNECT_TIMEOUT_MS = 4_000;

export interface WatcherOptions {
  readonly name: string;
  /** Hosts to ask. */
  hosts(): readonly Host[];
  readonly prefix: string;
  readonly since: number;
  /** Whether to ask for what each key was before. */
  readonly wantsPrevious: boolean;
  readonly random: SimRandom;
}

/** Follows `prefix` until it is stopped. */
export class Watcher {
  readonly sessions: WatchSession[] = [];
  readonly findings: Finding[] = [];
  /** How often no node knew what comes next, so that the watch had to begin anew. */
  resyncCount = 0;
  readonly #options: WatcherOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  /** After this revision the next session begins. */
  #after: number;
  /** Everything up to it was told. */
  #reached: number;
  #refusedCount = 0;

  constructor(options: WatcherOptions) {
    this.#options = options;
    this.#after = options.since;
    this.#reached = options.since;
    this.#running = this.#run();
  }

  get reached(): number {
    return this.#reached;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { hosts, random } = this.#options;
    for (let turn = random.below(3); !this.#stop.signal.aborted; turn++) {
      const all = hosts();
      const host = all[turn % all.length];
      if (host === undefined) return;
      const events: WatchedEvent[] = [];
      const bookmarks: WatchedBookmark[] = [];
      const after = this.#after;
      try {
        await this.#follow(host, events, bookmarks);
      } catch {
        // The node is gone, silent, or was left by us: the next one, from where this one was.
      }
      if (events.length > 0 || bookmarks.length > 0) {
        const { name: watcher, prefix } = this.#options;
        this.sessions.push({ watcher, node: host.name, prefix, after, events, bookmarks });
      }
      await Bun.sleep(random.below(PAUSE_MS));
    }
  }

  async #follow(host: Host, events: WatchedEvent[], bookmarks: WatchedBookmark[]): Promise<void> {
    const { prefix, random, wantsPrevious } = this.#options;
    const leave = new AbortController();
    const give = () => leave.abort();
    this.#stop.signal.addEventListener("abort", give, { once: true });
    const stay = setTimeout(give, Math.min(random.exponential(STAY_MEAN_MS), 60_000));
    let silence = setTimeout(give, CONNECT_TIMEOUT_MS);
    try {
      // Both ways of saying where to begin.
      const isHeader = random.chance(0.5);
      const since = isHeader ? "" : `&since=${this.#after}`;
      const query = wantsPrevious ? `${since}&previous=true` : since;
      const response = await fetch(`http://localhost/watch?prefix=${prefix}${query}`, {
        signal: leave.signal,
        headers: isHeader ? { "last-event-id": String(this.#after) } : {},
        unix: host.socket,
        keepalive: false,
      });
      if (response.status !== 200 || response.body === null) {
        await this.#refused(host, response.status, await response.text());
        return;
      }
      this.#refusedCount = 0;
      const decoder = new StreamDecoder(EVENT_SIZE_MAX_BYTES);
      for await (const chunk of response.body) {
        clearTimeout(silence);
        silence = setTimeout(give, SILENCE_MAX_MS);
        const time = performance.now();
        for (const event of decoder.push(chunk) ?? [])
          this.#take(event, { events, bookmarks, time });
      }
    } finally {
      clearTimeout(stay);
      clearTimeout(silence);
      this.#stop.signal.removeEventListener("abort", give);
    }
  }

  /** A node that knows less than we do, or not any more what comes next. */
  async #refused(host: Host, status: number, text: string): Promise<void> {
    // It has asked the others, so what we were told has been lost.
    if (status === 400) {
      const message = `${this.#options.name} after ${this.#after} on ${host.name}: ${text}`;
      this.findings.push({ check: "no acknowledged write lost", message });
    }
    if (status !== 410) return;
    this.#refusedCount += 1;
    if (this.#refusedCount < this.#options.hosts().length) return;
    const { oldestRevision } = JSON.parse(text) as { readonly oldestRevision: number };
    this.#after = Math.max(this.#after, oldestRevision);
    this.#reached = this.#after;
    this.resyncCount += 1;
    this.#refusedCount = 0;
  }

  #take(
    { name, data, lastId }: StreamEvent,
    session: {
      readonly events: WatchedEvent[];
      readonly bookmarks: WatchedBookmark[];
      readonly time: number;
    },
  ): void {
    const { events, bookmarks, time } = session;
    if (name === "bookmark") {
      const { revision } = JSON.parse(data) as { readonly revision: number };
      bookmarks.push({ revision, position: events.length });
      this.#after = revision;
      this.#reached = Math.max(this.#reached, revision);
      return;
    }
    if (name === "delete") {
      const view = JSON.parse(data) as { key: string; revision: number } & PreviousView;
      const { key, revision } = view;
      const isLast = Number(lastId) === revision;
      events.push({ key, value: undefined, revision, time, isLast, ...previousOf(view) });
      this.#told(revision, isLast);
      return;
    }
    if (name !== "put") return;
    const item = JSON.parse(data) as ItemView & PreviousView;
    const { key, modRevision: revision, version, createRevision } = item;
    const isLast = Number(lastId) === revision;
    const value = typeof item.value === "string" ? fromWire(item.value) : "(bytes)";
    const counters = { version, createRevision };
    events.push({ key, value, revision, ...counters, time, isLast, ...previousOf(item) });
    this.#told(revision, isLast);
  }

  #told(revision: number, isLast: boolean): void {
    if (!isLast) return;
    this.#after = revision;
    this.#reached = Math.max(this.#reached, revision);
  }
}

interface PreviousView {
  readonly previous?: ItemView | null;
}

function previousOf({ previous }: PreviousView): Pick<WatchedEvent, "previous"> {
  if (previous === undefined) return {};
  if (previous === null) return { previous };
  return { previous: { value: fromWire(previous.value), revision: previous.modRevision } };
}
