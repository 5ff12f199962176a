/**
 * A small assembler for eBPF: instructions by name, jumps by label, maps by name.
 *
 *          0        1         2       3       4       5       6       7
 *         +--------+----+----+-------+-------+-------+-------+-------+-------+
 *         | opcode |src |dst | offset (s16)  | immediate (s32)               |
 *         +--------+----+----+-------+-------+-------+-------+-------+-------+
 *
 * Source: RFC 9669 (BPF instruction set), little-endian encoding. Registers: r0 result, r1 to r5
 * arguments (gone after a call), r6 to r9 kept, r10 end of the 512-byte stack. Jumps go forward
 * only, which every verifier since 4.x accepts. Not a verifier: the kernel's is the judge. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";

/** A register, r0 to r10. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;

/** Bytes that one load or store moves. */
export type Width = 1 | 2 | 4 | 8;

/** Where in memory: the address in a register plus a fixed offset in bytes. */
export interface Place {
  readonly base: Register;
  readonly offset: number;
}

/** A program that lacks only the descriptors of its maps. */
export interface Program {
  /** Eight bytes an instruction. */
  readonly code: Uint8Array<ArrayBuffer>;
  /** Instructions whose immediate is to become the descriptor of the map with this name. */
  readonly maps: readonly { readonly instruction: number; readonly name: string }[];
}

export const INSTRUCTION_SIZE = 8;

const BPF_LDX_MEM = 0x61;
const BPF_ST_MEM = 0x62;
const BPF_STX_MEM = 0x63;
const BPF_LD_IMM64 = 0x18;
const BPF_PSEUDO_MAP_FD = 1;
const BPF_CALL = 0x85;
const BPF_EXIT = 0x95;
const BPF_TO_BE = 0xdc;
const BPF_JA = 0x05;
const BPF_JMP = 0x05;
const BPF_JMP32 = 0x06;
const BPF_ALU64 = 0x07;
const BPF_FROM_REGISTER = 0x08;

/** Bits of the size field (RFC 9669 §5.1), above the class 0x61 without its own. */
const SIZE_BITS: Readonly<Record<Width, number>> = { 4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18 };

const ALU = {
  add: 0x00,
  sub: 0x10,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  xor: 0xa0,
} as const;
const MOV = 0xb0;

const CONDITIONS = { "==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50 } as const;
const CONDITIONS_BELOW = { "<": 0xa0, "<=": 0xb0 } as const;
const COMPARE = { ...CONDITIONS, ...CONDITIONS_BELOW };

/** Unsigned comparisons, and "&" for "any of these bits". */
export type Condition = keyof typeof COMPARE;
/** Operations on 64 bits, unsigned. */
export type Operation = keyof typeof ALU;

/** The program's code with the descriptors of its maps in place. */
export function linkProgram(
  { code, maps }: Program,
  descriptorOf: (map: string) => number,
): Uint8Array<ArrayBuffer> {
  const linked = code.slice();
  const view = new DataView(linked.buffer);
  for (const { instruction, name } of maps) {
    view.setInt32(instruction * INSTRUCTION_SIZE + 4, descriptorOf(name), true);
  }
  return linked;
}

interface Instruction {
  readonly opcode: number;
  readonly target: number;
  readonly source: number;
  offset: number;
  readonly immediate: number;
}

/** One program in the making. Methods append instructions in their order. */
export class Assembler {
  readonly #instructions: Instruction[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: { readonly at: number; readonly label: string }[] = [];
  readonly #maps: { readonly instruction: number; readonly name: string }[] = [];

  /** Names the next instruction. */
  label(name: string): void {
    assert(!this.#labels.has(name), "a label is set once");
    this.#labels.set(name, this.#instructions.length);
  }

  /** target = source */
  copy(target: Register, source: Register): void {
    this.#push({ opcode: BPF_ALU64 | MOV | BPF_FROM_REGISTER, target, source });
  }

  /** target = value, sign-extended to 64 bits. */
  set(target: Register, value: number): void {
    this.#push({ opcode: BPF_ALU64 | MOV, target, immediate: value });
  }

  /** target = address of `place` (a stack slot, usually). */
  address(target: Register, place: Place): void {
    this.copy(target, place.base);
    this.alu("add", target, place.offset);
  }

  /** target = target `operation` value */
  alu(operation: Operation, target: Register, value: number): void {
    this.#push({ opcode: BPF_ALU64 | ALU[operation], target, immediate: value });
  }

  /** target = target `operation` source */
  aluRegister(operation: Operation, target: Register, source: Register): void {
    this.#push({ opcode: BPF_ALU64 | ALU[operation] | BPF_FROM_REGISTER, target, source });
  }

  /** Swaps the low 16 or 32 bits between the machine's and the network's order; the rest is 0. */
  swap(target: Register, bits: 16 | 32): void {
    this.#push({ opcode: BPF_TO_BE, target, immediate: bits });
  }

  /** target = memory at `from`, zero-extended. */
  load(width: Width, target: Register, from: Place): void {
    const { base: source, offset } = from;
    this.#push({ opcode: BPF_LDX_MEM | SIZE_BITS[width], target, source, offset });
  }

  /** Memory at `to` = the low bytes of `source`. */
  store(width: Width, to: Place, source: Register): void {
    const { base: target, offset } = to;
    this.#push({ opcode: BPF_STX_MEM | SIZE_BITS[width], target, source, offset });
  }

  /** Memory at `to` = value. */
  storeValue(width: Width, to: Place, value: number): void {
    const { base: target, offset } = to;
    this.#push({ opcode: BPF_ST_MEM | SIZE_BITS[width], target, offset, immediate: value });
  }

  /** Goes on at `label`. */
  jump(label: string): void {
    this.#jump(label, { opcode: BPF_JA, target: 0 });
  }

  /** Goes on at `label` when the 64 bits of `left` compare so with `value`. */
  jumpIf(left: Register, condition: Condition, value: number, label: string): void {
    this.#jump(label, { opcode: BPF_JMP | COMPARE[condition], target: left, immediate: value });
  }

  /** The same with the low 32 bits: for addresses, whose top bit may be set. */
  jumpIf32(left: Register, condition: Condition, value: number, label: string): void {
    this.#jump(label, { opcode: BPF_JMP32 | COMPARE[condition], target: left, immediate: value });
  }

  /** The same with a second register. */
  jumpIfRegister(left: Register, condition: Condition, right: Register, label: string): void {
    const opcode = BPF_JMP | COMPARE[condition] | BPF_FROM_REGISTER;
    this.#jump(label, { opcode, target: left, source: right });
  }

  /** target = the map, to be handed to a helper. */
  map(target: Register, name: string): void {
    this.#maps.push({ instruction: this.#instructions.length, name });
    this.#push({ opcode: BPF_LD_IMM64, target, source: BPF_PSEUDO_MAP_FD });
    this.#push({ opcode: 0, target: 0 });
  }

  /** r0 = helper(r1 … r5), by its number in include/uapi/linux/bpf.h. */
  call(helper: number): void {
    this.#push({ opcode: BPF_CALL, target: 0, immediate: helper });
  }

  /** Ends the program with r0. */
  exit(): void {
    this.#push({ opcode: BPF_EXIT, target: 0 });
  }

  /** The finished program. Asserts that every label exists and lies ahead of its jumps. */
  assemble(): Program {
    for (const { at, label } of this.#jumps) {
      const target = this.#labels.get(label);
      assert(target !== undefined, "a jump needs its label");
      const distance = target - at - 1;
      assert(distance >= 0 && distance < 2 ** 15, "a jump goes forward, and not too far");
      this.#instructions[at]!.offset = distance;
    }
    const code = new Uint8Array(this.#instructions.length * INSTRUCTION_SIZE);
    const view = new DataView(code.buffer);
    for (const [position, one] of this.#instructions.entries()) {
      const at = position * INSTRUCTION_SIZE;
      view.setUint8(at, one.opcode);
      view.setUint8(at + 1, (one.source << 4) | one.target);
      view.setInt16(at + 2, one.offset, true);
      view.setInt32(at + 4, one.immediate, true);
    }
    return { code, maps: [...this.#maps] };
  }

  #jump(label: string, instruction: Partial<Instruction> & { opcode: number; target: number }) {
    this.#jumps.push({ at: this.#instructions.length, label });
    this.#push(instruction);
  }

  #push({
    opcode,
    target,
    source = 0,
    offset = 0,
    immediate = 0,
  }: Partial<Instruction> & { opcode: number; target: number }): void {
    this.#instructions.push({ opcode, target, source, offset, immediate });
  }
}
