/**
 * Simulated spares, many in this process: members with certificates of their own that find a
 * source and follow it over mutual TLS by the program's own code, and look at each entry without
 * applying it. They begin where the cluster is, so no snapshot is sent to them.
 *
 * @module
 */
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../../src/base/ids.ts";
import { createSilentLog } from "../../../src/base/log.ts";
import { decodeCommand } from "../../../src/control/cluster/codec/entry-codec.ts";
import { requestJoin } from "../../../src/control/cluster/join/join.ts";
import { TICK_BATCH_MS } from "../../../src/control/cluster/limits.ts";
import { FeedIntake } from "../../../src/control/cluster/spares/feed-intake.ts";
import {
  feedNewsFromRecord,
  feedRequestToRecord,
} from "../../../src/control/cluster/spares/feed-messages.ts";
import { createPeerCounters } from "../../../src/control/cluster/transport/peer-counters.ts";
import { PeerTransport } from "../../../src/control/cluster/transport/transport.ts";
import { Credentials } from "../../../src/control/cluster/trust/credentials.ts";
import type { JoinGrant } from "../../../src/control/cluster/trust/identity.ts";
import { createRequest } from "../../../src/control/cluster/trust/pki.ts";
import type { Command } from "../../../src/control/kv/types.ts";
import type { EntryId } from "../../../src/control/raft/types.ts";
import { openSystemClock } from "../../../src/host/clock/system-clock.ts";
import { openSystemRandom } from "../../../src/host/random/system-random.ts";

const CLUSTER_PORT = 8286;
const FIRST_NODE_ID = 0x2000_0000_0000;
/** Joins at a time: the leader signs each. */
const CONCURRENCY = 16;

/** Says and hears nothing beside its certificate. */
const SILENT = {
  hello: () => ({}),
  objectionTo: () => undefined,
  greeted: () => undefined,
  doubled: () => undefined,
  refused: () => undefined,
};

/** What the cluster gave to one of them. */
export interface Admitted {
  readonly grant: JoinGrant;
  readonly key: string;
}

const clock = openSystemClock();
const random = openSystemRandom();

/** Lets `count` nodes into the cluster of the agent at `host`. */
export async function admit(count: number, host: string, token: string): Promise<Admitted[]> {
  const admitted: Admitted[] = [];
  let next = 0;
  const one = async () => {
    while (next < count) {
      const number = next++;
      const nodeId = decodeNodeId(FIRST_NODE_ID + number);
      const { key } = await createRequest(nodeId);
      const joined = await requestJoin({
        ...{ peer: { host, port: CLUSTER_PORT }, token, nodeId, key, clock, timeoutMs: 60_000 },
        self: {
          ...{ name: `s${number}`, address: { host: "127.0.0.1", port: 1 }, publicIp: "" },
          ...{ underlayPrefixes: [], zone: "" },
        },
      });
      if (!joined.ok) throw new Error(`Cannot let spare ${number} in: ${joined.error.detail}`);
      admitted.push(joined.value);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, one));
  return admitted;
}

/** One of them, following. */
export class SimulatedSpare {
  readonly #transport: PeerTransport;
  readonly #intake: FeedIntake;
  readonly #cancel: () => void;
  #position: EntryId;

  /** Begins after `position`; calls `tell` with each command that follows. */
  constructor({ grant, key }: Admitted, position: EntryId, tell: (command: Command) => void) {
    const { nodeId, clusterId, generation, ca, certificate, peers } = grant;
    this.#position = position;
    this.#transport = new PeerTransport({
      ...{ nodeId, cluster: { clusterId, generation }, clock, random },
      credentials: new Credentials({ ca, certificate, key }, clock),
      log: createSilentLog(),
      counters: createPeerCounters(),
      ...{ greeting: SILENT, former: () => [], superseded: () => undefined },
      addressOf: (node) => peers.find((peer) => peer.id === node)?.address,
      standing: () => "member",
      keptOpen: () => [],
    });
    this.#intake = new FeedIntake({
      order: () => peers.map((peer) => peer.id),
      position: () => this.#position,
      ask: (source, request) => this.#transport.ask(source, feedRequestToRecord(request)),
      hinted: () => undefined,
      part: (source) => this.#transport.part(source),
      take: (_frame, batch) => {
        for (const { term, index, ...entry } of batch?.entries ?? []) {
          this.#position = { term, index };
          const logged = entry.kind === "normal" ? decodeCommand(entry.data) : undefined;
          if (logged !== undefined) tell(logged.command);
        }
        this.#intake.durable(this.#position.index);
      },
      leaderless: () => undefined,
      diverged: () => {
        throw new Error("a simulated spare and its source hold different entries");
      },
      below: (limit) => random.below(limit),
    });
    this.#transport.attach({
      receive: () => undefined,
      receiveSnapshot: () => Promise.resolve(),
      unreachable: (node: NodeId) => this.#intake.lost(node),
      closed: () => undefined,
      expelled: () => undefined,
      answer: () => Promise.resolve({ ok: true, value: {} }),
      asked: () => true,
      told: (from, record, sizeBytes) => {
        const news = feedNewsFromRecord(record);
        if (news !== undefined) this.#intake.told(from, news, sizeBytes);
      },
    });
    this.#cancel = clock.every(TICK_BATCH_MS, () => this.#intake.tick());
    this.#intake.start();
  }

  get isFed(): boolean {
    return this.#intake.source !== undefined;
  }

  close(): void {
    this.#cancel();
    this.#intake.stop();
    this.#transport.close();
  }
}

/** Where `term` and `index` of an agent's status stand. */
export function positionAt(term: number, index: number): EntryId {
  return { term: decodeTerm(term), index: decodeIndex(index) };
}
