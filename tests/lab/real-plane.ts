/**
 * The packet plane contract on a real kernel: two namespaces, real TUNs and sockets, and both loops
 * turned by the test's own thread.
 *
 * Inner packets go in through a raw socket, as from a container, and are seen coming out by a
 * packet socket on the overlay link, with their virtio-net headers.
 *
 * @module
 */
import { parseAddress, parsePrefix } from "../../src/base/address.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import { encodeFib } from "../../src/dataplane/fib/table.ts";
import { createArena, PORT_LIMITS } from "../../src/dataplane/forward/arena.ts";
import { COUNTER_COUNT, DROP_NAMES, DROPS_AT } from "../../src/dataplane/forward/counters.ts";
import { PacketLoop, TURN } from "../../src/dataplane/forward/packet-loop.ts";
import { Descriptor, PollSet } from "../../src/host/sys/descriptor.ts";
import { checkCall } from "../../src/host/sys/errno.ts";
import { libc } from "../../src/host/sys/libc.ts";
import { addressOf, kernelBytes } from "../../src/host/sys/memory.ts";
import { enterNetwork } from "../../src/host/sys/namespace.ts";
import { openTunDevice } from "../../src/host/tun/tun-device.ts";
import { TunDevicePort } from "../../src/host/tun/tun-port.ts";
import { encodeSocketAddress } from "../../src/host/udp/socket-address.ts";
import { UdpSocketPort } from "../../src/host/udp/udp-port.ts";
import { openUdpSocket } from "../../src/host/udp/udp-socket.ts";
import type { PlanePair, PlaneSide } from "../contract/packet-plane.ts";
import { expandFrame } from "../sim/packet-builder.ts";
import { openPacketPair, PAIR_PORT, type PairSide } from "./packet-pair.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const OVERLAY_MTU = 1472;
const AF_INET = 2;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const IPPROTO_RAW = 255;
const ETH_P_IP = 0x0800;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
/** A virtio-net header and the largest packet. */
const FRAME_SIZE_MAX = 65_600;
/** How long nothing must happen until everything has arrived, on a machine that is busy. */
const QUIET_MS = 120;

/** Opens the pair for one test. Needs root. */
export async function openRealPlane(partialChecksum: boolean): Promise<PlanePair> {
  const pair = await openPacketPair({ wire: "virtual" });
  const nodes: RealNode[] = [];
  try {
    for (const [number, side] of [pair.a, pair.b].entries()) {
      // The kernel's own chatter would be counted.
      await side.namespace.sysctl("net.ipv6.conf.all.disable_ipv6", 1);
      await side.namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 1);
      nodes.push(await openNode(side, number + 1, partialChecksum));
    }
  } catch (error) {
    for (const node of nodes) node.close();
    await pair[Symbol.asyncDispose]();
    throw error;
  }
  const [a, b] = [nodes[0]!, nodes[1]!];
  const poll = new PollSet([a, b].flatMap((node) => node.fds));
  return {
    a: a.side(b),
    b: b.side(a),
    settle: async () => {
      for (;;) {
        const turns = [a.turn(), b.turn()];
        if (turns.every((turn) => turn !== TURN.BUSY) && poll.wait(QUIET_MS) === 0) return;
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const node of nodes) node.close();
      await pair[Symbol.asyncDispose]();
    },
  };
}

async function openNode(side: PairSide, number: number, partial: boolean): Promise<RealNode> {
  const { namespace } = side;
  const node = new RealNode(namespace.id, number, partial);
  await namespace.mustRun(["ip", "address", "add", `10.0.${number}.0/32`, "dev", "overlay0"]);
  await namespace.mustRun(["ip", "link", "set", "overlay0", "mtu", String(OVERLAY_MTU), "up"]);
  await namespace.mustRun(["ip", "route", "add", "10.0.0.0/16", "dev", "overlay0"]);
  node.openCapture();
  return node;
}

class RealNode {
  readonly fds: readonly number[];
  readonly #id: string;
  readonly #underlay: string;
  readonly #totals = new Float64Array(COUNTER_COUNT);
  readonly #closers: (() => void)[] = [];
  readonly #loop: PacketLoop;
  readonly #udpFd: number;
  readonly #rawFd: number;
  #captureFd = -1;

  constructor(id: string, number: number, partialChecksum: boolean) {
    this.#id = id;
    this.#underlay = `10.99.0.${number}`;
    const address = parseAddress(this.#underlay)!;
    const arena = createArena();
    using _ = enterNetwork(`/run/netns/${id}`);
    const tun = openTunDevice("overlay0");
    const socket = openUdpSocket({ address, port: PAIR_PORT });
    this.#closers.push(tun.close, socket.close);
    this.#udpFd = socket.fd;
    this.#rawFd = this.#open(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_RAW);
    this.fds = [tun.fd, socket.fd];
    this.#loop = new PacketLoop({
      arena,
      tun: new TunDevicePort(tun.fd, arena.memory, PORT_LIMITS.writePieceCountMax),
      udp: new UdpSocketPort(arena.memory, { fd: socket.fd, family: 4, ...PORT_LIMITS }),
      clock: { nowMs: () => performance.now() },
      totals: this.#totals,
      peers: new Float64Array(64),
      offloads: new Int32Array(8),
    });
    const other = 3 - number;
    const endpoint = { address: parseAddress(`10.99.0.${other}`)!, port: PAIR_PORT };
    const prefix = parsePrefix(`10.0.${other}.0/24`)!;
    const local = parsePrefix(`10.0.${number}.0/24`)!;
    const table = encodeFib(
      { local: [local], rows: [{ prefix, peer: decodeNodeId(other), endpoint, partialChecksum }] },
      {
        generation: 1,
        overlayMtu: OVERLAY_MTU,
        own: [parseAddress(`10.0.${number}.0`)!],
        underlayFamily: 4,
        slotOf: () => 0,
      },
    );
    this.#loop.useTable(table, undefined);
  }

  turn(): number {
    return this.#loop.turn();
  }

  /** Watches what the loop writes to the overlay link, from now on. */
  openCapture(): void {
    using _ = enterNetwork(`/run/netns/${this.#id}`);
    const protocol = ((ETH_P_IP & 255) << 8) | (ETH_P_IP >>> 8);
    this.#captureFd = this.#open(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
    for (const option of [PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING]) {
      const one = kernelBytes(4);
      one.view.setInt32(0, 1, true);
      const set = libc().setsockopt(this.#captureFd, SOL_PACKET, option, one.address, 4);
      checkCall(set, "set up", "packet socket");
    }
    const name = kernelBytes(20); // struct sockaddr_ll
    name.view.setUint16(0, AF_PACKET, true);
    name.view.setUint16(2, protocol, true);
    name.view.setInt32(4, linkIndex("overlay0"), true);
    checkCall(libc().bind(this.#captureFd, name.address, 20), "bind", "packet socket");
  }

  side(other: RealNode): PlaneSide {
    return {
      send: (packet) => this.#sendRaw(packet),
      sendDatagram: (payload, port) => this.#sendDatagram(payload, port, other),
      received: () => this.#captured(),
      drops: (reason) => this.#totals[DROPS_AT + DROP_NAMES.indexOf(reason)] ?? 0,
    };
  }

  close(): void {
    for (const close of this.#closers) close();
  }

  #open(domain: number, type: number, protocol: number): number {
    const fd = checkCall(libc().socket(domain, type, protocol), "open", "socket");
    const descriptor = new Descriptor(fd);
    this.#closers.push(() => descriptor.close());
    return fd;
  }

  #sendRaw(packet: Bytes): void {
    const name = kernelBytes(32);
    const size = encodeSocketAddress(name.view, packet.slice(16, 20), 0);
    const { length } = packet;
    const sent = libc().sendto(this.#rawFd, addressOf(packet), length, 0, name.address, size);
    checkCall(sent, "send", "a raw packet");
  }

  #sendDatagram(payload: Bytes, sourcePort: number, other: RealNode): void {
    let fd = this.#udpFd;
    if (sourcePort !== PAIR_PORT) {
      using _ = enterNetwork(`/run/netns/${this.#id}`);
      fd = this.#open(AF_INET, SOCK_DGRAM, 0);
      const own = kernelBytes(32);
      const size = encodeSocketAddress(own.view, quad(this.#underlay), sourcePort);
      checkCall(libc().bind(fd, own.address, size), "bind", "socket");
    }
    const name = kernelBytes(32);
    const size = encodeSocketAddress(name.view, quad(other.#underlay), PAIR_PORT);
    const sent = libc().sendto(fd, addressOf(payload), payload.length, 0, name.address, size);
    checkCall(sent, "send", "a datagram");
  }

  #captured(): Bytes[] {
    const frame = kernelBytes(FRAME_SIZE_MAX);
    const packets: Bytes[] = [];
    for (;;) {
      const length = libc().recv(this.#captureFd, frame.address, FRAME_SIZE_MAX, 0);
      if (length < 0) return packets;
      packets.push(...(expandFrame(frame.bytes.slice(0, length)) ?? []));
    }
  }
}

/** Index of a link in the namespace that the thread is in. */
function linkIndex(name: string): number {
  const SIOCGIFINDEX = 0x8933;
  const request = kernelBytes(40);
  request.bytes.set(new TextEncoder().encode(name));
  using socket = new Descriptor(checkCall(libc().socket(AF_INET, SOCK_DGRAM, 0), "open", "socket"));
  checkCall(libc().ioctl(socket.fd, SIOCGIFINDEX, request.address), "look up", name);
  return request.view.getInt32(16, true);
}

function quad(text: string): Uint8Array {
  return Uint8Array.from(text.split(".").map(Number));
}
