/**
 * Packets on their way into the TUN, each behind a virtio-net header of its own.
 *
 * Three kinds: *whole* (the kernel checks its sums as for any received packet), *partial* (the
 * kernel finishes the checksum, which the outer datagram's has protected), and *joined* (many
 * segments of one flow as one super-packet). A joined packet that the kernel refuses is written
 * again segment by segment, from the headers that still lie between the payloads.
 *
 * @module
 */
import type { PacketMemory, TunPort, TunWriteBatch } from "../../host/packet-ports.ts";
import {
  IPPROTO_TCP,
  IPV4_TOTAL_LENGTH_AT,
  IPV6_HEADER_SIZE,
  IPV6_PAYLOAD_LENGTH_AT,
  pseudoSum,
  putIpv4Checksum,
  sumAddresses,
} from "../wire/ip.ts";
import {
  TCP_CHECKSUM_AT,
  TCP_FIN,
  TCP_FLAGS_AT,
  TCP_PSH,
  UDP_CHECKSUM_AT,
  UDP_LENGTH_AT,
} from "../wire/transport.ts";
import {
  putPlainVirtioHeader,
  putVirtioHeader,
  VIRTIO_GSO_NONE,
  VIRTIO_GSO_TCPV4,
  VIRTIO_GSO_TCPV6,
  VIRTIO_GSO_UDP_L4,
  VIRTIO_HEADER_SIZE,
} from "../wire/virtio.ts";
import type { Arena } from "./arena.ts";
import { DROP, type LoopCounters, TOTAL } from "./counters.ts";
import { OFFLOAD, type OffloadState } from "./offload-state.ts";

const EIO = 5;
const EINVAL = 22;

/** Low seven bits of the first byte: without the partial mark. */
const UNMARKED = 0x7f;

/** A packet to be written, or the first segment of a joined one. Filled in anew for each. */
export class TunPacket {
  /** Position of the IP header. */
  ip = 0;
  /** Bytes from there. */
  length = 0;
  /** Bytes of the IP headers, and of all headers. */
  ipHeader = 0;
  header = 0;
  /** IPPROTO_TCP or IPPROTO_UDP. */
  protocol = 0;
  /** Joined: bytes of all segments behind one set of headers, and how many segments. */
  total = 0;
  count = 1;
}

/** Collects packets as positions in the arena, and writes them in order. */
export class TunWriter {
  readonly #memory: PacketMemory;
  readonly #view: DataView<ArrayBuffer>;
  readonly #tun: TunPort;
  readonly #counters: LoopCounters;
  readonly #offloads: OffloadState;
  readonly #batch: TunWriteBatch;
  readonly #retry: TunWriteBatch;
  readonly #retryAt: number;
  readonly #virtioAt: number;
  readonly #virtioSlotSize: number;
  readonly #messageMax: number;
  readonly #pieceMax: number;
  /** For each message: how many packets it stands for. */
  readonly #packets: Int32Array;
  /** For each message: bytes of IP headers, and of all headers. */
  readonly #ipHeader: Int32Array;
  readonly #header: Int32Array;
  readonly #protocol: Int32Array;
  #pieceCount = 0;

  constructor(arena: Arena, tun: TunPort, counters: LoopCounters, offloads: OffloadState) {
    this.#memory = arena.memory;
    this.#view = arena.memory.view;
    this.#tun = tun;
    this.#counters = counters;
    this.#offloads = offloads;
    this.#batch = arena.write;
    this.#retry = arena.icmpWrite;
    this.#retryAt = arena.icmpAt;
    this.#virtioAt = arena.virtioAt;
    this.#virtioSlotSize = arena.virtioSlotSize;
    this.#messageMax = arena.writeCount;
    this.#pieceMax = arena.write.pieceOffset.length;
    this.#packets = new Int32Array(this.#messageMax);
    this.#ipHeader = new Int32Array(this.#messageMax);
    this.#header = new Int32Array(this.#messageMax);
    this.#protocol = new Int32Array(this.#messageMax);
  }

  /** Queues the packet at `ip` as it is; the kernel trusts none of its checksums. */
  whole(ip: number, length: number): void {
    const virtio = this.#open(1, 1);
    putPlainVirtioHeader(this.#view, virtio);
    this.#putPiece(ip, length);
    this.#close();
  }

  /** Queues `packet`, its TCP or UDP checksum to be finished by the kernel. */
  partial(packet: TunPacket): void {
    const { ip, length, ipHeader, protocol } = packet;
    const virtio = this.#open(1, 1);
    this.#putPartialHeader(virtio, ip, length, ipHeader, protocol);
    this.#putPiece(ip, length);
    this.#close();
  }

  /**
   * Starts a joined packet out of `packet`, its first segment. The payloads of the other segments
   * follow by `joinPayload`, then `endJoined`.
   */
  beginJoined(packet: TunPacket): void {
    const { ip, ipHeader, header, protocol, total } = packet;
    const view = this.#view;
    const virtio = this.#open(packet.count, packet.count);
    const message = this.#batch.count - 1;
    this.#ipHeader[message] = ipHeader;
    this.#header[message] = header;
    this.#protocol[message] = protocol;
    view.setUint8(ip, view.getUint8(ip) & UNMARKED);
    this.#putLength(ip, total, ipHeader, protocol);
    this.#putPseudoSum(ip, total, ipHeader, protocol);
    const isTcp = protocol === IPPROTO_TCP;
    const tcpType = this.#isV4(ip) ? VIRTIO_GSO_TCPV4 : VIRTIO_GSO_TCPV6;
    putVirtioHeader(view, virtio, {
      gsoType: isTcp ? tcpType : VIRTIO_GSO_UDP_L4,
      headerLength: header,
      gsoSize: packet.length - header,
      checksumStart: ipHeader,
      checksumOffset: isTcp ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT,
    });
    this.#putPiece(ip, packet.length);
  }

  joinPayload(offset: number, length: number): void {
    this.#putPiece(offset, length);
  }

  endJoined(): void {
    this.#close();
  }

  /** Writes what is queued. */
  flush(): void {
    const batch = this.#batch;
    let done = 0;
    while (done < batch.count) {
      const result = this.#tun.write(batch, done);
      if (result > 0) {
        for (let i = 0; i < result; i++) this.#countWritten(done + i);
        done += result;
      } else {
        this.#handleFailure(done, -result);
        done++;
      }
    }
    batch.count = 0;
    this.#pieceCount = 0;
  }

  /** Begins a message of `packets` packets and `pieces` pieces; where its virtio header goes. */
  #open(packets: number, pieces: number): number {
    const isFull =
      this.#batch.count === this.#messageMax || this.#pieceCount + 1 + pieces > this.#pieceMax;
    if (isFull) this.flush();
    const message = this.#batch.count++;
    this.#packets[message] = packets;
    this.#header[message] = 0;
    this.#batch.pieceStart[message] = this.#pieceCount;
    const virtio = this.#virtioAt + message * this.#virtioSlotSize;
    this.#putPiece(virtio, VIRTIO_HEADER_SIZE);
    return virtio;
  }

  #putPiece(offset: number, length: number): void {
    this.#batch.pieceOffset[this.#pieceCount] = offset;
    this.#batch.pieceLength[this.#pieceCount] = length;
    this.#pieceCount++;
  }

  #close(): void {
    this.#batch.pieceStart[this.#batch.count] = this.#pieceCount;
  }

  #countWritten(message: number): void {
    this.#counters.add(TOTAL.RX_WRITES, 1);
    if (this.#header[message] === 0) return;
    this.#offloads.succeeded(this.#offloadOf(message));
  }

  #handleFailure(message: number, errno: number): void {
    if (errno === EINVAL && this.#header[message] !== 0) {
      if (this.#writeSegments(message)) this.#offloads.failed(this.#offloadOf(message), errno);
      return;
    }
    const reason = errno === EIO ? DROP.RX_TUN_DOWN : DROP.RX_TUN_REFUSED;
    this.#counters.drop(reason, this.#packets[message]!);
  }

  /** Writes the segments of a refused joined packet one by one; true if the kernel took any. */
  #writeSegments(message: number): boolean {
    const { pieceOffset, pieceLength, pieceStart } = this.#batch;
    const header = this.#header[message]!;
    const ipHeader = this.#ipHeader[message]!;
    const protocol = this.#protocol[message]!;
    const first = pieceStart[message]! + 1;
    let hasWritten = false;
    for (let piece = first; piece < pieceStart[message + 1]!; piece++) {
      const ip = piece === first ? pieceOffset[piece]! : pieceOffset[piece]! - header;
      const length = piece === first ? pieceLength[piece]! : pieceLength[piece]! + header;
      if (piece === first) this.#restoreFirst(ip, length, ipHeader, protocol);
      this.#putPartialHeader(this.#retryAt, ip, length, ipHeader, protocol);
      hasWritten = this.#writeRetry(ip, length) || hasWritten;
    }
    return hasWritten;
  }

  /** Undoes what `beginJoined` and the joiner changed; the other segments are as they arrived. */
  #restoreFirst(ip: number, length: number, ipHeader: number, protocol: number): void {
    this.#putLength(ip, length, ipHeader, protocol);
    if (protocol !== IPPROTO_TCP) return;
    // It has the last one's flags. Its own were neither of these, or nothing would have joined it.
    const at = ip + ipHeader + TCP_FLAGS_AT;
    this.#view.setUint8(at, this.#view.getUint8(at) & ~(TCP_PSH | TCP_FIN));
  }

  #writeRetry(ip: number, length: number): boolean {
    const retry = this.#retry;
    retry.count = 1;
    retry.pieceStart[1] = 2;
    retry.pieceOffset[0] = this.#retryAt;
    retry.pieceLength[0] = VIRTIO_HEADER_SIZE;
    retry.pieceOffset[1] = ip;
    retry.pieceLength[1] = length;
    const isWritten = this.#tun.write(retry, 0) > 0;
    if (isWritten) this.#counters.add(TOTAL.RX_WRITES, 1);
    else this.#counters.drop(DROP.RX_TUN_REFUSED, 1);
    return isWritten;
  }

  #putPartialHeader(
    virtio: number,
    ip: number,
    length: number,
    ipHeader: number,
    protocol: number,
  ): void {
    const view = this.#view;
    view.setUint8(ip, view.getUint8(ip) & UNMARKED);
    this.#putPseudoSum(ip, length, ipHeader, protocol);
    putVirtioHeader(view, virtio, {
      gsoType: VIRTIO_GSO_NONE,
      headerLength: 0,
      gsoSize: 0,
      checksumStart: ipHeader,
      checksumOffset: protocol === IPPROTO_TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT,
    });
  }

  #putLength(ip: number, length: number, ipHeader: number, protocol: number): void {
    const view = this.#view;
    if (this.#isV4(ip)) {
      view.setUint16(ip + IPV4_TOTAL_LENGTH_AT, length);
      putIpv4Checksum(this.#memory, ip, ipHeader);
    } else {
      view.setUint16(ip + IPV6_PAYLOAD_LENGTH_AT, length - IPV6_HEADER_SIZE);
    }
    if (protocol === IPPROTO_TCP) return;
    view.setUint16(ip + ipHeader + UDP_LENGTH_AT, length - ipHeader);
  }

  /** The sender's own sum is not trusted, nor would it fit another length. */
  #putPseudoSum(ip: number, length: number, ipHeader: number, protocol: number): void {
    const addressSum = sumAddresses(this.#memory, ip, this.#isV4(ip) ? 4 : 6);
    const at = protocol === IPPROTO_TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT;
    this.#view.setUint16(ip + ipHeader + at, pseudoSum(addressSum, protocol, length - ipHeader));
  }

  #offloadOf(message: number): number {
    return this.#protocol[message] === IPPROTO_TCP ? OFFLOAD.TCP_JOIN : OFFLOAD.UDP_JOIN;
  }

  #isV4(ip: number): boolean {
    return ((this.#view.getUint8(ip) >>> 4) & 7) === 4;
  }
}
