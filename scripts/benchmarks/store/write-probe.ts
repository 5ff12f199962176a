/**
 * Writes at a steady pace over many connections, to find out from when to when none is answered.
 *
 * Not one client that waits: a store may hold a write for seconds while it has no leader, and a
 * later one would be answered long before it. A write that is not answered keeps its connection.
 *
 * @module
 */
import { HttpConnection } from "./http-connection.ts";
import { KEY_PREFIX, numberedValue, type StoreMember, type StoreSystem } from "./system.ts";

const INTERVAL_MS = 5;
const CONNECTIONS_PER_MEMBER = 200;
const VALUE_SIZE = 256;
const STATUS_OK = 200;

/** An acknowledged write: when it was sent and when the answer came. */
export interface AckedWrite {
  readonly sentMs: number;
  readonly ackedMs: number;
}

/** A member with its connections that are not in use. */
interface Target {
  readonly member: StoreMember;
  readonly connections: HttpConnection[];
}

/** Running writes; `close` it. */
export class WriteProbe {
  readonly acked: AckedWrite[] = [];
  readonly #system: StoreSystem;
  readonly #targets: readonly Target[];
  #timer: Timer | undefined;
  #sequence = 0;

  private constructor(system: StoreSystem, targets: readonly Target[]) {
    this.#system = system;
    this.#targets = targets;
  }

  /** Opens the connections to `members` and begins. */
  static async open(system: StoreSystem, members: readonly StoreMember[]): Promise<WriteProbe> {
    const targets = await Promise.all(
      members.map(async (member) => {
        const opening = Array.from({ length: CONNECTIONS_PER_MEMBER }, () =>
          HttpConnection.open(member),
        );
        return { member, connections: await Promise.all(opening) };
      }),
    );
    const probe = new WriteProbe(system, targets);
    probe.#timer = setInterval(() => void probe.#write(), INTERVAL_MS);
    return probe;
  }

  /** The first write that was sent at `sinceMs` or later and acknowledged. */
  firstSince(sinceMs: number): AckedWrite | undefined {
    return this.acked.find(({ sentMs }) => sentMs >= sinceMs);
  }

  /** The longest time between two acknowledgements of which the later came after `sinceMs`. */
  longestGapMs(sinceMs: number): number {
    const times = this.acked.map(({ ackedMs }) => ackedMs);
    const gaps = times.slice(1).map((time, i) => (time > sinceMs ? time - times[i]! : 0));
    return Math.max(0, ...gaps);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { connections } of this.#targets) for (const each of connections) each.close();
  }

  async #write(): Promise<void> {
    const target = this.#targets[this.#sequence++ % this.#targets.length]!;
    const connection = target.connections.pop();
    if (connection === undefined) return;
    const { member } = target;
    const value = numberedValue(this.#sequence, VALUE_SIZE);
    const sentMs = performance.now();
    try {
      const request = this.#system.putRequest(member, `${KEY_PREFIX}probe`, value);
      const { status } = await connection.send(request);
      if (status === STATUS_OK) this.acked.push({ sentMs, ackedMs: performance.now() });
      target.connections.unshift(connection);
    } catch {
      // The member has gone, or the probe was closed: this connection is of no more use.
      connection.close();
    }
  }
}
