/**
 * The underlay sockets in the packet loop's thread: what the loop sends and receives by, and what
 * its thread waits for.
 *
 * @module
 */
import { PORT_LIMITS } from "../dataplane/forward/arena.ts";
import type { PacketMemory } from "../host/packet-ports.ts";
import { PollSet } from "../host/sys/descriptor.ts";
import { UdpSocketPort } from "../host/udp/udp-port.ts";
import { type NumberedPort, UdpPorts } from "../host/udp/udp-ports.ts";
import type { LoopSocket, WorkerStart } from "./packet-messages.ts";

/** Positions in the poll set. From the last on come the sockets, `udpCount` of them. */
export const POLL = { TUN: 0, EVENT: 1, UDP: 2 } as const;

interface OpenSocket extends NumberedPort {
  readonly fd: number;
}

/** All descriptors of one loop. */
export class LoopSockets {
  readonly udp: UdpPorts;
  /** What to wait for: another set after `use`. */
  poll: PollSet;
  readonly #start: WorkerStart;
  readonly #memory: PacketMemory;
  #open: readonly OpenSocket[] = [];

  constructor(start: WorkerStart, memory: PacketMemory) {
    this.#start = start;
    this.#memory = memory;
    this.#open = start.sockets.map((socket) => this.#find(socket));
    this.udp = new UdpPorts(this.#open);
    this.poll = this.#pollSet();
  }

  /** How many sockets there are. */
  get udpCount(): number {
    return this.#open.length;
  }

  /** Works with `told` from now on; most often it does already. */
  use(told: readonly LoopSocket[]): void {
    const open = told.map((socket) => this.#find(socket));
    const isKnown = open.every((each, at) => each === this.#open[at]);
    if (isKnown && open.length === this.#open.length) return;
    this.#open = open;
    this.udp.use(open);
    this.poll = this.#pollSet();
  }

  #find({ fd, port }: LoopSocket): OpenSocket {
    const known = this.#open.find((each) => each.fd === fd && each.port === port);
    if (known !== undefined) return known;
    const options = { fd, family: this.#start.udpFamily, ...PORT_LIMITS };
    return { fd, port, udp: new UdpSocketPort(this.#memory, options) };
  }

  #pollSet(): PollSet {
    const { tunFd, eventFd } = this.#start;
    return new PollSet([tunFd, eventFd, ...this.#open.map(({ fd }) => fd)]);
  }
}
