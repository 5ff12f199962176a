import { describe, expect, test } from "bun:test";
import { formatHostPort, parseHostPort } from "./host-port.ts";

describe("parseHostPort", () => {
  const cases = [
    { text: "10.0.0.7", host: "10.0.0.7", port: 8286, written: "10.0.0.7:8286" },
    { text: "10.0.0.7:99", host: "10.0.0.7", port: 99, written: "10.0.0.7:99" },
    { text: "fd00::7", host: "fd00::7", port: 8286, written: "[fd00::7]:8286" },
    { text: "[FD00:0::7]", host: "fd00::7", port: 8286, written: "[fd00::7]:8286" },
    { text: "[::1]:1", host: "::1", port: 1, written: "[::1]:1" },
    { text: "Node-A.example:65535", host: "node-a.example", port: 65_535, written: undefined },
  ];
  for (const { text, host, port, written } of cases) {
    test(`reads ${text}`, () => {
      const parsed = parseHostPort(text, 8286);
      expect(parsed).toEqual({ host, port });
      if (written !== undefined) expect(formatHostPort(parsed!)).toBe(written);
    });
  }

  const wrong = [
    "",
    ":8286",
    "10.0.0",
    "10.0.0.256",
    "10.0.0.7:",
    "10.0.0.7:65536",
    "10.0.0.7:08",
    "10.0.0.7:-1",
    "[10.0.0.7]:1",
    "[fd00::7",
    "[fd00::7]x",
    "-a",
    "a-",
    "a..b",
    "a b",
    "a/b",
    "http://a",
    "x".repeat(64),
  ];
  for (const text of wrong) {
    test(`refuses "${text.slice(0, 20)}"`, () => {
      expect(parseHostPort(text, 8286)).toBeUndefined();
    });
  }
});
