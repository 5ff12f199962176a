import { describe, expect, test } from "bun:test";
import { Assembler, linkProgram, type Program } from "./assembler.ts";
import { MAPS, REASONS } from "./layout.ts";
import { receiveProgram } from "./receive-program.ts";
import { transmitProgram } from "./transmit-program.ts";

function hexOf(write: (asm: Assembler) => void): string {
  const asm = new Assembler();
  write(asm);
  return Buffer.from(asm.assemble().code).toString("hex");
}

describe("Assembler", () => {
  /** Bytes as an independent assembler makes them; "add" and its like in 64 bits. */
  const golden: readonly (readonly [string, (asm: Assembler) => void, string])[] = [
    ["exit", (a) => a.exit(), "9500000000000000"],
    ["r0 = -1", (a) => a.set(0, -1), "b7000000ffffffff"],
    ["r6 = r1", (a) => a.copy(6, 1), "bf16000000000000"],
    ["r1 += -16", (a) => a.alu("add", 1, -16), "07010000f0ffffff"],
    ["r2 -= r1", (a) => a.aluRegister("sub", 2, 1), "1f12000000000000"],
    ["r2 /= r1", (a) => a.aluRegister("div", 2, 1), "3f12000000000000"],
    ["r1 >>= 16", (a) => a.alu("rsh", 1, 16), "7701000010000000"],
    ["r1 <<= 32", (a) => a.alu("lsh", 1, 32), "6701000020000000"],
    ["r0 &= 65535", (a) => a.alu("and", 0, 0xffff), "57000000ffff0000"],
    ["r0 |= 1", (a) => a.alu("or", 0, 1), "4700000001000000"],
    ["r0 ^= 65535", (a) => a.alu("xor", 0, 0xffff), "a7000000ffff0000"],
    ["r1 = be16 r1", (a) => a.swap(1, 16), "dc01000010000000"],
    ["r1 = be32 r1", (a) => a.swap(1, 32), "dc01000020000000"],
    ["r0 = *(u32 *)(r6 + 16)", (a) => a.load(4, 0, { base: 6, offset: 16 }), "6160100000000000"],
    ["r1 = *(u16 *)(r10 - 6)", (a) => a.load(2, 1, { base: 10, offset: -6 }), "69a1faff00000000"],
    ["r1 = *(u8 *)(r2 + 1)", (a) => a.load(1, 1, { base: 2, offset: 1 }), "7121010000000000"],
    ["r1 = *(u64 *)(r0 + 8)", (a) => a.load(8, 1, { base: 0, offset: 8 }), "7901080000000000"],
    ["*(u64 *)(r10 - 8) = r1", (a) => a.store(8, { base: 10, offset: -8 }, 1), "7b1af8ff00000000"],
    [
      "*(u16 *)(r10 - 2) = 69",
      (a) => a.storeValue(2, { base: 10, offset: -2 }, 69),
      "6a0afeff45000000",
    ],
    ["call 26", (a) => a.call(26), "850000001a000000"],
    [
      "r2 = r10 - 4",
      (a) => a.address(2, { base: 10, offset: -4 }),
      "bfa200000000000007020000fcffffff",
    ],
    ["r1 = map", (a) => a.map(1, "routes"), "18110000000000000000000000000000"],
  ];
  for (const [text, write, bytes] of golden) {
    test(text, () => expect(hexOf(write)).toBe(bytes));
  }

  test("jumps carry the distance to their label, in instructions", () => {
    const code = hexOf((asm) => {
      asm.jumpIf(1, "==", 7, "end");
      asm.jumpIf32(1, "!=", -1, "end");
      asm.jumpIfRegister(1, ">", 2, "end");
      asm.jump("end");
      asm.set(0, 1);
      asm.label("end");
      asm.exit();
    });
    expect(code).toBe(
      "1501040007000000" +
        "56010300ffffffff" +
        "2d21020000000000" +
        "0500010000000000" +
        "b700000001000000" +
        "9500000000000000",
    );
  });

  test("a jump without its label, and a label behind its jump, are our bugs", () => {
    expect(() => hexOf((asm) => asm.jump("nowhere"))).toThrow("a jump needs its label");
    const back = (asm: Assembler) => {
      asm.label("start");
      asm.set(0, 0);
      asm.jump("start");
    };
    expect(() => hexOf(back)).toThrow("a jump goes forward");
  });

  test("linking puts descriptors where maps are named, and nowhere else", () => {
    const asm = new Assembler();
    asm.set(0, 3);
    asm.map(1, "flows");
    asm.exit();
    const program = asm.assemble();
    const linked = linkProgram(program, (name) => (name === "flows" ? 0x1234 : -1));
    const words = new DataView(linked.buffer);
    expect([words.getInt32(4, true), words.getInt32(12, true), words.getInt32(20, true)]).toEqual([
      3, 0x1234, 0,
    ]);
    expect(new DataView(program.code.buffer).getInt32(12, true)).toBe(0);
  });
});

describe("the programs", () => {
  const address = 0xc0000201;
  const programs: readonly (readonly [string, Program])[] = [
    ["transmit", transmitProgram({ address, linkHeaderSize: 0 })],
    ["receive", receiveProgram({ address, port: 8285, overlayLink: 7 })],
  ];

  for (const [name, program] of programs) {
    test(`${name}: names only maps that there are, and is of a size for any kernel`, () => {
      const known = MAPS.map((map) => map.name);
      expect(program.maps.filter((map) => !known.includes(map.name))).toEqual([]);
      // Linux took at most 4,096 instructions until 5.2, and still does without privileges.
      expect(program.code.length / 8).toBeLessThan(1024);
    });
  }

  test("the same options give the same bytes, another port gives others", () => {
    const again = receiveProgram({ address, port: 8285, overlayLink: 7 });
    const other = receiveProgram({ address, port: 8286, overlayLink: 7 });
    expect(again.code).toEqual(programs[1]![1].code);
    expect(other.code).not.toEqual(again.code);
  });

  test("every reason has a direction", () => {
    expect(REASONS.filter((reason) => !/^(tx|rx)_/.test(reason))).toEqual([]);
  });
});
