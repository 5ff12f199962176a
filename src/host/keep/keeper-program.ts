/**
 * The keeper: a program of some 300 bytes that holds descriptors for a process that is away.
 *
 *     close every descriptor that it was not given; go to /
 *     wait until the process that started it has ended
 *     wait KEEP_SECONDS more, and end
 *
 * Whoever wants the descriptors takes them (pidfd_getfd) and ends it. A program of its own because
 * nothing smaller can be counted on: `sleep` is not everywhere, and this executable takes 40 MB.
 *
 * Machine code and the ELF around it are made here: System V ABI, asm/unistd.h of each
 * architecture. Tested by running it; the bytes for arm64 by their encoding.
 *
 * @module
 */

/** What the program has as its first descriptor: a pidfd of the process that started it. */
export const OWNER_FD = 3;
/** Where the descriptors that it holds begin. */
export const HELD_FD = 4;
/**
 * How long after the end of that process the descriptors are held. Packets that wait are then this
 * old, half the life that TCP grants them, and an upgrade that takes longer is no restart.
 */
export const KEEP_SECONDS = 60;
/** As `ps` shows it; 15 bytes at most. */
export const KEEPER_NAME = "overlay-keeper";

const ELF_HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const CODE_AT = ELF_HEADER_SIZE + 2 * PROGRAM_HEADER_SIZE;
const LOAD_ADDRESS = 0x40_0000;
const ET_EXEC = 2;
const EM_X86_64 = 62;
const EM_AARCH64 = 183;
const PT_LOAD = 1;
const PT_GNU_STACK = 0x6474e551;
const PF_X = 1;
const PF_W = 2;
const PF_R = 4;
/** The largest page of any kernel that we run on. */
const PAGE_SIZE = 0x1_0000;

const POLLIN = 1;
const PR_SET_NAME = 15;
const TEXT = new TextEncoder();

/** The executable for `architecture` that holds `count` descriptors; undefined when unknown. */
export function keeperProgram(architecture: string, count: number): Uint8Array | undefined {
  const firstUnknown = HELD_FD + count;
  if (architecture === "x64") return elf(EM_X86_64, codeX64(firstUnknown));
  if (architecture === "arm64") return elf(EM_AARCH64, codeArm64(firstUnknown));
  return undefined;
}

function elf(machine: number, code: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(CODE_AT + code.length);
  const view = new DataView(bytes.buffer);
  // Magic, 64 bits, little-endian, version 1.
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  view.setUint32(24, LOAD_ADDRESS + CODE_AT, true);
  view.setUint32(32, ELF_HEADER_SIZE, true);
  view.setUint16(52, ELF_HEADER_SIZE, true);
  view.setUint16(54, PROGRAM_HEADER_SIZE, true);
  view.setUint16(56, 2, true);
  const load = ELF_HEADER_SIZE;
  view.setUint32(load, PT_LOAD, true);
  view.setUint32(load + 4, PF_R | PF_X, true);
  view.setUint32(load + 16, LOAD_ADDRESS, true);
  view.setUint32(load + 24, LOAD_ADDRESS, true);
  view.setUint32(load + 32, bytes.length, true);
  view.setUint32(load + 40, bytes.length, true);
  view.setUint32(load + 48, PAGE_SIZE, true);
  const stack = load + PROGRAM_HEADER_SIZE;
  view.setUint32(stack, PT_GNU_STACK, true);
  view.setUint32(stack + 4, PF_R | PF_W, true);
  bytes.set(code, CODE_AT);
  return bytes;
}

function codeX64(firstUnknown: number): Uint8Array {
  const close_range = 436;
  const [prctl, chdir, ppoll, exit_group] = [157, 80, 271, 231];
  const syscall = [0x0f, 0x05];
  const setEax = (value: number) => [0xb8, ...u32(value)];
  const setEdi = (value: number) => [0xbf, ...u32(value)];
  const setEsi = (value: number) => [0xbe, ...u32(value)];
  const zeroEdx = [0x31, 0xd2];
  const zeroR10R8 = [0x4d, 0x31, 0xd2, 0x4d, 0x31, 0xc0];
  const code: number[] = [];
  const texts: { readonly at: number; readonly text: string }[] = [];
  /** lea, relative to the next instruction; filled in once the code's length is known. */
  const lea = (opcode: readonly number[], text: string) => {
    code.push(...opcode, 0, 0, 0, 0);
    texts.push({ at: code.length, text });
  };
  code.push(...setEax(close_range), ...setEdi(firstUnknown), ...setEsi(0xffff_ffff), ...zeroEdx);
  code.push(...syscall, ...setEax(prctl), ...setEdi(PR_SET_NAME));
  lea([0x48, 0x8d, 0x35], KEEPER_NAME); // lea rsi, [rip + …]
  code.push(...syscall, ...setEax(chdir));
  lea([0x48, 0x8d, 0x3d], "/"); // lea rdi, [rip + …]
  code.push(...syscall, 0x48, 0x83, 0xec, 0x10); // sub rsp, 16
  const again = code.length;
  code.push(0xc7, 0x04, 0x24, ...u32(OWNER_FD)); // mov dword [rsp], fd
  code.push(0xc7, 0x44, 0x24, 0x04, ...u32(POLLIN)); // mov dword [rsp + 4], events
  code.push(...setEax(ppoll), 0x48, 0x89, 0xe7, ...setEsi(1), ...zeroEdx, ...zeroR10R8);
  code.push(...syscall, 0x85, 0xc0); // test eax, eax
  code.push(0x7e, (again - code.length - 2) & 0xff); // jle again
  code.push(0x48, 0xc7, 0x04, 0x24, ...u32(KEEP_SECONDS)); // mov qword [rsp], seconds
  code.push(0x48, 0xc7, 0x44, 0x24, 0x08, ...u32(0)); // mov qword [rsp + 8], 0
  code.push(...setEax(ppoll), 0x31, 0xff, 0x31, 0xf6, 0x48, 0x89, 0xe2, ...zeroR10R8, ...syscall);
  code.push(...setEax(exit_group), 0x31, 0xff, ...syscall);
  for (const { at, text } of texts) {
    code.splice(at - 4, 4, ...u32(code.length - at));
    code.push(...TEXT.encode(text), 0);
  }
  return Uint8Array.from(code);
}

function codeArm64(firstUnknown: number): Uint8Array {
  const close_range = 436;
  const [prctl, chdir, ppoll, exit_group] = [167, 49, 73, 94];
  const words: number[] = [];
  const texts: { readonly at: number; readonly register: number; readonly text: string }[] = [];
  const setX = (register: number, value: number) =>
    words.push(0xd280_0000 | (value << 5) | register); // movz xN, #value
  const call = (number: number) => {
    setX(8, number);
    words.push(0xd400_0001); // svc #0
  };
  const adr = (register: number, text: string) => {
    texts.push({ at: words.length, register, text });
    words.push(0);
  };
  const STACK_TO = 0x9100_03e0; // add xN, sp, #0
  setX(0, firstUnknown);
  words.push(0x1280_0001); // movn w1, #0
  setX(2, 0);
  call(close_range);
  setX(0, PR_SET_NAME);
  adr(1, KEEPER_NAME);
  call(prctl);
  adr(0, "/");
  call(chdir);
  words.push(0xd100_43ff); // sub sp, sp, #16
  const again = words.length;
  setX(9, OWNER_FD);
  words.push(0xb900_03e9); // str w9, [sp]
  setX(9, POLLIN);
  words.push(0xb900_07e9); // str w9, [sp, #4]
  words.push(STACK_TO | 0);
  setX(1, 1);
  for (const register of [2, 3, 4]) setX(register, 0);
  call(ppoll);
  words.push(0x7100_001f); // cmp w0, #0
  words.push(0x5400_000d | (((again - words.length) & 0x7_ffff) << 5)); // b.le again
  setX(9, KEEP_SECONDS);
  words.push(0xf900_03e9); // str x9, [sp]
  words.push(0xf900_07ff); // str xzr, [sp, #8]
  for (const register of [0, 1, 3, 4]) setX(register, 0);
  words.push(STACK_TO | 2);
  call(ppoll);
  setX(0, 0);
  call(exit_group);
  const code = words.flatMap(u32);
  for (const { at, register, text } of texts) {
    const distance = code.length - 4 * at;
    const instruction = 0x1000_0000 | ((distance & 3) << 29) | ((distance >> 2) << 5) | register; // adr
    code.splice(4 * at, 4, ...u32(instruction));
    code.push(...TEXT.encode(text), 0);
  }
  return Uint8Array.from(code);
}

/** A 32-bit number in its four bytes. */
function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff];
}
