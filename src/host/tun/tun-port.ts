/**
 * The TUN port on a real device: one read(2) or writev(2) a packet, each up to 64 KiB.
 *
 * Runs in the packet loop's thread. Allocates nothing after construction, never throws.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { PacketMemory, TunPort, TunReadBatch, TunWriteBatch } from "../packet-ports.ts";
import { EAGAIN, EINTR } from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { addressOf, IovecArray } from "../sys/memory.ts";

/** Reads and writes the TUN behind `fd`, from and to positions in `memory`. */
export class TunDevicePort implements TunPort {
  readonly #fd: number;
  readonly #memory: PacketMemory;
  readonly #base: number;
  readonly #iovecs: IovecArray;
  readonly #libc = libc();

  /** `pieceCountMax` is the most pieces that one message of a write batch has. */
  constructor(fd: number, memory: PacketMemory, pieceCountMax: number) {
    this.#fd = fd;
    this.#memory = memory;
    this.#base = addressOf(memory.bytes);
    this.#iovecs = new IovecArray(pieceCountMax, this.#base);
  }

  read(batch: TunReadBatch): number {
    assert(batch.end <= this.#memory.bytes.length, "TUN region must lie in the arena");
    const countMax = batch.offset.length;
    let offset = batch.start;
    let count = 0;
    while (count < countMax && offset + batch.packetSizeMax <= batch.end) {
      const length = this.#libc.read(this.#fd, this.#base + offset, batch.packetSizeMax);
      if (length <= 0) {
        if (count > 0 || length === 0) break;
        const errno = lastErrno();
        return errno === EAGAIN || errno === EINTR ? 0 : -errno;
      }
      batch.offset[count] = offset;
      batch.length[count] = length;
      count++;
      offset += Math.ceil(length / batch.step) * batch.step;
    }
    return count;
  }

  write(batch: TunWriteBatch, from: number): number {
    for (let message = from; message < batch.count; message++) {
      const first = batch.pieceStart[message]!;
      const count = batch.pieceStart[message + 1]! - first;
      for (let piece = 0; piece < count; piece++) {
        const offset = batch.pieceOffset[first + piece]!;
        this.#iovecs.set(piece, offset, batch.pieceLength[first + piece]!);
      }
      if (this.#libc.writev(this.#fd, this.#iovecs.address, count) < 0) {
        return message > from ? message - from : -lastErrno();
      }
    }
    return batch.count - from;
  }
}
