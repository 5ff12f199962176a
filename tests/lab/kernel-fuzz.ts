/**
 * Hostile packets for the kernel's programs, each run by the kernel itself (BPF_PROG_TEST_RUN) and
 * held against the model: taken with exactly these bytes, or left alone and counted for its reason.
 *
 * @module
 */
import { SimRandom } from "../sim/cluster/sim-random.ts";
import { FuzzFailure, type RoundReport, type Tally } from "../sim/fuzz/report.ts";
import { type Judgement, judgeReceive, judgeTransmit, type ModelWorld } from "./kernel-model.ts";
import type { KernelPrograms } from "./kernel-programs.ts";
import {
  AWAY,
  datagram,
  frameOf,
  HOME,
  innerPacket,
  MTU,
  NOWHERE,
  PEER,
  received,
  SEALED,
  SHORT,
  SHORT_MTU_PEER,
  TAKEN,
  transmitted,
  USER,
  WORLD,
} from "./kernel-trial.ts";

const ADDRESSES = [HOME, AWAY, SHORT, SEALED, NOWHERE, HOME + 1, AWAY + 9, 0x0a58ff01];
const PROTOCOLS = [1, 6, 17, 17, 6, 47, 132];
const CHECKSUMS = ["finished", "partial", "wrong", "none"] as const;
const MSS = [536, 560, 561, MTU - 40, MTU - 39, 9000];
const ETHERNET = 14;
/** Outer IPv4 and UDP, inner IPv4: most damage is there. */
const HEADERS_SIZE = 48;
const EDGES = [0, 1, 0x45, 0x46, 0x4f, 0x60, 0x7f, 0x80, 0xff];
/** The shortest frame that a trial run takes. */
const FRAME_SIZE_MIN = 34;

/** Runs `cases` packets, both ways in turn; throws a FuzzFailure. Repeats exactly. */
export function runKernelRound(
  programs: KernelPrograms,
  seed: number,
  cases: number,
  world: ModelWorld = WORLD,
): RoundReport {
  const random = new SimRandom(seed, 1);
  const tally: Tally = new Map();
  const before = programs.reasons();
  const wanted: Record<string, number> = {};
  for (let round = 0; round < cases; round++) {
    const direction = round % 2 === 0 ? "transmit" : "receive";
    const frame = randomFrame(random, direction === "receive");
    const ought =
      direction === "receive" ? judgeReceive(world, frame) : judgeTransmit(world, frame);
    checkOne(programs, direction, frame, ought);
    const name = ought.kind === "user" ? ought.reason : `${direction} ${ought.kind}`;
    count(tally, `kernel ${name}`);
    if (ought.kind === "user") wanted[ought.reason] = (wanted[ought.reason] ?? 0) + 1;
  }
  for (const [reason, count] of Object.entries(programs.reasons())) {
    const counted = count - before[reason]!;
    if (counted === (wanted[reason] ?? 0)) continue;
    throw new FuzzFailure(`${reason}: ${counted}, should be ${wanted[reason] ?? 0}`, []);
  }
  return { cases, tally };
}

function count(tally: Tally, name: string): void {
  tally.set(name, (tally.get(name) ?? 0) + 1);
}

function checkOne(
  programs: KernelPrograms,
  direction: "transmit" | "receive",
  frame: Uint8Array,
  ought: Judgement,
): void {
  const text = direction === "receive" ? received : transmitted;
  const { verdict, packet } = programs[direction](frame);
  // What is left alone is left as it is: user mode gets it.
  const isLeft = verdict === USER && Buffer.compare(packet, frame) === 0;
  const is = verdict === TAKEN ? `taken ${text(packet)}` : isLeft ? "left" : `verdict ${verdict}`;
  const right = ought.kind === "taken" ? `taken ${text(ought.packet)}` : "left";
  if (is === right) return;
  const input = `${direction} ${Buffer.from(frame).toString("hex")}`;
  throw new FuzzFailure(`${is}\nshould be ${right}`, [input]);
}

function randomFrame(random: SimRandom, isDatagram: boolean): Uint8Array {
  const inner = innerPacket({
    source: isDatagram && random.chance(0.75) ? AWAY : random.pick(ADDRESSES),
    target: isDatagram && random.chance(0.75) ? HOME : random.pick(ADDRESSES),
    protocol: random.pick(PROTOCOLS),
    size: 20 + random.below(random.chance(0.12) ? 1500 : 100),
    checksum: random.pick(CHECKSUMS),
    ...(random.chance(0.25) ? { mss: random.pick(MSS) } : {}),
  });
  const endpoint = random.pick([PEER, PEER, SHORT_MTU_PEER]);
  let frame = frameOf(isDatagram ? datagram(inner, endpoint) : inner);
  for (let damage = random.below(4); damage > 0; damage--) {
    const near = ETHERNET + random.below(HEADERS_SIZE);
    const at = random.chance(0.3) ? random.below(frame.length) : near;
    const value = random.chance(0.3) ? random.pick(EDGES) : random.below(256);
    if (at < frame.length) frame[at] = value;
  }
  if (random.chance(0.08)) {
    frame = frame.slice(0, Math.max(FRAME_SIZE_MIN, random.below(frame.length)));
  }
  if (random.chance(0.08)) {
    const longer = new Uint8Array(frame.length + random.below(20)).fill(7);
    longer.set(frame);
    frame = longer;
  }
  // The trial run itself reads the Ethernet type and an IP header.
  frame.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
  return frame;
}
