/**
 * The programs that carry lone packets in the kernel, run by the kernel itself over chosen and over
 * random packets, and held against the model.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../src/base/address.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import { PEER_COUNTER } from "../../src/dataplane/bpf/layout.ts";
import type { FibTable } from "../../src/dataplane/fib/row.ts";
import {
  type Judgement,
  judgeReceive,
  judgeTransmit,
  type ModelWorld,
  onesSum,
  pseudoSum,
} from "./kernel-model.ts";
import { KernelPrograms, TRIAL_PORT, type Trial } from "./kernel-programs.ts";

const TAKEN = 7;
const USER = -1;
const RANDOM_COUNT = 40_000;
const SELF = 0xc0000201;
const PEER = 0xc0000202;
const SHORT_MTU_PEER = 0xc0000203;
const MTU = 1472;
const SHORT_MTU = 600;
const HOME = 0x0a580105;
const AWAY = 0x0a580205;
const SHORT = 0x0a580305;
const SEALED = 0x0a580405;
const NOWHERE = 0x0b000001;

const WORLD: ModelWorld = {
  self: SELF,
  port: TRIAL_PORT,
  routes: [
    { address: 0x0a580100, length: 24, to: "local" },
    { address: 0x0a580200, length: 24, to: { endpoint: PEER, mtu: MTU } },
    { address: 0x0a580300, length: 24, to: { endpoint: SHORT_MTU_PEER, mtu: SHORT_MTU } },
    { address: 0x0a580000, length: 16, to: { endpoint: PEER, mtu: MTU } },
    { address: 0x0a580400, length: 24, to: "blocked" },
  ],
};

const row = (prefix: string, peer: number, address: string) => ({
  prefix: parsePrefix(prefix)!,
  peer: decodeNodeId(peer),
  endpoint: { address: parseAddress(address)!, port: TRIAL_PORT },
  partialChecksum: true,
});

const TABLE: FibTable = {
  local: [parsePrefix("10.88.1.0/24")!],
  rows: [
    row("10.88.2.0/24", 2, "192.0.2.2"),
    row("10.88.3.0/24", 3, "192.0.2.3"),
    row("10.88.0.0/16", 2, "192.0.2.2"),
    row("10.88.4.0/24", 4, "192.0.2.4"),
  ],
};

function obstacle(): string {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  try {
    new KernelPrograms(SELF)[Symbol.dispose]();
    return "";
  } catch (error) {
    return /EPERM|ENOSYS/.test(String(error)) ? "needs the right to load BPF programs" : "";
  }
}

const skipReason = obstacle();

function trial(name: string, body: (programs: KernelPrograms) => void): void {
  const suffix = skipReason === "" ? "" : ` [skipped: ${skipReason}]`;
  test.skipIf(skipReason !== "")(
    `${name}${suffix}`,
    () => {
      using programs = new KernelPrograms(SELF);
      programs.publish(TABLE, {
        mtuOf: ({ peer }) => (peer === 3 ? SHORT_MTU : MTU),
        wayTo: () => ({ link: 1, whole: false }),
        overlayMtu: MTU,
        slotOf: (peer) => peer,
        isPlain: ({ peer }) => peer !== 4,
      });
      body(programs);
    },
    30_000,
  );
}

interface Inner {
  readonly source: number;
  readonly target: number;
  readonly protocol: number;
  readonly size: number;
  readonly checksum: "finished" | "partial" | "wrong" | "none";
  /** Makes a TCP packet a SYN with this MSS, in bytes. */
  readonly mss?: number;
}

/** One inner packet; its payload is counted up, so that no sum is trivial. */
function innerPacket({ source, target, protocol, size, checksum, mss }: Inner): Uint8Array {
  const packet = Uint8Array.from({ length: size }, (_, at) => (at * 7) & 255);
  const view = new DataView(packet.buffer);
  packet.set([0x45, 0, size >> 8, size & 255, 0, 1, 0, 0, 63, protocol, 0, 0]);
  view.setUint32(12, source);
  view.setUint32(16, target);
  view.setUint16(10, onesSum(packet.subarray(0, 20)) ^ 0xffff);
  if (protocol === 6 && size >= 40) packet[33] = mss === undefined ? 0x10 : 0x02;
  if (protocol === 6 && size >= 44 && mss !== undefined) {
    packet.set([2, 4, mss >> 8, mss & 255], 40);
  }
  const at = protocol === 6 ? 36 : protocol === 17 ? 26 : 22;
  if (size < at + 2) return packet;
  view.setUint16(at, 0);
  if (checksum === "none") return packet;
  const pseudo = protocol === 1 ? 0 : pseudoSum(packet);
  const finished = onesSum(packet.subarray(20), pseudo) ^ 0xffff;
  view.setUint16(at, checksum === "partial" ? pseudo : finished ^ (checksum === "wrong" ? 1 : 0));
  return packet;
}

function frameOf(packet: Uint8Array): Uint8Array {
  const frame = new Uint8Array(14 + packet.length);
  frame.set([8, 0], 12);
  frame.set(packet, 14);
  return frame;
}

/** A datagram as a peer's kernel sends it. */
function datagram(packet: Uint8Array, endpoint = PEER): Uint8Array {
  const out = new Uint8Array(28 + packet.length);
  const view = new DataView(out.buffer);
  out.set([0x45, 0, out.length >> 8, out.length & 255, 0x12, 0x34, 0, 0, 64, 17]);
  view.setUint32(12, endpoint);
  view.setUint32(16, SELF);
  view.setUint16(10, onesSum(out.subarray(0, 20)) ^ 0xffff);
  view.setUint16(20, TRIAL_PORT);
  view.setUint16(22, TRIAL_PORT);
  view.setUint16(24, 8 + packet.length);
  out.set(packet, 28);
  return out;
}

/** The frame without what is chance: the identification, and the checksum over it. */
function comparable(frame: Uint8Array): string {
  const copy = frame.slice();
  copy.fill(0, 18, 20);
  copy.fill(0, 24, 26);
  return Buffer.from(copy).toString("hex");
}

const transmitted = (packet: Uint8Array) => comparable(packet);
const received = (packet: Uint8Array) => Buffer.from(packet).toString("hex");

/** "taken …", "pass", or the reason. */
function describeTrial(
  programs: KernelPrograms,
  run: () => Trial,
  frame: Uint8Array,
  text: (packet: Uint8Array) => string,
): string {
  const before = programs.reasons();
  const { verdict, packet } = run();
  if (verdict === TAKEN) return `taken ${text(packet)}`;
  if (verdict !== USER) return `verdict ${verdict}`;
  if (Buffer.compare(packet, frame) !== 0) return "left, but changed";
  const after = programs.reasons();
  return Object.keys(after).find((key) => after[key] !== before[key]) ?? "pass";
}

function describeJudgement(judgement: Judgement, text: (packet: Uint8Array) => string): string {
  switch (judgement.kind) {
    case "taken":
      return `taken ${text(judgement.packet)}`;
    case "user":
      return judgement.reason;
    case "pass":
      return "pass";
  }
}

const kinds = { ping: 1, tcp: 6, udp: 17, gre: 47 };

describe("transmit", () => {
  const packet = (change: Partial<Inner> = {}) =>
    innerPacket({
      ...{ source: HOME, target: AWAY, protocol: 17, size: 92, checksum: "partial" },
      ...change,
    });

  trial("what is taken leaves as the model has it, at every length", (programs) => {
    for (const protocol of Object.values(kinds)) {
      for (const checksum of ["finished", "partial", "wrong", "none"] as const) {
        for (const size of [...Array(64).keys()]
          .map((at) => at + 20)
          .concat([531, 532, 533, 1044, 1045, 1471, MTU, 1473])) {
          const frame = frameOf(packet({ protocol, checksum, size }));
          const is = describeTrial(programs, () => programs.transmit(frame), frame, transmitted);
          const ought = describeJudgement(judgeTransmit(WORLD, frame), transmitted);
          expect(`${protocol} ${checksum} ${size} ${is}`).toBe(
            `${protocol} ${checksum} ${size} ${ought}`,
          );
        }
      }
    }
  });

  trial("the outer header's checksum is right, and identifications differ", (programs) => {
    const frame = frameOf(packet());
    const ids = new Set<number>();
    for (let round = 0; round < 20; round++) {
      const out = programs.transmit(frame).packet;
      expect(onesSum(out.subarray(14, 34))).toBe(0xffff);
      ids.add(new DataView(out.buffer).getUint16(18));
    }
    expect(ids.size).toBeGreaterThan(10);
  });

  const reasons: readonly (readonly [string, Uint8Array, string])[] = [
    ["no route", packet({ target: NOWHERE }), "tx_no_route"],
    ["our own lease", packet({ target: HOME }), "tx_no_route"],
    ["a peer that seals", packet({ target: SEALED }), "tx_no_route"],
    ["over the path's MTU", packet({ target: SHORT, size: 700 }), "tx_too_big"],
    ["a wrong checksum", packet({ checksum: "wrong" }), "tx_checksum"],
    ["a SYN for larger ones", packet({ protocol: 6, mss: MTU - 39 }), "tx_syn"],
    ["a SYN for a narrow path", packet({ protocol: 6, mss: 561, target: SHORT }), "tx_syn"],
    ["a SYN without an MSS", packet({ protocol: 6, mss: 500, size: 40 }), "tx_syn"],
    ["another protocol", packet({ protocol: 47 }), "tx_not_taken"],
  ];
  for (const [why, bytes, reason] of reasons) {
    trial(`${why}: to user mode`, (programs) => {
      const frame = frameOf(bytes);
      const run = () => programs.transmit(frame);
      expect(describeTrial(programs, run, frame, transmitted)).toBe(reason);
    });
  }

  trial("a SYN whose MSS fits the path is taken", (programs) => {
    for (const [target, mss] of [
      [AWAY, MTU - 40],
      [SHORT, SHORT_MTU - 40],
    ] as const) {
      const frame = frameOf(packet({ protocol: 6, size: 60, mss, target }));
      expect(programs.transmit(frame).verdict).toBe(TAKEN);
    }
  });

  trial("options, fragments, IPv6: to user mode", (programs) => {
    const change = (at: number, value: number) => {
      const frame = frameOf(packet());
      frame[at] = value;
      return describeTrial(programs, () => programs.transmit(frame), frame, transmitted);
    };
    expect(change(14, 0x46)).toBe("tx_not_taken");
    expect(change(20, 0x20)).toBe("tx_not_taken");
    expect(change(21, 0x01)).toBe("tx_not_taken");
    expect(change(12, 0x86)).toBe("pass");
  });

  trial("a flow with super-packets stays together, others do not mind", (programs) => {
    const tcp = frameOf(packet({ protocol: 6, size: 1400 }));
    const other = frameOf(packet({ protocol: 6, size: 1400, source: HOME + 1 }));
    const run = (frame: Uint8Array, gso = 0) =>
      describeTrial(
        programs,
        () => programs.transmit(frame, gso),
        frame,
        () => "",
      );
    expect(run(tcp)).toBe("taken ");
    expect(run(tcp, 500)).toBe("tx_super_packet");
    expect(run(tcp)).toBe("tx_flow_in_user_mode");
    expect(run(other)).toBe("taken ");
    // As if the last of it were long ago.
    const key = new Uint8Array(16);
    key.set(tcp.subarray(14 + 12, 14 + 24));
    key[12] = 6;
    expect(programs.map("flows").get(key)).toBeDefined();
    programs.map("flows").set(key, new Uint8Array(8));
    expect(run(tcp)).toBe("taken ");
  });

  trial("nothing is taken after the deadline", (programs) => {
    programs.setDeadline(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    const frame = frameOf(packet());
    const run = () => programs.transmit(frame);
    expect(describeTrial(programs, run, frame, transmitted)).toBe("tx_expired");
  });

  trial("packets and inner bytes are counted for the peer", (programs) => {
    for (let round = 0; round < 5; round++) programs.transmit(frameOf(packet()));
    programs.transmit(frameOf(packet({ checksum: "wrong" })));
    expect(programs.counter(2, PEER_COUNTER.TX_PACKETS)).toBe(5);
    expect(programs.counter(2, PEER_COUNTER.TX_BYTES)).toBe(5 * 92);
    expect(programs.counter(3, PEER_COUNTER.TX_PACKETS)).toBe(0);
  });
});

describe("receive", () => {
  const packet = (change: Partial<Inner> = {}) =>
    innerPacket({
      ...{ source: AWAY, target: HOME, protocol: 17, size: 92, checksum: "finished" },
      ...change,
    });
  const run = (programs: KernelPrograms, frame: Uint8Array) =>
    describeTrial(programs, () => programs.receive(frame), frame, received);

  trial("what is taken is the bare inner packet, at every length", (programs) => {
    for (const protocol of Object.values(kinds)) {
      for (let size = protocol === kinds.tcp ? 40 : 20; size < 120; size++) {
        const bytes = packet({ protocol, size });
        expect(run(programs, frameOf(datagram(bytes)))).toBe(`taken ${received(frameOf(bytes))}`);
      }
    }
    expect(programs.counter(2, PEER_COUNTER.RX_PACKETS)).toBe(380);
    expect(programs.counter(2, PEER_COUNTER.SEEN_NS)).toBeGreaterThan(0);
  });

  const refused: readonly (readonly [string, () => Uint8Array, string])[] = [
    ["of another endpoint", () => datagram(packet(), SHORT_MTU_PEER), "rx_source"],
    ["of a source that is ours", () => datagram(packet({ source: HOME + 1 })), "rx_source"],
    ["of a source of nobody", () => datagram(packet({ source: NOWHERE })), "rx_source"],
    ["of a peer that seals", () => datagram(packet({ source: SEALED })), "rx_source"],
    ["to a lease of another", () => datagram(packet({ target: SHORT })), "rx_target"],
    ["that announces too much", () => datagram(packet({ protocol: 6, mss: MTU - 39 })), "rx_syn"],
    ["to nobody", () => datagram(packet({ target: NOWHERE })), "rx_target"],
  ];
  for (const [why, bytes, reason] of refused) {
    trial(`a packet ${why}: left to user mode, which drops it`, (programs) => {
      expect(run(programs, frameOf(bytes()))).toBe(reason);
    });
  }

  trial(
    "one changed byte of the headers, anywhere: never let in unless it is harmless",
    (programs) => {
      const good = frameOf(datagram(packet()));
      for (let at = 0; at < 14 + 48; at++) {
        for (const bit of [1, 2, 4, 8, 16, 32, 64, 128]) {
          const frame = good.slice();
          frame[at] = frame[at]! ^ bit;
          const ought = describeJudgement(judgeReceive(WORLD, frame), received);
          // A frame that says to be for somebody else, or is no IPv4, is none of the model's.
          expect(`${at} ${bit} ${run(programs, frame)}`).toBe(`${at} ${bit} ${ought}`);
        }
      }
    },
  );

  trial("nothing is taken after the deadline", (programs) => {
    programs.setDeadline(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    expect(run(programs, frameOf(datagram(packet())))).toBe("rx_expired");
  });
});

describe("random and damaged packets", () => {
  /** A small generator with a seed, so that a failure repeats. */
  function randomFrom(seed: number): (limit: number) => number {
    let state = seed;
    return (limit) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * limit);
    };
  }

  const addresses = [HOME, AWAY, SHORT, SEALED, NOWHERE, HOME + 1, AWAY + 9, 0x0a58ff01];
  const checksums = ["finished", "partial", "wrong", "none"] as const;

  function randomFrame(random: (limit: number) => number, isDatagram: boolean): Uint8Array {
    const pick = <T>(from: readonly T[]) => from[random(from.length)]!;
    const inner = innerPacket({
      source: isDatagram && random(4) > 0 ? AWAY : pick(addresses),
      target: isDatagram && random(4) > 0 ? HOME : pick(addresses),
      protocol: pick([1, 6, 17, 17, 6, 47, 132]),
      size: random(8) === 0 ? 20 + random(1500) : 20 + random(100),
      checksum: pick(checksums),
      ...(random(4) === 0 ? { mss: pick([536, 560, 561, MTU - 40, MTU - 39, 9000]) } : {}),
    });
    let frame = frameOf(isDatagram ? datagram(inner, pick([PEER, PEER, SHORT_MTU_PEER])) : inner);
    for (let damage = random(4); damage > 0; damage--) {
      const at = random(3) === 0 ? random(frame.length) : 14 + random(48);
      if (at < frame.length) frame[at] = random(256);
    }
    if (random(12) === 0) frame = frame.slice(0, Math.max(34, random(frame.length)));
    if (random(12) === 0) frame = Uint8Array.from([...frame, ...Array(random(20)).fill(7)]);
    // The trial run itself reads the Ethernet type and an IP header.
    frame.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
    return frame;
  }

  for (const direction of ["transmit", "receive"] as const) {
    trial(`${direction}: as the model judges, each of ${RANDOM_COUNT}`, (programs) => {
      const random = randomFrom(direction === "transmit" ? 11 : 12);
      const isDatagram = direction === "receive";
      const judge = isDatagram ? judgeReceive : judgeTransmit;
      const text = isDatagram ? received : transmitted;
      const tally: Record<string, number> = {};
      for (let round = 0; round < RANDOM_COUNT; round++) {
        const frame = randomFrame(random, isDatagram);
        const { verdict, packet } = programs[direction](frame);
        const ought = judge(WORLD, frame);
        const key = ought.kind === "user" ? ought.reason : ought.kind;
        tally[key] = (tally[key] ?? 0) + 1;
        const is = verdict === TAKEN ? `taken ${text(packet)}` : `verdict ${verdict}`;
        const right = ought.kind === "taken" ? `taken ${text(ought.packet)}` : `verdict ${USER}`;
        if (is !== right) expect(`${Buffer.from(frame).toString("hex")} ${is}`).toBe(right);
      }
      const counted = Object.entries(programs.reasons()).filter(([, count]) => count > 0);
      const { taken: _taken, pass: _pass, ...left } = tally;
      expect(Object.fromEntries(counted)).toEqual(left);
      expect(tally["taken"]).toBeGreaterThan(1000);
    });
  }
});
