/**
 * Peers as people write them.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { formatHostPort, parseHostPort } from "./host-port.ts";

const rows: [string, { host: string; port: number } | undefined, string][] = [
  ["10.0.0.1", { host: "10.0.0.1", port: 8286 }, "the cluster port is the default"],
  ["10.0.0.1:9000", { host: "10.0.0.1", port: 9000 }, "another port"],
  ["node-1.example", { host: "node-1.example", port: 8286 }, "a name"],
  ["[fd00::1]:9000", { host: "fd00::1", port: 9000 }, "IPv6 with a port needs brackets"],
  ["[fd00::1]", { host: "fd00::1", port: 8286 }, "brackets without a port"],
  ["fd00::1", { host: "fd00::1", port: 8286 }, "bare IPv6"],
  ["10.0.0.1:0", undefined, "nobody listens on port 0"],
  ["10.0.0.1:65536", undefined, "port too large"],
  ["10.0.0.1:", undefined, "colon without a port"],
  ["https://10.0.0.1", undefined, "a URL is not a host"],
  ["", undefined, "empty"],
];

for (const [text, expected, why] of rows) {
  test(`parseHostPort: ${JSON.stringify(text)}, ${why}`, () => {
    const parsed = parseHostPort(text);
    expect(parsed).toEqual(expected);
    if (parsed !== undefined) expect(parseHostPort(formatHostPort(parsed))).toEqual(parsed);
  });
}
