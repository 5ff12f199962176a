import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createMailMemory, MAIL_WIDTH, MailRing } from "./mail-ring.ts";

function message(first: number): Float64Array<ArrayBuffer> {
  return new Float64Array(Array.from({ length: MAIL_WIDTH }, (_, i) => first * 100 + i));
}

describe("MailRing", () => {
  test("as a queue: order kept, full refused, like an array", () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 200 }), (puts) => {
        const memory = createMailMemory(8);
        const [writer, reader] = [new MailRing(memory), new MailRing(memory)];
        const model: number[] = [];
        const out = new Float64Array(MAIL_WIDTH);
        let count = 0;
        for (const isPut of puts) {
          if (isPut) {
            const isTaken = writer.put(message(++count));
            expect(isTaken).toBe(model.length < 8);
            if (isTaken) model.push(count);
          } else {
            expect(reader.take(out)).toBe(model.length > 0);
            const first = model.shift();
            if (first !== undefined) expect(out).toEqual(message(first));
          }
          expect(reader.isEmpty).toBe(model.length === 0);
        }
      }),
    );
  });

  test("the counters wrap", () => {
    const memory = createMailMemory(4);
    new Int32Array(memory).set([0x7fff_ffff, 0x7fff_ffff]);
    const ring = new MailRing(memory);
    const out = new Float64Array(MAIL_WIDTH);
    for (let i = 0; i < 10; i++) {
      expect(ring.put(message(i))).toBe(true);
      expect(ring.take(out)).toBe(true);
      expect(out).toEqual(message(i));
    }
    for (let i = 0; i < 4; i++) expect(ring.put(message(i))).toBe(true);
    expect(ring.put(message(4))).toBe(false);
  });
});
