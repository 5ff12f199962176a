/**
 * The lab's own instruments, held against bytes and texts written down by hand.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { parseSubnetEnv } from "./host.ts";
import { decodeIpv4, hexDump, packetOf } from "./packet.ts";
import { decodePcap } from "./pcap.ts";
import { describePing, parseEndlessPing, parsePing, pingCommand } from "./ping.ts";
import { WaitError, waitFor } from "./wait.ts";

const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));

/** Echo request 10.0.1.2 > 10.0.2.2, id 1, sequence 7, four bytes of data. */
const ECHO = bytesOf(
  `45 00 0020 1234 4000 3f 01 0000 0a000102 0a000202
   08 00 0000 0001 0007 61626364`,
);

describe("decodeIpv4", () => {
  test("an echo request", () => {
    const packet = decodeIpv4(ECHO);
    expect(packet).toMatchObject({ source: "10.0.1.2", target: "10.0.2.2", ttl: 63 });
    expect(packet?.payload).toMatchObject({ kind: "icmp", type: 8, id: 1, sequence: 7 });
    expect(Buffer.from(packet?.payload.data ?? []).toString()).toBe("abcd");
  });

  test("a UDP datagram that carries a packet, with Ethernet padding behind it", () => {
    const length = ECHO.length;
    const udp = bytesOf(`205d 205d ${(8 + length).toString(16).padStart(4, "0")} 0000`);
    const ip = bytesOf(
      `45 00 ${(28 + length).toString(16).padStart(4, "0")} 0000 4000 40 11 0000 c0a84d0b c0a84d0c`,
    );
    const frame = Uint8Array.from([
      ...bytesOf("020000000001 020000000002 0800"),
      ...ip,
      ...udp,
      ...ECHO,
      ...[0, 0, 0],
    ]);
    const outer = packetOf({ timeSeconds: 0, linkType: 1, bytes: frame, wireLength: frame.length });
    expect(outer?.payload).toMatchObject({ kind: "udp", sourcePort: 8285, targetPort: 8285 });
    expect(outer?.payload.data).toEqual(ECHO);
  });

  test("every cut of a packet is undefined, never an error", () => {
    for (let length = 0; length < ECHO.length; length++) {
      expect(decodeIpv4(ECHO.subarray(0, length))).toBeUndefined();
    }
    expect(decodeIpv4(bytesOf("60".repeat(40)))).toBeUndefined();
  });
});

describe("decodePcap", () => {
  const header = (magic: string) => `${magic} 0200 0400 00000000 00000000 00000400 65000000`;
  const record = "0a000000 20a10700 20000000 20000000";

  test("two frames, and a third that is still being written", () => {
    const hex = Buffer.from(ECHO).toString("hex");
    const file = bytesOf(`${header("d4c3b2a1")} ${record} ${hex} ${record} ${hex} ${record} 4500`);
    const frames = decodePcap(file);
    expect(frames).toHaveLength(2);
    expect(frames[0]).toMatchObject({ timeSeconds: 10.5, linkType: 101, wireLength: 32 });
    expect(frames[1]?.bytes).toEqual(ECHO);
  });

  test("nanoseconds, an empty file, and a file of another kind", () => {
    const file = bytesOf(`${header("4d3cb2a1")} 0a000000 0065cd1d 00000000 00000000`);
    expect(decodePcap(file)[0]?.timeSeconds).toBeCloseTo(10.5);
    expect(decodePcap(new Uint8Array(0))).toEqual([]);
    expect(() => decodePcap(new Uint8Array(24))).toThrow("not a pcap file");
  });
});

describe("parsePing", () => {
  const answers = (...sequences: number[]) =>
    sequences
      .map(
        (sequence) => `64 bytes from 10.0.1.2: icmp_seq=${sequence} ttl=62 time=0.0${sequence} ms`,
      )
      .join("\n");

  test("lost in the middle and at the end", () => {
    const text = `${answers(1, 2, 5)}\n7 packets transmitted, 3 received`;
    const report = parsePing(text, { count: 7 });
    expect(report).toMatchObject({ sent: 7, received: 3, lost: [3, 4, 6, 7], longestGap: 2 });
    expect(describePing(report)).toBe("3 of 7 answered, median 0.02 ms");
  });

  test("of more requests than were asked for the first ones count", () => {
    const text = `${answers(1, 3, 4)}\n5 packets transmitted, 3 received`;
    expect(parsePing(text, { count: 3 })).toMatchObject({ sent: 3, received: 2, lost: [2] });
  });

  test("interrupted: the last requests may have been on their way", () => {
    const text = `${answers(1, 2, 4)}\n9 packets transmitted, 3 received`;
    expect(parseEndlessPing(text, { intervalSeconds: 0.02 })).toMatchObject({
      ...{ sent: 4, received: 3, lost: [3] },
    });
    expect(parseEndlessPing(text)).toMatchObject({ sent: 8, lost: [3, 5, 6, 7, 8] });
    expect(parseEndlessPing(answers(1, 2))).toMatchObject({ received: 2, lost: [] });
  });

  test("no answer at all", () => {
    const text = "From 10.0.1.1 icmp_seq=1 Destination Net Unreachable\n1 packets transmitted";
    expect(parsePing(text)).toMatchObject({ sent: 1, received: 0, longestGap: 1 });
  });

  test("pingCommand: endless has no count", () => {
    expect(pingCommand("10.0.1.2", {})).toContain("-c");
    expect(pingCommand("10.0.1.2", {}, true)).not.toContain("-c");
  });

  test("pingCommand: late answers are waited for, unless somebody is in a hurry", () => {
    const words = pingCommand("10.0.1.2", { count: 10, intervalSeconds: 0.01 }).join(" ");
    expect(words).toContain("-c 10 -w 2 ");
    expect(pingCommand("10.0.1.2", { waitSeconds: 0.2 })).not.toContain("-w");
  });
});

test("hexDump: offset, values, text", () => {
  expect(hexDump(ECHO).split("\n")[1]).toBe(
    `0010  0a 00 02 02 08 00 00 00 00 01 00 07 61 62 63 64  ............abcd`,
  );
});

test("parseSubnetEnv: whole or nothing", () => {
  const text = "FLANNEL_NETWORK=10.0.0.0/16\nFLANNEL_SUBNET=10.0.53.1/24\nFLANNEL_MTU=1472\n";
  expect(parseSubnetEnv(text)).toEqual({
    network: "10.0.0.0/16",
    subnet: "10.0.53.1/24",
    gateway: "10.0.53.1",
    mtu: 1472,
  });
  expect(parseSubnetEnv(text.slice(0, 40))).toBeUndefined();
});

describe("waitFor", () => {
  test("gives the first value that is there", async () => {
    let asked = 0;
    const value = await waitFor(() => (++asked === 3 ? "there" : undefined), { describe: "it" });
    expect([value, asked]).toEqual(["there", 3]);
  });

  test("says what was missing, and the last error", async () => {
    const failing = waitFor(
      () => {
        throw new Error("still closed");
      },
      { timeoutMs: 1, describe: "the door", details: () => "it is Sunday" },
    );
    const message = "Waited 1 ms for the door; it is Sunday; last error: still closed";
    await expect(failing).rejects.toThrow(new WaitError(message));
  });
});
