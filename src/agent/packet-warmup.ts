/**
 * Exercise for the packet loop before there is much traffic, so that its code is compiled when the
 * first packets come.
 *
 * JavaScriptCore starts each function in an interpreter and compiles it after some thousand uses. A
 * node with little traffic would stay in the slow phase for long: the first pings between two fresh
 * nodes took 0.80 ms, and 0.45 ms after this, on a busy two-core machine (Bun 1.4.5). It costs
 * 150 ms of processor time once, and 5 MB.
 *
 * Two loops exchange packets over loopback sockets, with the real ports on socket pairs in place of
 * TUNs: the same code, other descriptors. Done in slices of a few packets while the real loop has
 * nothing to do.
 *
 * @module
 */
import { parseAddress, parsePrefix } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import { decodeNodeId } from "../base/ids.ts";
import { encodeFib } from "../dataplane/fib/table.ts";
import { createArena, PORT_LIMITS } from "../dataplane/forward/arena.ts";
import { COUNTER_COUNT, PEER_STRIDE } from "../dataplane/forward/counters.ts";
import { OFFLOAD_NAMES } from "../dataplane/forward/offload-state.ts";
import { PacketLoop } from "../dataplane/forward/packet-loop.ts";
import {
  IPPROTO_ICMP,
  IPPROTO_TCP,
  IPV4_HEADER_SIZE,
  putIpv4Checksum,
} from "../dataplane/wire/ip.ts";
import { createWireMemory } from "../dataplane/wire/memory.ts";
import { TCP_ACK, TCP_CHECKSUM_AT, TCP_HEADER_SIZE } from "../dataplane/wire/transport.ts";
import {
  putVirtioHeader,
  VIRTIO_GSO_NONE,
  VIRTIO_GSO_TCPV4,
  VIRTIO_HEADER_SIZE,
} from "../dataplane/wire/virtio.ts";
import { openMessagePair } from "../host/sys/descriptor.ts";
import { libc } from "../host/sys/libc.ts";
import { addressOf } from "../host/sys/memory.ts";
import { TunDevicePort } from "../host/tun/tun-port.ts";
import { UdpSocketPort } from "../host/udp/udp-port.ts";
import { openUdpSocket } from "../host/udp/udp-socket.ts";

/** Rounds in all, each some packets both ways: enough for the optimizing compiler. */
const ROUND_COUNT = 1000;
/** Rounds at a time, about a millisecond: how long a real packet may have to wait. */
const ROUNDS_PER_SLICE = 10;
/** Every so many rounds one has super-packets; bulk transfers warm their own code in no time. */
const SUPER_PACKET_INTERVAL = 8;

const OVERLAY_MTU = 1472;
const SEGMENT_SIZE = 1420;
const SUPER_PAYLOAD_SIZE = 10 * SEGMENT_SIZE;
const SMALL_PAYLOAD_SIZE = 64;
const DRAIN_SIZE = 65_600;
const PREFIXES = ["10.0.1.0/24", "10.0.2.0/24"] as const;

/** The exercise in progress. Owns its descriptors until `step` gives false, or `close`. */
export class PacketWarmup {
  readonly #sides: readonly [Side, Side];
  readonly #drain = new Uint8Array(DRAIN_SIZE);
  readonly #small: readonly Uint8Array[];
  readonly #large: readonly Uint8Array[];
  #round = 0;

  constructor(sides: readonly [Side, Side]) {
    this.#sides = sides;
    this.#small = [frame(0, IPPROTO_ICMP, SMALL_PAYLOAD_SIZE), frame(1, IPPROTO_TCP, 0)];
    this.#large = [0, 1].map((from) => frame(from, IPPROTO_TCP, SUPER_PAYLOAD_SIZE));
  }

  /** Some more rounds; false when it is over and nothing is held any more. */
  step(): boolean {
    for (let i = 0; i < ROUNDS_PER_SLICE; i++) this.#exchange();
    if (this.#round < ROUND_COUNT) return true;
    this.close();
    return false;
  }

  close(): void {
    for (const side of this.#sides) side.close();
  }

  #exchange(): void {
    const isSuper = this.#round % SUPER_PACKET_INTERVAL === 0;
    const frames = isSuper ? this.#large : this.#small;
    this.#round++;
    for (const [number, side] of this.#sides.entries()) {
      const sent = frames[number]!;
      libc().write(side.kernelFd, addressOf(sent), sent.length);
    }
    // What one side sends the other receives, in the same turn or in the next.
    for (const side of this.#sides) side.loop.turn();
    for (const side of this.#sides) side.loop.turn();
    for (const side of this.#sides) {
      while (libc().read(side.kernelFd, addressOf(this.#drain), DRAIN_SIZE) > 0);
    }
  }
}

/** One of the two nodes that exercise. */
interface Side {
  readonly loop: PacketLoop;
  /** The kernel's end of what the loop takes for a TUN. */
  readonly kernelFd: number;
  readonly close: () => void;
}

/** Starts the exercise; undefined where it cannot run, which costs nothing but the speed. */
export function openPacketWarmup(): PacketWarmup | undefined {
  const address = parseAddress("127.0.0.1");
  assert(address !== undefined, "the loopback address must parse");
  const opened: { readonly close: () => void }[] = [];
  try {
    const sockets = [0, 1].map(() => {
      const socket = openUdpSocket({ address, port: 0 });
      opened.push(socket);
      return socket;
    });
    const sides = sockets.map((socket, number): Side => {
      const [kernel, tun] = openMessagePair();
      opened.push(kernel, tun);
      const arena = createArena();
      const { memory } = arena;
      const loop = new PacketLoop({
        arena,
        tun: new TunDevicePort(tun.fd, memory, PORT_LIMITS.writePieceCountMax),
        udp: new UdpSocketPort(memory, { fd: socket.fd, family: 4, ...PORT_LIMITS }),
        clock: { nowMs: () => performance.now() },
        totals: new Float64Array(COUNTER_COUNT),
        peers: new Float64Array(PEER_STRIDE),
        offloads: new Int32Array(OFFLOAD_NAMES.length),
      });
      loop.useTable(table(number, sockets[1 - number]?.port ?? 0), undefined);
      const close = () => [socket, kernel, tun].forEach((one) => void one.close());
      return { loop, kernelFd: kernel.fd, close };
    });
    return new PacketWarmup([sides[0]!, sides[1]!]);
  } catch {
    // No loopback in this namespace, or no descriptors left: the loop warms up on real packets.
    for (const one of opened) one.close();
    return undefined;
  }
}

function table(number: number, otherPort: number): SharedArrayBuffer {
  const [local, prefix] = number === 0 ? PREFIXES : [PREFIXES[1], PREFIXES[0]];
  const address = parseAddress("127.0.0.1")!;
  const endpoint = { address, port: otherPort };
  const row = {
    prefix: parsePrefix(prefix)!,
    peer: decodeNodeId(1),
    endpoint,
    partialChecksum: true,
  };
  return encodeFib(
    { local: [parsePrefix(local)!], rows: [row] },
    { generation: 1, overlayMtu: OVERLAY_MTU, own: [], underlayFamily: 4, slotOf: () => 0 },
  );
}

/** A frame from node 0 or 1 to the other; TCP with its checksum unfinished, as the kernel does. */
function frame(from: number, protocol: number, payloadSize: number): Uint8Array {
  const isTcp = protocol === IPPROTO_TCP;
  const ipLength = IPV4_HEADER_SIZE + (isTcp ? TCP_HEADER_SIZE : 0) + payloadSize;
  const memory = createWireMemory(VIRTIO_HEADER_SIZE + ipLength);
  const { view } = memory;
  const ip = VIRTIO_HEADER_SIZE;
  view.setUint16(ip, 0x4500);
  view.setUint16(ip + 2, ipLength);
  view.setUint16(ip + 6, 0x4000); // Don't fragment.
  view.setUint8(ip + 8, 64);
  view.setUint8(ip + 9, protocol);
  view.setUint32(ip + 12, 0x0a000105 + 256 * from);
  view.setUint32(ip + 16, 0x0a000205 - 256 * from);
  putIpv4Checksum(memory, ip, IPV4_HEADER_SIZE);
  if (isTcp) {
    const isSuper = payloadSize > SEGMENT_SIZE;
    view.setUint16(ip + IPV4_HEADER_SIZE + 12, ((TCP_HEADER_SIZE / 4) << 12) | TCP_ACK);
    putVirtioHeader(view, 0, {
      gsoType: isSuper ? VIRTIO_GSO_TCPV4 : VIRTIO_GSO_NONE,
      headerLength: IPV4_HEADER_SIZE + TCP_HEADER_SIZE,
      gsoSize: isSuper ? SEGMENT_SIZE : 0,
      checksumStart: IPV4_HEADER_SIZE,
      checksumOffset: TCP_CHECKSUM_AT,
    });
  }
  return memory.bytes.subarray(0, VIRTIO_HEADER_SIZE + ipLength);
}
