/**
 * What two nodes' data planes do together, whatever they run on: memory, or a real kernel.
 *
 * A plane takes inner packets as a container would send them and shows what arrives inside the
 * other node. Node `a` holds 10.0.1.0/24 at 10.0.1.0, node `b` the same with 2.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { buildPacket, finish, patternBytes } from "../sim/packet-builder.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** One node of the pair, from inside. */
export interface PlaneSide {
  /** Sends a finished inner packet into the overlay. */
  send(packet: Bytes): void;
  /** Sends `payload` to the other node's data plane as if from `sourcePort` of this node. */
  sendDatagram(payload: Bytes, sourcePort: number): void;
  /** Packets that came out of the overlay since the last call, with finished checksums. */
  received(): Bytes[];
  /** How often a packet was dropped for a reason, by its name. */
  drops(reason: string): number;
}

export interface PlanePair extends AsyncDisposable {
  readonly a: PlaneSide;
  readonly b: PlaneSide;
  /** Lets everything that was sent arrive. */
  settle(): Promise<void>;
}

export interface PlaneContractOptions {
  readonly name: string;
  /** `partialChecksum`: whether each side thinks that the other finishes checksums. */
  readonly open: (partialChecksum: boolean) => Promise<PlanePair>;
  /** Why these tests cannot run here; "" when they can. */
  readonly skipReason: string;
}

const A = { source: "10.0.1.5", target: "10.0.2.5" };
const B = { source: "10.0.2.5", target: "10.0.1.5" };
const PORT = 8285;
const ECHO_REQUEST = [8, 0, 0, 0, 0, 1, 0, 1];

/** An ICMP echo request with its checksum. */
export function echoRequest(addresses: { source: string; target: string }, size = 56): Bytes {
  const message = new Uint8Array([...ECHO_REQUEST, ...patternBytes(size)]);
  let sum = 0;
  for (let i = 0; i < message.length; i += 2) sum += message[i]! * 256 + (message[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  message.set([(~sum >>> 8) & 255, ~sum & 255], 2);
  return buildPacket({ ...addresses, protocol: "icmp", payload: message });
}

/** Runs the suite; every test is named after the plane. */
export function runPacketPlaneContract(options: PlaneContractOptions): void {
  const suffix = options.skipReason === "" ? "" : ` (skipped: ${options.skipReason})`;
  const planeTest = (name: string, body: (pair: PlanePair) => Promise<void>) =>
    test.skipIf(suffix !== "")(`${name}${suffix}`, async () => {
      await using pair = await options.open(true);
      await body(pair);
    });

  describe(`packet plane: ${options.name}`, () => {
    for (const protocol of ["tcp", "udp"] as const) {
      planeTest(
        `${protocol}: a packet arrives as it was sent, both ways`,
        async ({ a, b, settle }) => {
          const there = buildPacket({ ...A, protocol, payload: patternBytes(1000) });
          const back = buildPacket({ ...B, protocol, payload: patternBytes(1) });
          a.send(there);
          b.send(back);
          await settle();
          expect(b.received()).toEqual([there]);
          expect(a.received()).toEqual([back]);
        },
      );
    }

    planeTest("ICMP echo passes", async ({ a, b, settle }) => {
      const packet = echoRequest(A);
      a.send(packet);
      await settle();
      expect(b.received()).toEqual([packet]);
    });

    planeTest("a thousand packets of one flow: all arrive, in order", async ({ a, b, settle }) => {
      const payload = patternBytes(900);
      const sent: Bytes[] = [];
      for (let i = 0; i < 1000; i++) {
        const spec = { ...A, protocol: "tcp" as const, sequence: 1 + i * 900, id: i & 0xffff };
        sent.push(buildPacket({ ...spec, payload }));
      }
      const got: Bytes[] = [];
      for (let i = 0; i < sent.length; i += 50) {
        for (const packet of sent.slice(i, i + 50)) a.send(packet);
        await settle();
        got.push(...b.received());
      }
      const sequences = (list: readonly Bytes[]) =>
        list.map((packet) => new DataView(packet.buffer, packet.byteOffset).getUint32(24));
      expect(sequences(got)).toEqual(sequences(sent));
    });

    planeTest("no route: ICMP 3/0 from the TUN's address, quoting the packet", async (pair) => {
      const packet = buildPacket({
        ...A,
        target: "10.0.9.9",
        protocol: "udp",
        payload: patternBytes(20),
      });
      pair.a.send(packet);
      await pair.settle();
      const [error, ...more] = pair.a.received();
      expect(more).toEqual([]);
      expect([...error!.slice(12, 20)]).toEqual([10, 0, 1, 0, 10, 0, 1, 5]);
      expect([error![20], error![21]]).toEqual([3, 0]);
      expect(error!.slice(28)).toEqual(packet);
      expect(pair.a.drops("tx_no_route")).toBe(1);
    });

    planeTest("no route for an ICMP error: silence", async ({ a, settle }) => {
      const error = new Uint8Array([3, 1, 0xfc, 0xfe, 0, 0, 0, 0]);
      a.send(buildPacket({ ...A, target: "10.0.9.9", protocol: "icmp", payload: error }));
      await settle();
      expect(a.received()).toEqual([]);
      expect(a.drops("tx_no_route")).toBe(1);
    });

    const refused = (name: string, reason: string, payload: () => Bytes, port = PORT) =>
      planeTest(`refused: ${name}`, async ({ a, b, settle }) => {
        a.sendDatagram(payload(), port);
        await settle();
        expect(b.received()).toEqual([]);
        expect(b.drops(reason)).toBe(1);
      });
    const udp = (addresses: { source: string; target: string }) => () =>
      buildPacket({ ...addresses, protocol: "udp", payload: patternBytes(9) });
    refused("a source that nobody owns", "rx_unknown_source", udp({ ...A, source: "10.0.9.1" }));
    refused("our own source", "rx_own_source", udp({ ...A, source: "10.0.2.9" }));
    refused("a target that is not ours", "rx_foreign_target", udp({ ...A, target: "10.0.9.1" }));
    refused("another port than the endpoint's", "rx_foreign_source", udp(A), PORT + 1);
    refused("a sealed packet cut short", "rx_short", () => new Uint8Array([0x11, 1, 2, 3]));
    refused("sealed with unknown keys", "rx_seal_unknown_key", () => new Uint8Array(60).fill(0x11));
    refused("control, for now", "rx_control", () => new Uint8Array([0x20, 1, 2, 3]));
    refused("an unknown kind", "rx_unknown_kind", () => new Uint8Array([0x30, 1, 2, 3]));
    refused("a header cut short", "rx_short", () => udp(A)().slice(0, 12));
    refused("bytes behind the packet", "rx_bad_length", () => new Uint8Array([...udp(A)(), 0]));
    refused("a wrong header checksum", "rx_bad_checksum", () => {
      const packet = udp(A)();
      packet[10] = packet[10]! ^ 0xff;
      return packet;
    });
    refused("partial, without TCP or UDP", "rx_bad_partial", () => {
      const packet = echoRequest(A);
      packet[0] = packet[0]! | 0x80;
      return packet;
    });

    planeTest("a partial packet is finished, whatever its field says", async ({ a, b, settle }) => {
      const packet = udp(A)();
      const marked = packet.slice();
      marked[0] = marked[0]! | 0x80;
      marked.set([0xde, 0xad], 26);
      a.sendDatagram(marked, PORT);
      await settle();
      expect(b.received()).toEqual([finish(packet.slice())]);
    });

    test.skipIf(suffix !== "")(`a bare flannel peer gets whole packets only${suffix}`, async () => {
      await using pair = await options.open(false);
      const packet = buildPacket({ ...A, protocol: "tcp", payload: patternBytes(700) });
      pair.a.send(packet);
      await pair.settle();
      expect(pair.b.received()).toEqual([packet]);
    });
  });
}
