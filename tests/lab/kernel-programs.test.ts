/**
 * The programs that carry lone packets in the kernel, run by the kernel itself over chosen and over
 * random packets, and held against the model.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { PEER_COUNTER } from "../../src/dataplane/bpf/layout.ts";
import { runKernelRound } from "./kernel-fuzz.ts";
import { type Judgement, judgeReceive, judgeTransmit, onesSum } from "./kernel-model.ts";
import type { KernelPrograms, Trial } from "./kernel-programs.ts";
import {
  AWAY,
  datagram,
  frameOf,
  HOME,
  type Inner,
  innerPacket,
  MTU,
  NOWHERE,
  obstacle,
  openPrograms,
  received,
  SEALED,
  SHORT,
  SHORT_MTU,
  SHORT_MTU_PEER,
  TAKEN,
  transmitted,
  USER,
  WORLD,
} from "./kernel-trial.ts";

const RANDOM_COUNT = 40_000;

const skipReason = obstacle();

function trial(name: string, body: (programs: KernelPrograms) => void): void {
  const suffix = skipReason === "" ? "" : ` [skipped: ${skipReason}]`;
  test.skipIf(skipReason !== "")(
    `${name}${suffix}`,
    () => {
      using programs = openPrograms();
      body(programs);
    },
    30_000,
  );
}

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
  trial(`as the model judges, each of ${RANDOM_COUNT}`, (programs) => {
    const { cases, tally } = runKernelRound(programs, 11, RANDOM_COUNT);
    expect(cases).toBe(RANDOM_COUNT);
    expect(tally.get("kernel transmit taken")).toBeGreaterThan(500);
    expect(tally.get("kernel receive taken")).toBeGreaterThan(500);
  });

  trial("a packet that the model has elsewhere is told, with its bytes", (programs) => {
    const routes = WORLD.routes.filter(({ to }) => to !== "blocked");
    const run = () => runKernelRound(programs, 11, RANDOM_COUNT, { ...WORLD, routes });
    expect(run).toThrow("should be");
  });
});
