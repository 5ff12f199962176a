import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createSimRandom } from "../sim-cluster.fake.ts";
import { decodeBase32, encodeBase32 } from "./base32.ts";
import { createToken, formatToken, hashSecret, isSecretOf, parseToken, tokenId } from "./token.ts";

const pin = encodeBase32(new Uint8Array(32).fill(7));
const token = createToken(pin, createSimRandom(1));
const text = formatToken(token);

describe("base 32", () => {
  // RFC 4648 §10, in lower case and without padding.
  const vectors = ["", "my", "mzxq", "mzxw6", "mzxw6yq", "mzxw6ytb", "mzxw6ytboi"];
  for (const [length, encoded] of vectors.entries()) {
    test(`RFC 4648 vector of ${length} bytes`, () => {
      const bytes = new TextEncoder().encode("foobar".slice(0, length));
      expect(encodeBase32(bytes)).toBe(encoded);
      expect(decodeBase32(encoded)).toEqual(bytes);
      expect(decodeBase32(encoded.toUpperCase())).toEqual(bytes);
    });
  }

  test("every length survives, and no other text means the same", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
        const encoded = encodeBase32(bytes);
        expect(decodeBase32(encoded)).toEqual(bytes);
      }),
    );
    expect(decodeBase32("mz")).toBeUndefined(); // Bits left over.
    expect(decodeBase32("m")).toBeUndefined();
    expect(decodeBase32("m1")).toBeUndefined();
  });
});

describe("token", () => {
  test("survives, in any case and with blanks around it", () => {
    for (const variant of [text, text.toUpperCase(), text.toLowerCase(), `  ${text}\n`]) {
      expect(parseToken(variant)).toEqual({ ok: true, value: token });
    }
  });

  test("every single wrong character is found", () => {
    for (let at = 5; at < text.length; at++) {
      for (const digit of "a7") {
        if (text[at] === digit || text[at] === ".") continue;
        const changed = text.slice(0, at) + digit + text.slice(at + 1);
        expect(parseToken(changed).ok).toBeFalse();
      }
    }
  });

  const [version, , secret = "", check = ""] = text.split(".");
  const cases = [
    { text: "", why: "it is empty" },
    { text: "   ", why: "it is empty" },
    { text: "hello", why: 'it does not begin with "OVL1."' },
    { text: "K10abc::server:def", why: 'it does not begin with "OVL1."' },
    { text: text.replace("OVL1", "OVL2"), why: "its format OVL2 is newer than this program" },
    { text: `${version}.${pin}.${secret}`, why: "its end is missing" },
    { text: "OVL1", why: "its end is missing" },
    { text: `${text}.x`, why: "something follows its end" },
    {
      text: `${version}.${pin.slice(1)}.${secret}.${check}`,
      why: "its second part has 51 characters instead of 52",
    },
    {
      text: `${version}.${pin}.${secret}a.${check}`,
      why: "its third part has 27 characters instead of 26",
    },
    {
      text: `${version}.${pin}.${secret}.${check.slice(0, 5)}`,
      why: "its last part has 5 characters instead of 6",
    },
    {
      text: `${version}.${pin}.${`0${secret.slice(1)}`}.${check}`,
      why: 'its third part has the character "0"',
    },
  ];
  for (const { text: given, why } of cases) {
    test(`says what is wrong: ${why} (${given.slice(0, 20)})`, () => {
      const result = parseToken(given);
      expect(result.ok).toBeFalse();
      if (result.ok) return;
      expect(result.error.kind).toBe("invalid_token");
      expect(result.error.detail).toStartWith(`Cannot use the token: ${why}; `);
    });
  }

  test("what the cluster keeps matches the secret and nothing else", () => {
    const hash = hashSecret(token.secret);
    expect(isSecretOf(token.secret, hash)).toBeTrue();
    expect(isSecretOf(new Uint8Array(16), hash)).toBeFalse();
    expect(isSecretOf(token.secret, "")).toBeFalse();
    expect(isSecretOf(token.secret, "zz")).toBeFalse();
  });

  test("its id shows nothing of the secret", () => {
    expect(tokenId(token.secret)).toMatch(/^[a-z2-7]{10}$/);
    expect(text).not.toContain(tokenId(token.secret));
  });
});
