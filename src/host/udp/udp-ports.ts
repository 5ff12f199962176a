/**
 * The node's UDP port as the packet loop sees it, also while the node changes to another one.
 *
 * Peers learn at different moments that a node is reached at another port. So all are open for a
 * while, and a message goes from the port that it goes to: who still listens on the former one
 * only takes what comes from there (see Receiver).
 *
 * Runs in the packet loop's thread, and allocates nothing but in `use`.
 *
 * @module
 */
import type { ReceiveBatch, SendBatch, UdpPort } from "../packet-ports.ts";

/** An open socket and the port that it is bound to. */
export interface NumberedPort {
  readonly port: number;
  readonly udp: UdpPort;
}

/** The node's port, which comes first, and former ones. */
export class UdpPorts implements UdpPort {
  #ports: readonly NumberedPort[];
  /** Which is asked first: in turn, so that a busy one does not starve the others. */
  #next = 0;

  constructor(ports: readonly NumberedPort[]) {
    this.#ports = ports;
  }

  /** Works with these from the next call on. */
  use(ports: readonly NumberedPort[]): void {
    this.#ports = ports;
  }

  send(batch: SendBatch, from: number): number {
    const { count } = batch;
    const { udp } = this.#select(batch, from);
    const sent = udp.send(batch, from);
    batch.count = count;
    return sent;
  }

  sendWhole(batch: SendBatch, from: number): number {
    const { count } = batch;
    const { udp } = this.#select(batch, from);
    const sent = udp.sendWhole(batch, from);
    batch.count = count;
    return sent;
  }

  receive(batch: ReceiveBatch): number {
    const count = this.#ports.length;
    let received = 0;
    for (let asked = 0; asked < count && received <= 0; asked++) {
      this.#next = (this.#next + 1) % count;
      const { port, udp } = this.#ports[this.#next]!;
      batch.localPort = port;
      received = udp.receive(batch);
    }
    return received;
  }

  /** What message `from` goes out of; `batch` ends where another one's begin. */
  #select(batch: SendBatch, from: number): NumberedPort {
    if (this.#ports.length === 1) return this.#ports[0]!;
    const { count, targetPort } = batch;
    const chosen = this.#portFor(targetPort[from]!);
    let end = Math.min(from + 1, count);
    while (end < count && this.#portFor(targetPort[end]!) === chosen) end++;
    batch.count = end;
    return chosen;
  }

  #portFor(target: number): NumberedPort {
    for (const each of this.#ports) if (each.port === target) return each;
    return this.#ports[0]!;
  }
}
