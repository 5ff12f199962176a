import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fromHex, hexWords, staleBuffer } from "../../../tests/support/hex.ts";
import {
  beginRequest,
  decodeDatagram,
  decodeVerdict,
  finishRequest,
  type Message,
  NLM_F_ACK,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./message.ts";

const ACK_TLVS = 0x200;
const CAPPED = 0x100;

test("beginRequest, finishRequest: every byte of the header is written", () => {
  const out = staleBuffer(32);
  const end = beginRequest(out, { type: 24, flags: NLM_F_ACK, sequence: 9 });
  expect(hexWords(out, finishRequest(out, end))).toBe("10000000 18000500 09000000 00000000");
});

describe("decodeDatagram", () => {
  const two = fromHex(`
    12000000 18000200 07000000 00000000 aabb 0000
    10000000 03000200 07000000 00000000`);

  test("walks from message to message over the padding", () => {
    const { messages, torn } = decodeDatagram(two);
    expect(torn).toBe(false);
    expect(messages).toEqual([
      { type: 24, flags: 2, sequence: 7, body: fromHex("aabb") },
      { type: NLMSG_DONE, flags: 2, sequence: 7, body: new Uint8Array() },
    ]);
  });

  test("cut at any length: whole messages stand, and a rest is reported as torn", () => {
    for (let length = 0; length <= two.length; length++) {
      const { messages, torn } = decodeDatagram(two.subarray(0, length));
      const whole = length >= 36 ? 2 : length >= 18 ? 1 : 0;
      expect(messages.length).toBe(whole);
      expect(torn).toBe(
        length !== 0 && length !== 18 && length !== 19 && length !== 20 && length !== 36,
      );
    }
  });

  test("a length that lies ends the walk", () => {
    for (const bytes of ["00000000", "0f000000", "11000000", "ffffffff"]) {
      const datagram = fromHex(`${bytes} 00000000 00000000 00000000`);
      expect(decodeDatagram(datagram)).toEqual({ messages: [], torn: true });
    }
  });

  test("any bytes: never an exception, bodies inside the input", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        for (const message of decodeDatagram(bytes).messages) {
          expect(message.body.length).toBeLessThanOrEqual(bytes.length - 16);
          decodeVerdict(message);
        }
      }),
    );
  });
});

describe("decodeVerdict", () => {
  const message = (type: number, flags: number, body: string): Message => ({
    type,
    flags,
    sequence: 1,
    body: fromHex(body),
  });
  const header = "3c000000 18000506 03000000 00000000";
  const text = "0c000100 6e6f206c 696e6b00"; // NLMSGERR_ATTR_MSG "no link"

  const table = [
    { it: message(NLMSG_ERROR, 0, `00000000 ${header}`), errno: 0, why: "success" },
    { it: message(NLMSG_ERROR, 0, `efffffff ${header}`), errno: 17, why: "failure without words" },
    {
      it: message(NLMSG_ERROR, ACK_TLVS | CAPPED, `eaffffff ${header} ${text}`),
      errno: 22,
      text: "no link",
      why: "words after the header of the request (capped answer)",
    },
    {
      it: message(
        NLMSG_ERROR,
        ACK_TLVS,
        `eaffffff 14000000 18000506 03000000 00000000 aabbccdd ${text}`,
      ),
      errno: 22,
      text: "no link",
      why: "words after the whole request (full answer)",
    },
    {
      it: message(NLMSG_DONE, ACK_TLVS, `eaffffff ${text}`),
      errno: 22,
      text: "no link",
      why: "words at the end of a failed dump",
    },
    {
      it: message(NLMSG_ERROR, ACK_TLVS, `eaffffff ffffff7f 18000506 03000000 00000000`),
      errno: 22,
      why: "a request length past the end leaves no words",
    },
  ];
  for (const { errno, it, text: words, why } of table) {
    test(why, () => expect(decodeVerdict(it)).toEqual({ errno, text: words }));
  }

  test("too short, or an error number that cannot be: undefined", () => {
    expect(decodeVerdict(message(NLMSG_ERROR, 0, "0000"))).toBeUndefined();
    expect(decodeVerdict(message(NLMSG_ERROR, 0, "01000000"))).toBeUndefined();
  });
});
