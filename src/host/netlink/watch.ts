/**
 * Reads multicast events as they come, without polling: an idle kernel costs nothing.
 *
 * Bun's event loop watches any descriptor that it is given as a connected socket, and hands over
 * what one read returns: for netlink that is one whole datagram. When events come faster than
 * they are read, a read fails with ENOBUFS and Bun closes the descriptor. Then this opens another
 * and reports an overrun, in this order, so that no change falls between the two.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import type { Log } from "../../base/log.ts";
import type { Clock } from "../ports.ts";
import { type NetlinkProtocol, openNetlinkGroups } from "../sys/netlink-socket.ts";
import { decodeDatagram, type Message } from "./message.ts";

/** Pause before events are asked for again after they could not be had. */
const REOPEN_DELAY_MS = 1000;

/** Which events, and who gets them. */
export interface WatchOptions {
  readonly protocol: NetlinkProtocol;
  readonly groups: readonly number[];
  /** Gets each event; its body is borrowed until the call returns. */
  readonly onMessage: (message: Message) => void;
  /** Called when events are missing: all that was read before is out of date. */
  readonly onOverrun: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Descriptors are a way to connect that Bun has and documents, but left out of this signature. */
type Connect = typeof Bun.connect & ((options: Bun.FdSocketOptions) => Promise<Bun.Socket>);

/** Events from now on, until `close`. Throws `HostError` when the kernel gives none. */
export class Watch {
  readonly #options: WatchOptions;
  #socket: Bun.Socket | undefined;
  #cancelReopen: (() => void) | undefined;
  #closed = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#open();
  }

  close(): void {
    this.#closed = true;
    this.#cancelReopen?.();
    this.#socket?.terminate();
  }

  /** Events queue in the kernel from this call on, though the loop reads them a little later. */
  #open(): void {
    const fd = openNetlinkGroups(this.#options.protocol, this.#options.groups);
    const connect = Bun.connect as Connect;
    void connect({
      fd,
      socket: {
        open: (socket) => this.#keep(socket),
        data: (_, bytes) => this.#read(bytes),
        // Every failure of a read ends in `close`, with its reason.
        error: () => undefined,
        close: (_, error) => this.#lost(error),
      },
    }).catch((error: Error) => this.#lost(error));
  }

  #keep(socket: Bun.Socket): void {
    this.#socket = socket;
    if (this.#closed) socket.terminate();
  }

  #read(bytes: Uint8Array): void {
    if (this.#closed) return;
    const datagram = decodeDatagram(bytes);
    for (const message of datagram.messages) this.#options.onMessage(message);
    if (datagram.torn) this.#options.onOverrun();
  }

  #lost(error: Error | undefined): void {
    this.#socket = undefined;
    if (this.#closed) return;
    const reason = error?.message ?? "closed";
    this.#options.log.warn("netlink events lost, reading everything anew", { reason });
    this.#reopen();
  }

  #reopen(): void {
    try {
      this.#open();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      const { clock, log } = this.#options;
      log.warn("netlink events cannot be had, trying again", { reason: error.message });
      this.#cancelReopen = clock.after(REOPEN_DELAY_MS, () => this.#reopen());
      return;
    }
    this.#options.onOverrun();
  }
}
