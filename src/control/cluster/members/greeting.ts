/**
 * What nodes say of themselves when they connect, beside their certificate: in which life they are
 * (`life.ts`), which process they are, and where they can be reached now.
 *
 *     hello  {u: use, l: life, p: previous life, r: process, a: address}
 *
 * A node whose life is not the one that the cluster knows is refused, and so is a second process
 * of a node while the first one is heard. Where a node says it is counts more than the record in
 * the members table: one that moved must be answered before anybody can correct its record.
 *
 * @module
 */
import { parseAddress } from "../../../base/address.ts";
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import type { KvReader } from "../../kv/types.ts";
import type { PlainRecord } from "../codec/codec.ts";
import { CLUSTER_PORT, formatHostPort, parseHostPort } from "../transport/host-port.ts";
import type { HostPort } from "../types.ts";
import { claimFrom, formatLife, isSameNode, type LifeClaim, recordedLife } from "./life.ts";
import { findMember } from "./member-table.ts";

const RUN_SIZE_BYTES = 8;
const ADDRESS_LENGTH_MAX = 300;
/** How long two processes of one node are warned of after they were last seen. */
const DOUBLE_SHOWN_MS = 60_000;
/** More pairs than that are one mistake, made with many machines. */
const DOUBLES_MAX = 16;

/** Of a node in a life that is over, or that branched off. */
export const OUTDATED =
  "its cluster knows a later start of this node: the disk is an old copy, or a copy runs elsewhere";

/** Why a connection is refused after its first frame. */
export type Objection =
  /** The cluster knows a later life of the node, or another one. */
  | { readonly kind: "outdated" }
  /** Another process of the node is connected, from `seenAt` (an IP address). */
  | { readonly kind: "doubled"; readonly seenAt: string };

export interface GreetingOptions {
  readonly nodeId: NodeId;
  readonly life: LifeClaim;
  readonly reader: KvReader;
  /** Where this node is reached now. */
  readonly address: () => HostPort;
  /** `node` says that it is reached there. */
  readonly heardFrom: (node: NodeId, address: HostPort) => void;
  /** This node is refused for good, for that reason. */
  readonly shut: (reason: string) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What connections need of it. */
export type Greeter = Pick<Greeting, "hello" | "objectionTo" | "greeted" | "doubled" | "refused">;

/** Both sides of the greeting, for one node. */
export class Greeting {
  readonly #options: GreetingOptions;
  readonly #run: string;
  /** What to warn of, by node, and until when. */
  readonly #doubles = new Map<NodeId, { readonly text: string; readonly untilMs: number }>();

  constructor(options: GreetingOptions) {
    this.#options = options;
    this.#run = Buffer.from(options.random.bytes(RUN_SIZE_BYTES)).toString("hex");
  }

  /** This node's part of its first frame. */
  hello(): PlainRecord {
    const { life, previous } = this.#options.life;
    return {
      l: formatLife(life),
      p: previous === undefined ? "" : formatLife(previous),
      r: this.#run,
      a: formatHostPort(this.#options.address()),
    };
  }

  /** Whether the node of a connection is not the one that the cluster knows. */
  objectionTo(node: NodeId, hello: PlainRecord): Objection | undefined {
    const claim = claimFrom(hello["l"], hello["p"]);
    // A version without lives says nothing of them.
    if (claim === undefined || isSameNode(claim, recordedLife(this.#options.reader, node))) {
      return undefined;
    }
    return { kind: "outdated" };
  }

  /** A connection of `node` is good. */
  greeted(node: NodeId, hello: PlainRecord): void {
    const text = hello["a"];
    if (typeof text !== "string" || text.length > ADDRESS_LENGTH_MAX) return;
    const address = parseHostPort(text, CLUSTER_PORT);
    if (address !== undefined) this.#options.heardFrom(node, address);
  }

  /** Two processes run as `node`, at those addresses. */
  doubled(node: NodeId, first: string, second: string): void {
    const { reader, log } = this.#options;
    const name = findMember(reader, node)?.name ?? "";
    const text =
      `Two processes run as node ${name} (${formatNodeId(node)}), at ${first} and ${second}; ` +
      "stop one, and have the copy join anew with --reset";
    if (!this.#doubles.has(node)) log.warn("two processes run as one node", { first, second });
    this.#remember(node, text);
  }

  /** `by` refused a connection of this node. */
  refused(by: NodeId, record: PlainRecord): void {
    const { nodeId, shut } = this.#options;
    if (record["r"] === "outdated") {
      shut(OUTDATED);
      return;
    }
    const seenAt = typeof record["a"] === "string" ? parseAddress(record["a"]) : undefined;
    const where = seenAt === undefined ? "" : ` at ${seenAt}`;
    this.#remember(
      nodeId,
      `Another process runs as this node${where}, and ${formatNodeId(by)} listens to that one; ` +
        "stop one, and have the copy join anew with --reset",
    );
  }

  /** What to warn of now. */
  warnings(): readonly string[] {
    const nowMs = this.#options.clock.nowMs();
    for (const [node, { untilMs }] of this.#doubles) {
      if (nowMs >= untilMs) this.#doubles.delete(node);
    }
    return [...this.#doubles.values()].map(({ text }) => text);
  }

  #remember(node: NodeId, text: string): void {
    if (this.#doubles.size >= DOUBLES_MAX && !this.#doubles.has(node)) return;
    const untilMs = this.#options.clock.nowMs() + DOUBLE_SHOWN_MS;
    this.#doubles.set(node, { text, untilMs });
  }
}
