import { describe, expect, test } from "bun:test";
import { decodeJson, encodeJson } from "./record.ts";

describe("decodeJson", () => {
  test("reads what encodeJson writes, the replacement character too", () => {
    for (const record of [{ a: 1, b: "ä\u{1f600}" }, { "\ufffd": "\ufffd" }, {}]) {
      expect(decodeJson(encodeJson(record))).toEqual(record);
    }
  });

  const refused: { why: string; bytes: Uint8Array }[] = [
    {
      why: "a byte that is no UTF-8",
      bytes: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
    },
    { why: "a list", bytes: Buffer.from("[1]") },
    { why: "a text that ends early", bytes: Buffer.from('{"a":') },
    { why: "nothing", bytes: new Uint8Array(0) },
  ];
  for (const { why, bytes } of refused) {
    test(`refuses ${why}`, () => expect(decodeJson(bytes)).toBeUndefined());
  }
});
