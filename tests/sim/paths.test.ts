/**
 * Paths in memory: probes between two loops, what a path's MTU does to packets, and strangers.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseAddress } from "../../src/base/address.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import { PEER, PEER_STRIDE, TOTAL } from "../../src/dataplane/forward/counters.ts";
import { ANSWER_BURST_MAX } from "../../src/dataplane/forward/probe-station.ts";
import { PROBE_QUESTION, PROBE_SIZE, ProbeFrame } from "../../src/dataplane/probe/frame.ts";
import { QUESTION } from "../../src/dataplane/probe/mail.ts";
import { MAIL_WIDTH } from "../../src/dataplane/probe/mail-ring.ts";
import { Prober } from "../../src/dataplane/probe/prober.ts";
import {
  buildPacket,
  expandFrame,
  finish,
  isRight,
  offloadFrame,
  openDatagram,
  patternBytes,
  plainFrame,
} from "./packet-builder.ts";
import { openRigPair, type PacketRig, RIG_PORT } from "./packet-rig.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const OVERHEAD = 28;
const A = { source: "10.0.1.5", target: "10.0.2.5" };
const A6 = { source: "fd00:0:0:1:0:0:0:5", target: "fd00:0:0:2:0:0:0:5" };
const [ID_A, ID_B] = [101, 202];
const SYN = 0x02;

/** The path from `rig` to its only peer carries inner packets of `mtu` bytes. */
function narrow(rig: PacketRig, mtu: number): void {
  rig.peers[PEER.PAYLOAD_MAX] = mtu;
}

/** What the other node's containers get of `frame`, with fragments put together again. */
function carry(from: PacketRig, to: PacketRig, ...frames: Bytes[]): Bytes[] {
  from.tun.waiting.push(...frames);
  from.settle();
  to.settle();
  return reassemble(to.takeWritten().flatMap((frame) => expandFrame(frame) ?? []));
}

/** RFC 815, the slow way. */
function reassemble(packets: readonly Bytes[]): Bytes[] {
  const whole: Bytes[] = [];
  const parts = new Map<number, Bytes[]>();
  for (const packet of packets) {
    const view = new DataView(packet.buffer);
    if (packet[0]! >>> 4 !== 4 || (view.getUint16(6) & 0x3fff) === 0) whole.push(packet);
    else parts.set(view.getUint16(4), [...(parts.get(view.getUint16(4)) ?? []), packet]);
  }
  const offset = (packet: Bytes) => (new DataView(packet.buffer).getUint16(6) & 0x1fff) * 8;
  for (const fragments of parts.values()) {
    const sorted = fragments.toSorted((a, b) => offset(a) - offset(b));
    const first = sorted[0]!;
    const header = (first[0]! & 15) * 4;
    const payload = sorted.flatMap((packet) => [...packet.slice(header)]);
    const last = sorted.at(-1)!;
    expect(offset(last) + last.length - header).toBe(payload.length);
    const packet = new Uint8Array([...first.slice(0, header), ...payload]);
    const view = new DataView(packet.buffer);
    view.setUint16(6, 0);
    const checksum = view.getUint16(header + 6);
    whole.push(finish(packet));
    expect(view.getUint16(header + 6)).toBe(checksum);
  }
  return whole;
}

function question(fields: Partial<ProbeFrame> = {}): Bytes {
  const size = fields.size ?? PROBE_SIZE;
  const defaults = { kind: PROBE_QUESTION, size, sequence: 7, sender: ID_A, target: ID_B };
  const frame = Object.assign(new ProbeFrame(), defaults, fields);
  const bytes = new Uint8Array(Math.max(size, PROBE_SIZE));
  frame.encode(new DataView(bytes.buffer), 0);
  return bytes;
}

describe("probes between two loops", () => {
  /** A prober on `rig`, whose only peer has the id `peer`. */
  function watch(rig: PacketRig, peer: number, linkMtu: number) {
    const limits: number[] = [];
    const prober = new Prober(
      {
        linkMtu,
        overhead: OVERHEAD,
        below: (limit) => limit >>> 1,
        send: (slot, { sequence, size, isWhole }, told, token) => {
          const message = new Float64Array(MAIL_WIDTH);
          message[QUESTION.SLOT] = slot;
          message[QUESTION.SEQUENCE] = sequence;
          message[QUESTION.SIZE] = size;
          message[QUESTION.WHOLE] = isWhole ? 1 : 0;
          message[QUESTION.TOKEN] = token;
          message[QUESTION.TOLD] = told;
          return rig.questions.put(message);
        },
        traffic: () => 1,
        onPath: (slot, { payloadMax, found }) => {
          limits.push(payloadMax);
          rig.peers[slot * PEER_STRIDE + PEER.PAYLOAD_MAX] = payloadMax;
          rig.peers[slot * PEER_STRIDE + PEER.PATH_MTU] = found;
        },
      },
      0,
    );
    const endpoint = { address: parseAddress("192.0.2.1")!, port: 8285 };
    prober.setPeers([{ peer: decodeNodeId(peer), endpoint }], 0);
    return { prober, limits, path: () => prober.path(0)! };
  }

  function run(pair: ReturnType<typeof openRigPair>, seconds: number, linkMtu = 1500) {
    const { a, b } = pair;
    const watches = [watch(a, ID_B, linkMtu), watch(b, ID_A, linkMtu)] as const;
    const report = new Float64Array(MAIL_WIDTH);
    for (let nowMs = 0; nowMs < seconds * 1000; nowMs += 10) {
      for (const [number, rig] of [a, b].entries()) {
        rig.nowMs = nowMs;
        watches[number]!.prober.tick(nowMs);
        rig.loop.ask();
      }
      a.nowMs = nowMs + 3;
      for (const rig of [b, a, b]) rig.settle();
      for (const [number, rig] of [a, b].entries()) {
        while (rig.reports.take(report)) watches[number]!.prober.report(report, nowMs);
      }
    }
    return watches;
  }

  test("round trips, both MTUs, and each learns what the other found", () => {
    const pair = openRigPair();
    pair.wire.mtu = 1400;
    const [atA, atB] = run(pair, 10);
    expect([atA.path().mtu.found, atB.path().mtu.found]).toEqual([1400, 1400]);
    expect([atA.path().told, atB.path().told]).toEqual([1400, 1400]);
    expect(atA.path().trips.minMs).toBe(3);
    expect(atA.path().trips.lossPercent).toBe(0);
    expect([atA.limits.at(-1), pair.a.peers[PEER.PATH_MTU]]).toEqual([1372, 1400]);
    expect([pair.a.drops(), pair.b.drops()]).toEqual([{}, {}]);
    expect(pair.a.total(TOTAL.PROBE_QUESTIONS)).toBeGreaterThan(10);
    expect(pair.a.total(TOTAL.PROBE_ANSWERS)).toBeGreaterThan(10);
  });

  test("jumbo frames: as far up as the path goes", () => {
    const pair = openRigPair();
    pair.wire.mtu = 8950;
    for (const { udp } of [pair.a, pair.b]) udp.linkMtu = 9000;
    const [atA] = run(pair, 10, 9000);
    expect(atA.path().mtu.found).toBe(8950);
  });

  test("the link carries less than was said: the kernel's word counts at once", () => {
    const pair = openRigPair();
    for (const { udp } of [pair.a, pair.b]) udp.linkMtu = 1450;
    const [atA] = run(pair, 10);
    expect(atA.path().mtu.found).toBe(1450);
  });

  test("padded probes are never joined or cut into something else", () => {
    const { wire, b } = openRigPair();
    const from = { address: [0, 0, 0xffff, 0xc0000201], port: RIG_PORT };
    for (let i = 0; i < 5; i++) {
      wire.deliver(from, b.udp.endpoint.address, RIG_PORT, question({ sequence: i }));
    }
    b.settle();
    expect(b.total(TOTAL.PROBE_ANSWERS)).toBe(5);
  });
});

describe("who may probe", () => {
  const KNOWN = { address: [0, 0, 0xffff, 0xc0000201], port: RIG_PORT };

  function ask(bytes: Bytes, from = KNOWN) {
    const { wire, b } = openRigPair();
    wire.deliver(from, b.udp.endpoint.address, RIG_PORT, bytes);
    const before = wire.sent.length;
    b.settle();
    return { answers: wire.sent.slice(before), drops: b.drops() };
  }

  test("the peer itself: one answer, no larger than the question", () => {
    for (const size of [PROBE_SIZE, 1472]) {
      const { answers, drops } = ask(question({ size }));
      expect(answers.map(({ bytes }) => bytes.length)).toEqual([PROBE_SIZE]);
      expect(drops).toEqual({});
    }
  });

  const strangers: readonly [string, Bytes, typeof KNOWN?][] = [
    ["another address", question(), { ...KNOWN, address: [0, 0, 0xffff, 0xc0000207] }],
    ["another port", question(), { ...KNOWN, port: 9999 }],
    ["a peer's endpoint, under another name", question({ sender: 303 })],
    ["a peer that means another node", question({ target: 303 })],
    ["nobody", question({ sender: 0 })],
  ];
  for (const [name, bytes, from] of strangers) {
    test(`${name}: no answer, counted`, () => {
      expect(ask(bytes, from)).toEqual({ answers: [], drops: { rx_probe_stranger: 1 } });
    });
  }

  test("bytes that are no probe: counted as such", () => {
    for (const bytes of [new Uint8Array([0x20]), new Uint8Array(60).fill(0x21)]) {
      expect(ask(bytes)).toEqual({ answers: [], drops: { rx_control: 1 } });
    }
  });

  test("a peer that asks without end is answered up to a rate", () => {
    const { wire, b } = openRigPair();
    for (let i = 0; i < 500; i++) {
      wire.deliver(KNOWN, b.udp.endpoint.address, RIG_PORT, question({ sequence: i }));
    }
    b.settle();
    const answered = b.total(TOTAL.PROBE_ANSWERS);
    expect(answered).toBeLessThanOrEqual(ANSWER_BURST_MAX);
    expect(b.drops()).toEqual({ rx_probe_limit: 500 - answered });
    b.nowMs += 1000;
    wire.deliver(KNOWN, b.udp.endpoint.address, RIG_PORT, question());
    b.settle();
    expect(b.total(TOTAL.PROBE_ANSWERS)).toBe(answered + 1);
  });

  test("answers that nobody asked for: reported as they are, the prober knows its own", () => {
    const { wire, a } = openRigPair();
    const from = { address: [0, 0, 0xffff, 0xc0000202], port: RIG_PORT };
    const forged = { kind: 2, sender: ID_B, target: ID_A, stamp: Number.NaN };
    wire.deliver(from, a.udp.endpoint.address, RIG_PORT, question(forged));
    wire.deliver(from, a.udp.endpoint.address, RIG_PORT, question({ ...forged, stamp: 1e18 }));
    a.settle();
    expect(a.drops()).toEqual({ rx_control: 2 });
    expect(a.reports.isEmpty).toBe(true);
  });

  test("random bytes behind nibble 2: never an answer, never a packet", () => {
    const { wire, b } = openRigPair();
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 100 });
    fc.assert(
      fc.property(bytes, (random) => {
        const datagram = new Uint8Array(random);
        datagram[0] = 0x20 | (datagram[0]! & 15);
        wire.deliver(KNOWN, b.udp.endpoint.address, RIG_PORT, datagram);
        b.settle();
        expect(b.takeWritten()).toEqual([]);
      }),
    );
    expect(b.total(TOTAL.PROBE_ANSWERS)).toBe(0);
  });
});

describe("a path that carries less than the overlay's MTU", () => {
  const MTU = 1372;

  test("whole UDP with DF: fragmentation needed, with the path's MTU", () => {
    const { wire, a } = openRigPair();
    narrow(a, MTU);
    a.tun.waiting.push(
      plainFrame(buildPacket({ ...A, protocol: "udp", payload: patternBytes(1400) })),
    );
    a.settle();
    const [error] = a.takeWritten();
    expect([error![10 + 20], error![10 + 21]]).toEqual([3, 4]);
    expect(new DataView(error!.buffer).getUint16(10 + 26)).toBe(MTU);
    expect([wire.sent.length, a.drops()]).toEqual([0, { tx_too_big: 1 }]);
  });

  test("the same in IPv6: packet too big", () => {
    const { wire, a } = openRigPair();
    narrow(a, MTU);
    a.tun.waiting.push(
      plainFrame(buildPacket({ ...A6, protocol: "udp", payload: patternBytes(1400) })),
    );
    a.settle();
    const [error] = a.takeWritten();
    expect(error![10 + 40]).toBe(2);
    expect(new DataView(error!.buffer).getUint32(10 + 44)).toBe(MTU);
    expect([wire.sent.length, a.drops()]).toEqual([0, { tx_too_big: 1 }]);
  });

  test("another peer's path is its own", () => {
    const { wire, a } = openRigPair();
    narrow(a, 0);
    a.tun.waiting.push(
      plainFrame(buildPacket({ ...A, protocol: "udp", payload: patternBytes(1444) })),
    );
    a.settle();
    expect([wire.sent.length, a.drops()]).toEqual([1, {}]);
  });

  test("UDP without DF of any size on any path: fragments that fit, the packet whole again", () => {
    const sizes = fc.record({
      mtu: fc.integer({ min: 548, max: 1472 }),
      payload: fc.integer({ min: 1, max: 1444 }),
      unfinished: fc.boolean(),
      gso: fc.boolean(),
    });
    fc.assert(
      fc.property(sizes, ({ mtu, payload, unfinished, gso }) => {
        const { wire, a, b } = openRigPair();
        narrow(a, mtu);
        a.offloads[2] = gso ? 0 : 22;
        const spec = {
          ...A,
          protocol: "udp",
          payload: patternBytes(payload),
          fragment: 0,
        } as const;
        const packet = buildPacket({ ...spec, id: 77 });
        const got = carry(a, b, unfinished ? offloadFrame(packet) : plainFrame(packet));
        expect(got).toEqual([packet]);
        for (const { bytes } of wire.sent) expect(bytes.length).toBeLessThanOrEqual(mtu);
        expect([a.drops(), b.drops()]).toEqual([{}, {}]);
      }),
    );
  });

  test("a fragment is cut again; options stay with the first", () => {
    const { wire, a } = openRigPair();
    narrow(a, 600);
    // Two options: record route (first fragment only), stream id (all).
    const spec = { ...A, protocol: 17, payload: patternBytes(1192), fragment: 0x2000 | 20 };
    const plain = buildPacket(spec);
    const options = [7, 4, 4, 0, 0x88, 4, 1, 2];
    const packet = new Uint8Array([...plain.slice(0, 20), ...options, ...plain.slice(20)]);
    packet[0] = 0x47;
    const view = new DataView(packet.buffer);
    view.setUint16(2, packet.length);
    view.setUint16(10, 0);
    let sum = 0;
    for (let i = 0; i < 28; i += 2) sum += view.getUint16(i);
    view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
    a.tun.waiting.push(plainFrame(packet));
    a.settle();
    const sent = wire.sent.map(({ bytes }) => bytes);
    const words = sent.map((bytes) => new DataView(bytes.buffer).getUint16(6));
    expect(words).toEqual([0x2000 | 20, 0x2000 | (20 + 71), 0x2000 | (20 + 142)]);
    expect([...sent[0]!.slice(20, 28)]).toEqual(options);
    expect([...sent[1]!.slice(20, 28)]).toEqual([1, 1, 1, 1, 0x88, 4, 1, 2]);
    expect(sent.flatMap((bytes) => [...bytes.slice(28)])).toEqual([...packet.slice(28)]);
  });

  test("UDP super-packets: cut further without DF, refused with it", () => {
    const { wire, a, b } = openRigPair();
    narrow(a, 1000);
    const payload = patternBytes(14_000);
    const loose = buildPacket({ ...A, protocol: "udp", payload, fragment: 0, id: 9 });
    const got = carry(a, b, offloadFrame(loose, 1400));
    expect(got).toEqual(expandFrame(offloadFrame(loose, 1400))!);
    for (const { bytes } of wire.sent) expect(bytes.length).toBeLessThanOrEqual(1000);
    expect(a.drops()).toEqual({});
    const strict = buildPacket({ ...A, protocol: "udp", payload });
    expect(carry(a, b, offloadFrame(strict, 1400))).toEqual([]);
    expect(a.drops()).toEqual({ tx_too_big: 10 });
    const [error] = a.takeWritten();
    expect(new DataView(error!.buffer).getUint16(10 + 26)).toBe(1000);
  });

  for (const addresses of [A, A6]) {
    const family = addresses === A ? "IPv4" : "IPv6";
    test(`${family} TCP that is on its way: cut to fit, nothing lost, and the sender is told`, () => {
      const { wire, a, b } = openRigPair();
      narrow(a, MTU);
      const payload = patternBytes(30_000);
      const bulk = buildPacket({ ...addresses, protocol: "tcp", payload, sequence: 5000 });
      const single = buildPacket({
        ...addresses,
        protocol: "tcp",
        payload: patternBytes(1400),
        sequence: 35_000,
      });
      a.tun.waiting.push(offloadFrame(bulk, 1432), offloadFrame(single));
      a.settle();
      b.settle();
      const header = addresses === A ? 40 : 60;
      const got = b.takeWritten().flatMap((frame) => expandFrame(frame) ?? []);
      const bytes = got.toSorted((x, y) => sequenceOf(x, header) - sequenceOf(y, header));
      expect(bytes.flatMap((packet) => [...packet.slice(header)])).toEqual([
        ...payload,
        ...patternBytes(1400),
      ]);
      for (const { bytes: sent } of wire.sent) {
        expect(sent.length).toBeLessThanOrEqual(MTU);
        expect(isRight(openDatagram(sent))).toBe(true);
      }
      expect(a.drops()).toEqual({});
      expect(a.total(TOTAL.ICMP_ERRORS)).toBe(2);
    });
  }

  test("a table that comes while fragments wait for room: they go on", () => {
    const { wire, a } = openRigPair();
    narrow(a, 700);
    a.offloads[2] = 22;
    const payload = patternBytes(40_000);
    const loose = buildPacket({ ...A, protocol: "udp", payload, fragment: 0 });
    a.tun.waiting.push(offloadFrame(loose, 1400));
    a.udp.room = 2;
    a.loop.turn();
    a.publish([{ prefixes: ["10.0.2.0/24"], address: "192.0.2.2", id: ID_B }]);
    a.udp.room = 1e9;
    a.settle();
    const bytes = wire.sent.reduce((sum, one) => sum + one.bytes.length - 20, 0);
    expect(bytes).toBe(40_000 + 8 * Math.ceil(40_000 / 1400));
    expect(a.drops()).toEqual({});
  });
});

describe("anything at all on a narrow path", () => {
  test("mutated packets: what leaves fits, what must not leave does not, and it goes on", () => {
    const shape = fc.record({
      v6: fc.boolean(),
      protocol: fc.constantFrom<"tcp" | "udp">("tcp", "udp"),
      size: fc.integer({ min: 0, max: 6000 }),
      gso: fc.constantFrom(0, 0, 500, 1400),
      df: fc.boolean(),
      mtu: fc.integer({ min: 548, max: 1472 }),
      flips: fc.array(fc.tuple(fc.integer({ min: 0, max: 80 }), fc.integer({ min: 1, max: 255 })), {
        maxLength: 3,
      }),
    });
    const { wire, a, b } = openRigPair();
    fc.assert(
      fc.property(shape, ({ v6, protocol, size, gso, df, mtu, flips }) => {
        narrow(a, mtu);
        const addresses = v6 ? A6 : A;
        const fragment = df ? 0x4000 : 0;
        const packet = buildPacket({
          ...addresses,
          protocol,
          payload: patternBytes(size),
          fragment,
        });
        const frame = offloadFrame(packet, gso);
        for (const [at, bits] of flips) {
          if (at < frame.length) frame[at] = frame[at]! ^ bits;
        }
        wire.sent.length = 0;
        a.nowMs += 1000;
        a.tun.waiting.push(frame);
        a.settle();
        for (const { bytes } of wire.sent) expect(bytes.length).toBeLessThanOrEqual(mtu);
        b.settle();
        a.takeWritten();
        b.takeWritten();
      }),
      { numRuns: 500 },
    );
    const good = buildPacket({ ...A, protocol: "udp", payload: A_FEW });
    expect(carry(a, b, plainFrame(good))).toEqual([good]);
  });
});

describe("the size that a SYN announces", () => {
  const options = (mss: number, before: readonly number[] = []) => {
    const bytes = [...before, 2, 4, mss >>> 8, mss & 255];
    while (bytes.length % 4 !== 0) bytes.push(0);
    return new Uint8Array(bytes);
  };
  const syn = (addresses: typeof A, mss: number, before?: readonly number[]) =>
    buildPacket({ ...addresses, protocol: "tcp", flags: SYN, options: options(mss, before) });
  const announced = (packet: Bytes, at: number) => new DataView(packet.buffer).getUint16(at);

  for (const [addresses, header] of [
    [A, 40],
    [A6, 60],
  ] as const) {
    for (const unfinished of [true, false]) {
      const family = addresses === A ? "IPv4" : "IPv6";
      test(`${family}, checksum ${unfinished ? "un" : ""}finished: lowered on the way out`, () => {
        const { a, b } = openRigPair();
        narrow(a, 1372);
        const packet = syn(addresses, 9000);
        const [got] = carry(a, b, unfinished ? offloadFrame(packet) : plainFrame(packet));
        expect(announced(got!, header + 2)).toBe(1372 - header);
        expect(isRight(got!)).toBe(true);
      });
    }
  }

  test("lowered on the way in, by the way back", () => {
    const { a, b } = openRigPair();
    narrow(b, 1300);
    const [got] = carry(a, b, plainFrame(syn(A, 1400)));
    expect(announced(got!, 42)).toBe(1260);
    expect(isRight(got!)).toBe(true);
    const [marked] = carry(a, b, offloadFrame(syn(A, 1400)));
    expect([announced(marked!, 42), isRight(marked!)]).toEqual([1260, true]);
  });

  test("an option at an odd place, behind others", () => {
    const { a, b } = openRigPair();
    narrow(a, 1372);
    const [got] = carry(a, b, plainFrame(syn(A, 1460, [1, 3, 3, 7, 4, 2, 1])));
    expect(announced(got!, 40 + 9)).toBe(1332);
    expect(isRight(got!)).toBe(true);
  });

  test("what is small enough, and what is no SYN, stays", () => {
    const { a, b } = openRigPair();
    narrow(a, 1372);
    const small = syn(A, 536);
    expect(carry(a, b, plainFrame(small))).toEqual([small]);
    const data = buildPacket({ ...A, protocol: "tcp", options: options(9000), payload: A_FEW });
    expect(carry(a, b, plainFrame(data))).toEqual([data]);
  });

  test("any options: never out of the header, never a wrong checksum", () => {
    const bytes = fc.uint8Array({ minLength: 4, maxLength: 40 });
    fc.assert(
      fc.property(bytes, fc.boolean(), (random, unfinished) => {
        const { a, b } = openRigPair();
        narrow(a, 600);
        const list = new Uint8Array(random.slice(0, random.length & ~3));
        const packet = buildPacket({
          ...A,
          protocol: "tcp",
          flags: SYN,
          options: list,
          payload: A_FEW,
        });
        const [got] = carry(a, b, unfinished ? offloadFrame(packet) : plainFrame(packet));
        expect(isRight(got!)).toBe(true);
        expect(got!.slice(40 + list.length)).toEqual(A_FEW);
        expect(got!.length).toBe(packet.length);
      }),
    );
  });
});

const A_FEW = patternBytes(9);

function sequenceOf(packet: Bytes, header: number): number {
  return new DataView(packet.buffer).getUint32(header - 16);
}
