import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { encodeAnswer, PROBE_ANSWER, PROBE_QUESTION, PROBE_SIZE, ProbeFrame } from "./frame.ts";

const NODE_ID = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const U16 = fc.integer({ min: 0, max: 0xffff });
const U32 = fc.integer({ min: 0, max: 0xffff_ffff });

const QUESTION = fc.record({
  size: fc.integer({ min: PROBE_SIZE, max: 9000 }),
  sequence: U32,
  sender: NODE_ID,
  target: NODE_ID,
  stamp: fc.double({ noNaN: true }),
  token: U32,
  told: U16,
});

function write(fields: Partial<ProbeFrame>): DataView<ArrayBuffer> {
  const frame = Object.assign(new ProbeFrame(), { kind: PROBE_QUESTION, ...fields });
  const view = new DataView(new ArrayBuffer(Math.max(frame.size, PROBE_SIZE)));
  frame.encode(view, 0);
  return view;
}

describe("ProbeFrame", () => {
  test("golden bytes of a question", () => {
    const view = write({
      size: PROBE_SIZE,
      sequence: 0x01020304,
      sender: 0x1a_bbcc_ddee_ff00,
      target: 7,
      stamp: 1.5,
      token: 0xdeadbeef,
      told: 1400,
    });
    expect(Buffer.from(view.buffer).toString("hex")).toBe(
      "2101002801020304001abbccddeeff0000000000000000073ff8000000000000deadbeef05780000",
    );
  });

  test("what is written is read again", () => {
    fc.assert(
      fc.property(QUESTION, (fields) => {
        const read = new ProbeFrame();
        const view = write(fields);
        expect(read.decode(view, 0, fields.size)).toBe(true);
        expect(read).toMatchObject({ ...fields, kind: PROBE_QUESTION, questionSize: 0 });
      }),
    );
  });

  test("an answer goes back to the asker, echoes, and is never larger than the question", () => {
    fc.assert(
      fc.property(QUESTION, U16, (fields, told) => {
        const question = new ProbeFrame();
        const length = Math.max(fields.size, PROBE_SIZE);
        const view = new DataView(new ArrayBuffer(length + PROBE_SIZE));
        Object.assign(question, { ...fields, kind: PROBE_QUESTION }).encode(view, 0);
        expect(question.decode(view, 0, fields.size)).toBe(true);
        encodeAnswer(view, length, 0, question, told);
        const answer = new ProbeFrame();
        expect(answer.decode(view, length, PROBE_SIZE)).toBe(true);
        expect(answer).toMatchObject({
          kind: PROBE_ANSWER,
          size: PROBE_SIZE,
          sequence: fields.sequence,
          sender: fields.target,
          target: fields.sender,
          stamp: fields.stamp,
          token: fields.token,
          told,
          questionSize: fields.size,
        });
        expect(answer.size).toBeLessThanOrEqual(fields.size);
      }),
    );
  });

  test("stamps that are no numbers are echoed bit for bit", () => {
    const view = write({ size: PROBE_SIZE, sender: 1, target: 2 });
    const wide = new DataView(new ArrayBuffer(2 * PROBE_SIZE));
    new Uint8Array(wide.buffer).set(new Uint8Array(view.buffer));
    wide.setUint32(24, 0x7ff8_1234);
    wide.setUint32(28, 0x5678_9abc);
    const question = new ProbeFrame();
    question.decode(wide, 0, PROBE_SIZE);
    encodeAnswer(wide, PROBE_SIZE, 0, question, 0);
    expect([wide.getUint32(PROBE_SIZE + 24), wide.getUint32(PROBE_SIZE + 28)]).toEqual([
      0x7ff8_1234, 0x5678_9abc,
    ]);
  });

  const bad: readonly [string, (view: DataView) => void, number?][] = [
    ["of another version", (view) => view.setUint8(0, 0x22)],
    ["of another kind", (view) => view.setUint8(1, 3)],
    ["that says another size", (view) => view.setUint16(2, PROBE_SIZE + 1)],
    ["one byte short", (view) => view.setUint16(2, PROBE_SIZE - 1), PROBE_SIZE - 1],
  ];
  for (const [name, damage, length] of bad) {
    test(`a frame ${name} is none`, () => {
      const view = write({ size: PROBE_SIZE, sender: 1, target: 2 });
      damage(view);
      expect(new ProbeFrame().decode(view, 0, length ?? PROBE_SIZE)).toBe(false);
    });
  }

  test("an answer with padding is none: it would be larger than its question", () => {
    const view = write({ kind: PROBE_ANSWER, size: 100, sender: 1, target: 2 });
    expect(new ProbeFrame().decode(view, 0, 100)).toBe(false);
  });

  test("a node id beyond 2^53 is nobody's", () => {
    const view = write({ size: PROBE_SIZE, sender: 1, target: 2 });
    view.setUint32(8, 0x20_0000);
    const frame = new ProbeFrame();
    expect(frame.decode(view, 0, PROBE_SIZE)).toBe(true);
    expect(frame.sender).toBe(0);
  });

  test("random bytes of any length never throw, and pass only with their own length", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const view = new DataView(new Uint8Array(bytes).buffer);
        if (bytes.length > 3) view.setUint8(0, 0x21);
        const frame = new ProbeFrame();
        if (frame.decode(view, 0, bytes.length)) expect(frame.size).toBe(bytes.length);
      }),
    );
  });
});
