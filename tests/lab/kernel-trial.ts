/**
 * One small world for the kernel's programs: who is where, the table that says so, and packets that
 * they are fed with.
 *
 * @module
 */
import { parseAddress, parsePrefix } from "../../src/base/address.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import type { FibTable } from "../../src/dataplane/fib/row.ts";
import { type ModelWorld, onesSum, pseudoSum } from "./kernel-model.ts";
import { KernelPrograms, TRIAL_PORT } from "./kernel-programs.ts";

/** What a trial's verdict means: redirected, and left to user mode. */
export const TAKEN = 7;
export const USER = -1;
export const SELF = 0xc0000201;
export const PEER = 0xc0000202;
export const SHORT_MTU_PEER = 0xc0000203;
export const MTU = 1472;
export const SHORT_MTU = 600;
export const HOME = 0x0a580105;
export const AWAY = 0x0a580205;
export const SHORT = 0x0a580305;
export const SEALED = 0x0a580405;
export const NOWHERE = 0x0b000001;

export const WORLD: ModelWorld = {
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

export const TABLE: FibTable = {
  local: [parsePrefix("10.88.1.0/24")!],
  rows: [
    row("10.88.2.0/24", 2, "192.0.2.2"),
    row("10.88.3.0/24", 3, "192.0.2.3"),
    row("10.88.0.0/16", 2, "192.0.2.2"),
    row("10.88.4.0/24", 4, "192.0.2.4"),
  ],
};

/** Why the programs cannot be loaded here; empty when they can. */
export function obstacle(): string {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  try {
    new KernelPrograms(SELF)[Symbol.dispose]();
    return "";
  } catch (error) {
    return /EPERM|ENOSYS/.test(String(error)) ? "needs the right to load BPF programs" : "";
  }
}

/** The programs with the world's table in place. */
export function openPrograms(): KernelPrograms {
  const programs = new KernelPrograms(SELF);
  programs.publish(TABLE, {
    mtuOf: ({ peer }) => (peer === 3 ? SHORT_MTU : MTU),
    wayTo: () => ({ link: 1, whole: false }),
    overlayMtu: MTU,
    slotOf: (peer) => peer,
    isPlain: ({ peer }) => peer !== 4,
  });
  return programs;
}

/** What to make of an inner packet. */
export interface Inner {
  readonly source: number;
  readonly target: number;
  readonly protocol: number;
  readonly size: number;
  readonly checksum: "finished" | "partial" | "wrong" | "none";
  /** Makes a TCP packet a SYN with this MSS, in bytes. */
  readonly mss?: number;
}

/** One inner packet; its payload is counted up, so that no sum is trivial. */
export function innerPacket({ source, target, protocol, size, checksum, mss }: Inner): Uint8Array {
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

/** `packet` behind an Ethernet header. */
export function frameOf(packet: Uint8Array): Uint8Array {
  const frame = new Uint8Array(14 + packet.length);
  frame.set([8, 0], 12);
  frame.set(packet, 14);
  return frame;
}

/** A datagram as a peer's kernel sends it. */
export function datagram(packet: Uint8Array, endpoint = PEER): Uint8Array {
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
export function comparable(frame: Uint8Array): string {
  const copy = frame.slice();
  copy.fill(0, 18, 20);
  copy.fill(0, 24, 26);
  return Buffer.from(copy).toString("hex");
}

export const transmitted = (packet: Uint8Array) => comparable(packet);
export const received = (packet: Uint8Array) => Buffer.from(packet).toString("hex");
