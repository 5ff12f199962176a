/**
 * A wire for each contender: pairs of namespaces that do not see each other.
 *
 * All are open at once, so that the contenders can take turns in each round; only one has traffic
 * at a time.
 *
 * @module
 */
import { pidsIn } from "../../../tests/lab/janitor.ts";
import { openPacketPair, type PacketPair } from "../../../tests/lab/packet-pair.ts";
import { run } from "../../../tests/lab/run.ts";
import { waitFor } from "../../../tests/lab/wait.ts";
import { openContainers } from "./containers.ts";
import type { Contender, RunningContender } from "./contender.ts";
import type { WireName } from "./figures.ts";
import type { Ends } from "./iperf.ts";

const ANSWER_TIMEOUT_MS = 20_000;

/** A contender at work. */
export interface Lane {
  readonly contender: Contender;
  readonly pair: PacketPair;
  readonly running: RunningContender;
  /** From side a to side b, through it. */
  readonly ends: Ends;
  /** From container to container; absent where it has none. */
  readonly containers: Ends | undefined;
}

export class Wires implements AsyncDisposable {
  readonly #pairs: PacketPair[] = [];
  /** The kernel's names of the containers' namespaces. */
  readonly #containers: string[] = [];

  /**
   * Starts every one of `contenders` on a wire of its own, and resolves when packets pass. One that
   * cannot be started is left out, the reason told to `onFailure`.
   */
  async open(
    wire: WireName,
    contenders: readonly Contender[],
    onFailure: (text: string) => void,
    wrap: readonly string[] = [],
  ): Promise<Lane[]> {
    const lanes = contenders.map(async (contender) => {
      try {
        return [await this.#openLane(wire, contender, wrap)];
      } catch (error) {
        onFailure(`${contender.name}: ${error instanceof Error ? error.message : error}`);
        return [];
      }
    });
    return (await Promise.all(lanes)).flat();
  }

  async #openLane(wire: WireName, contender: Contender, wrap: readonly string[]): Promise<Lane> {
    const pair = await openPacketPair({ wire, label: contender.key });
    this.#pairs.push(pair);
    const running = await contender.start(pair, wrap);
    const once = { count: 1, waitSeconds: 0.2 };
    await waitFor(async () => (await pair.a.namespace.ping(running.target, once)).received > 0, {
      describe: `an answer through ${contender.name}`,
      timeoutMs: ANSWER_TIMEOUT_MS,
    });
    const ends = {
      source: pair.a.namespace,
      target: pair.b.namespace,
      address: running.target,
    };
    const plan = running.containers;
    const containers =
      plan && (await openContainers(pair, plan, (id) => this.#containers.push(id)));
    return { contender, pair, running, ends, containers };
  }

  /** Ends every process and namespace, also senders that are still at work. */
  async [Symbol.asyncDispose](): Promise<void> {
    const pairs = this.#pairs.splice(0);
    for (const pair of pairs) {
      for (const { namespace } of [pair.a, pair.b]) {
        for (const pid of pidsIn(namespace.id)) killIfThere(pid);
      }
    }
    for (const id of this.#containers.splice(0)) {
      for (const pid of pidsIn(id)) killIfThere(pid);
      await run(["ip", "netns", "delete", id]);
    }
    await Promise.all(pairs.map(async (pair) => await pair[Symbol.asyncDispose]()));
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself between the listing and now.
  }
}
