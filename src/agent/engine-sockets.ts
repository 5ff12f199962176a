/**
 * The packet engine's underlay sockets: that of its port, and for a while those of former ones.
 *
 * The loop's thread works with the descriptors, so a socket that is given up is closed only when
 * the loop has taken the message without it: its number might be another file's by then.
 *
 * @module
 */
import type { IpAddress } from "../base/address.ts";
import { openUdpSocket, type UdpSocket } from "../host/udp/udp-socket.ts";
import type { LoopSocket } from "./packet-messages.ts";

/** Former ports that are listened on at most: who changes more often is not found by all. */
export const FORMER_PORTS_MAX = 3;

/** At least one socket, until `close`. */
export class EngineSockets {
  readonly #address: IpAddress;
  /** The first one is that of the engine's port. */
  #open: readonly UdpSocket[];
  /** Given up and still open; with the generation of the first table without it, once told. */
  #retired: { readonly socket: UdpSocket; generation: number }[] = [];

  /** Owns `socket`, which is bound to `address`. */
  constructor(address: IpAddress, socket: UdpSocket) {
    this.#address = address;
    this.#open = [socket];
  }

  get current(): UdpSocket {
    return this.#open[0]!;
  }

  /** All that the loop is to work with; the current one first. */
  get open(): readonly UdpSocket[] {
    return this.#open;
  }

  /**
   * Listens on `port`, and on those of `formers`, the latest first, that are still open. Whether
   * that changes anything. Throws `HostError` when the port cannot be had; then all is as it was.
   */
  listen(port: number, formers: readonly number[]): boolean {
    const before = this.#open;
    const find = (wanted: number) => before.find((each) => each.port === wanted);
    const current = find(port) ?? openUdpSocket({ address: this.#address, port });
    const others = formers.flatMap((former) => (former === port ? [] : (find(former) ?? [])));
    const open = [current, ...others.slice(0, FORMER_PORTS_MAX)];
    if (open.length === before.length && open.every((each, at) => each === before[at])) {
      return false;
    }
    this.#open = open;
    const gone = before.filter((each) => !open.includes(each));
    this.#retired.push(...gone.map((socket) => ({ socket, generation: Infinity })));
    return true;
  }

  /** What the table of `generation` tells the loop. */
  tell(generation: number): readonly LoopSocket[] {
    for (const one of this.#retired) one.generation = Math.min(one.generation, generation);
    return this.#open.map(({ fd, port }) => ({ fd, port }));
  }

  /** The loop works with the table of `generation`. */
  taken(generation: number): void {
    const isOver = (one: { readonly generation: number }) => one.generation <= generation;
    for (const one of this.#retired) if (isOver(one)) one.socket.close();
    this.#retired = this.#retired.filter((one) => !isOver(one));
  }

  /** Closes all; the loop has ended. */
  close(): void {
    this.taken(Infinity);
    for (const socket of this.#open) socket.close();
  }
}
