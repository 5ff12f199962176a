/**
 * bpf(2): maps, programs, and their trial runs.
 *
 * Source: include/uapi/linux/bpf.h, union bpf_attr. Descriptors belong to the objects made here and
 * are closed with them; what is attached to a link goes on without them. Blocks for microseconds,
 * loading a program for a few milliseconds.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { assert } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { checkCall, ENOENT, EPERM, errnoName, systemError } from "../sys/errno.ts";
import { lastErrno, libc, syscallNumbers } from "../sys/libc.ts";
import { cString, type KernelMemory, kernelBytes, putAddress } from "../sys/memory.ts";

const BPF_MAP_CREATE = 0;
const BPF_MAP_LOOKUP_ELEM = 1;
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_MAP_DELETE_ELEM = 3;
const BPF_PROG_LOAD = 5;
const BPF_PROG_TEST_RUN = 10;

const BPF_PROG_TYPE_SCHED_CLS = 3;
const NAME_SIZE_MAX = 15;
/** The helpers that the programs use are for programs under the GPL or a licence with it. */
const LICENSE = "Dual MIT/GPL";
const INSTRUCTION_SIZE = 8;
/** The verifier's words about a refused program; the reason stands at their end. */
const VERIFIER_LOG_SIZE_BYTES = 1024 * 1024;
const VERIFIER_LINES_TOLD = 4;
const ATTRIBUTES_SIZE = 128;
const POSSIBLE_CORES_PATH = "/sys/devices/system/cpu/possible";
const ENOSYS = 38;
const RLIMIT_MEMLOCK = 8;
/** struct rlimit64: now and at most, 8 each; all ones is no limit. */
const RLIMIT_SIZE = 16;

/** A map of the kernel. Keys and values are bytes in the kernel's own order. */
export interface BpfMap extends Disposable {
  readonly fd: number;
  readonly name: string;
  /** Makes or replaces one element; who reads it sees the old or the new value, never a mixture. */
  set(key: Uint8Array, value: Uint8Array): void;
  /** Takes one element away; false when there was none. */
  delete(key: Uint8Array): boolean;
  /** The value, or undefined. For a map per core: one value after the other. */
  get(key: Uint8Array): Uint8Array | undefined;
}

export interface MapOptions {
  readonly name: string;
  /** enum bpf_map_type. */
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly entryCountMax: number;
  readonly flags: number;
  /** For a map per core: how many cores this machine can have; 1 otherwise. */
  readonly copies: number;
}

/** Makes a map. Throws `HostError`: EPERM without CAP_BPF or CAP_SYS_ADMIN. */
export function openMap(options: MapOptions): BpfMap {
  const attributes = kernelBytes(ATTRIBUTES_SIZE);
  const { view } = attributes;
  view.setUint32(0, options.type, true);
  view.setUint32(4, options.keySize, true);
  view.setUint32(8, options.valueSize, true);
  view.setUint32(12, options.entryCountMax, true);
  view.setUint32(16, options.flags, true);
  putName(attributes, 28, options.name);
  let fd = call(BPF_MAP_CREATE, attributes);
  let errno = fd < 0 ? lastErrno() : 0;
  // Before Linux 5.11 maps count as locked memory, of which a process gets 64 KiB.
  if (errno === EPERM && allowLockedMemory()) {
    fd = call(BPF_MAP_CREATE, attributes);
    errno = fd < 0 ? lastErrno() : 0;
  }
  if (errno !== 0) throw mapError(options.name, errno);
  return new KernelMap(new Descriptor(fd), options);
}

/** Lifts the limit of locked memory; whether that was allowed. */
function allowLockedMemory(): boolean {
  const limits = kernelBytes(RLIMIT_SIZE);
  limits.bytes.fill(0xff);
  const { prlimit64 } = syscallNumbers();
  return libc().syscall(prlimit64, 0, RLIMIT_MEMLOCK, limits.address, 0, 0, 0) === 0;
}

function mapError(name: string, errno: number): HostError {
  const base = { operation: "make", object: `BPF map "${name}"`, errno };
  if (errno === ENOSYS) return systemError({ ...base, reason: "this kernel has no BPF" });
  if (errno !== EPERM) return systemError(base);
  return systemError({
    ...base,
    reason: "this process may not use BPF",
    next: "run the agent as root, or give it CAP_BPF beside CAP_NET_ADMIN",
  });
}

class KernelMap implements BpfMap {
  readonly name: string;
  readonly #descriptor: Descriptor;
  readonly #key: KernelMemory;
  readonly #value: KernelMemory;
  readonly #attributes = kernelBytes(ATTRIBUTES_SIZE);
  /** Without a value: the kernel refuses what it would not read. */
  readonly #keyAttributes = kernelBytes(ATTRIBUTES_SIZE);
  readonly #valueSize: number;

  constructor(descriptor: Descriptor, options: MapOptions) {
    const { copies, keySize, name, valueSize } = options;
    this.name = name;
    this.#descriptor = descriptor;
    this.#valueSize = valueSize;
    // The kernel rounds the values of a map per core up to 8 bytes each.
    const size = copies === 1 ? valueSize : ((valueSize + 7) & ~7) * copies;
    this.#key = kernelBytes(keySize);
    this.#value = kernelBytes(size);
    for (const { view } of [this.#attributes, this.#keyAttributes]) {
      view.setUint32(0, descriptor.fd, true);
      putAddress(view, 8, this.#key.address);
    }
    putAddress(this.#attributes.view, 16, this.#value.address);
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  set(key: Uint8Array, value: Uint8Array): void {
    assert(value.length === this.#valueSize, "a value has the map's size");
    this.#putKey(key);
    this.#value.bytes.fill(0);
    this.#value.bytes.set(value);
    checkCall(call(BPF_MAP_UPDATE_ELEM, this.#attributes), "write", this.#object);
  }

  delete(key: Uint8Array): boolean {
    this.#putKey(key);
    return this.#find(call(BPF_MAP_DELETE_ELEM, this.#keyAttributes), "delete from");
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#putKey(key);
    const found = this.#find(call(BPF_MAP_LOOKUP_ELEM, this.#attributes), "read");
    return found ? this.#value.bytes.slice() : undefined;
  }

  [Symbol.dispose](): void {
    this.#descriptor.close();
  }

  get #object(): string {
    return `BPF map "${this.name}"`;
  }

  #putKey(key: Uint8Array): void {
    assert(key.length === this.#key.bytes.length, "a key has the map's size");
    this.#key.bytes.set(key);
  }

  #find(result: number, operation: string): boolean {
    if (result < 0 && lastErrno() === ENOENT) return false;
    checkCall(result, operation, this.#object);
    return true;
  }
}

/** A program in the kernel. */
export interface BpfProgram extends Disposable {
  readonly fd: number;
  readonly name: string;
}

export interface ProgramOptions {
  readonly name: string;
  /** Eight bytes an instruction, the descriptors of maps already in it. */
  readonly code: Uint8Array;
}

/**
 * Loads a program for traffic control. Throws `HostError`: EPERM, or what the verifier says when
 * it refuses.
 */
export function loadProgram({ name, code }: ProgramOptions): BpfProgram {
  const instructions = kernelBytes(code.length);
  instructions.bytes.set(code);
  const license = cString(LICENSE);
  const attributes = kernelBytes(ATTRIBUTES_SIZE);
  const { view } = attributes;
  view.setUint32(0, BPF_PROG_TYPE_SCHED_CLS, true);
  view.setUint32(4, code.length / INSTRUCTION_SIZE, true);
  putAddress(view, 8, instructions.address);
  putAddress(view, 16, license.address);
  putName(attributes, 48, name);
  const fd = call(BPF_PROG_LOAD, attributes);
  if (fd >= 0) return asProgram(name, fd);
  const errno = lastErrno();
  // Only now: the log costs time, and a kernel without the right to load has none to give.
  const log = kernelBytes(VERIFIER_LOG_SIZE_BYTES);
  view.setUint32(24, 1, true);
  view.setUint32(28, log.bytes.length, true);
  putAddress(view, 32, log.address);
  const second = call(BPF_PROG_LOAD, attributes);
  if (second >= 0) return asProgram(name, second);
  const words = verifierWords(log.bytes);
  throw new HostError({
    operation: "load",
    object: `BPF program "${name}"`,
    errno: errnoName(errno),
    ...(words !== "" ? { reason: `the verifier says: ${words}` } : {}),
  });
}

function asProgram(name: string, fd: number): BpfProgram {
  const descriptor = new Descriptor(fd);
  return { name, fd, [Symbol.dispose]: () => descriptor.close() };
}

/** What a trial run did to a packet. */
export interface TrialRun {
  /** The program's verdict, as a signed number. */
  readonly verdict: number;
  readonly packet: Uint8Array;
}

/** Runs a program over `packet` (Ethernet header first) without any network (BPF_PROG_TEST_RUN). */
export function runProgram(
  program: BpfProgram,
  packet: Uint8Array,
  context?: Uint8Array,
): TrialRun {
  const attributes = kernelBytes(ATTRIBUTES_SIZE);
  const { view } = attributes;
  const input = kernelBytes(packet.length);
  input.bytes.set(packet);
  const output = kernelBytes(packet.length + 256);
  view.setUint32(0, program.fd, true);
  view.setUint32(8, packet.length, true);
  view.setUint32(12, output.bytes.length, true);
  putAddress(view, 16, input.address);
  putAddress(view, 24, output.address);
  view.setUint32(32, 1, true);
  const given = context === undefined ? undefined : kernelBytes(context.length);
  if (given !== undefined && context !== undefined) {
    given.bytes.set(context);
    view.setUint32(40, context.length, true);
    putAddress(view, 48, given.address);
  }
  checkCall(call(BPF_PROG_TEST_RUN, attributes), "try", `BPF program "${program.name}"`);
  return {
    verdict: view.getInt32(4, true),
    packet: output.bytes.slice(0, view.getUint32(12, true)),
  };
}

function call(command: number, attributes: KernelMemory): number {
  return libc().syscall(
    syscallNumbers().bpf,
    command,
    attributes.address,
    attributes.bytes.length,
    0,
    0,
    0,
  );
}

function putName(attributes: KernelMemory, at: number, name: string): void {
  const bytes = new TextEncoder().encode(name.replaceAll("-", "_"));
  attributes.bytes.set(bytes.subarray(0, NAME_SIZE_MAX), at);
}

/** The last lines of the verifier's log without its statistics. */
function verifierWords(log: Uint8Array): string {
  const end = log.indexOf(0);
  const lines = new TextDecoder().decode(end < 0 ? log : log.subarray(0, end)).split("\n");
  const said = lines.filter((line) => line !== "" && !line.startsWith("processed "));
  return said.slice(-VERIFIER_LINES_TOLD).join(" | ");
}

/** How many cores this machine can have: copies of a value in a map per core. */
export function possibleCoreCount(): number {
  const text = readFileSync(POSSIBLE_CORES_PATH, "utf8");
  const last = /(\d+)\s*$/.exec(text)?.[1];
  assert(last !== undefined, "the kernel lists its possible cores");
  return Number(last) + 1;
}
