import { describe, expect, test } from "bun:test";
import { fromHex } from "../../../tests/support/hex.ts";
import { HostError } from "../../base/host-error.ts";
import type { NetlinkSocket } from "../sys/netlink-socket.ts";
import { createExchange } from "./exchange.ts";
import { beginRequest, finishRequest } from "./message.ts";

const PURPOSE = { operation: "list", object: "links" };
const SEQUENCE_OFFSET = 8;

/**
 * A kernel that answers each request with the next of `answers`: datagrams in hexadecimal, in
 * which "@" stands for the sequence number of the request. What the real one does rarely or
 * never on demand (torn dumps, stray messages) is only to be had like this.
 */
function scriptedSocket(answers: readonly (readonly string[])[]) {
  const queue: Uint8Array[] = [];
  let asked = 0;
  const socket: NetlinkSocket = {
    send(message) {
      const sequence = Buffer.from(message.slice(SEQUENCE_OFFSET, 12)).toString("hex");
      for (const text of answers[asked] ?? []) queue.push(fromHex(text.replaceAll("@", sequence)));
      asked++;
    },
    receive(into) {
      const next = queue.shift();
      if (next === undefined) throw new HostError({ operation: "hear", object: "the script" });
      into.set(next.subarray(0, into.length));
      return next.length;
    },
    close: () => undefined,
  };
  return { socket, asked: () => asked };
}

const ping = (out: DataView, sequence: number) =>
  finishRequest(out, beginRequest(out, { type: 18, flags: 0, sequence }));
const first = (body: Uint8Array) => (body[0] === 0xff ? undefined : body[0]);

const item = (byte: string, flags = "0200") => `14000000 1000${flags} @ 00000000 ${byte}000000`;
const done = (flags = "0200") => `14000000 0300${flags} @ 00000000 00000000`;
const ack = "24000000 02000001 @ 00000000 00000000 10000000 12000500 @ 00000000";

describe("dump", () => {
  test("collects items over datagrams until the end", () => {
    const { socket } = scriptedSocket([[item("01") + item("02"), item("03"), done()]]);
    expect(createExchange(socket).dump(PURPOSE, ping, first)).toEqual([1, 2, 3]);
  });

  test("what makes no sense to the decoder is left out", () => {
    const { socket } = scriptedSocket([[item("01") + item("ff") + done()]]);
    expect(createExchange(socket).dump(PURPOSE, ping, first)).toEqual([1]);
  });

  test("messages of other requests are passed over", () => {
    const stray = "14000000 10000200 99000000 00000000 07000000";
    const { socket } = scriptedSocket([[stray, stray + item("01"), done()]]);
    expect(createExchange(socket).dump(PURPOSE, ping, first)).toEqual([1]);
  });

  test("a dump that was interrupted is repeated, and what it said forgotten", () => {
    const { asked, socket } = scriptedSocket([
      [item("01", "1200"), item("02"), done()],
      [item("03"), done("1200")],
      [item("04"), done()],
    ]);
    expect(createExchange(socket).dump(PURPOSE, ping, first)).toEqual([4]);
    expect(asked()).toBe(3);
  });

  test("a dump that is interrupted every time is given up", () => {
    const { asked, socket } = scriptedSocket(new Array(9).fill([item("01", "1200"), done()]));
    const dump = () => createExchange(socket).dump(PURPOSE, ping, first);
    expect(dump).toThrow("Cannot list links: changed 5 times while it was read");
    expect(asked()).toBe(5);
  });

  test("an error at its end carries the kernel's words", () => {
    const failed = "20000000 03000202 @ 00000000 eaffffff 0c000100 6e6f206c 696e6b00";
    const { socket } = scriptedSocket([[item("01"), failed]]);
    const dump = () => createExchange(socket).dump(PURPOSE, ping, first);
    expect(dump).toThrow("Cannot list links: no link (EINVAL)");
  });

  test("a datagram that makes no sense ends it, as nobody knows what was in the rest", () => {
    const { socket } = scriptedSocket([[`${item("01")}ff000000`, done()]]);
    const dump = () => createExchange(socket).dump(PURPOSE, ping, first);
    expect(dump).toThrow("Cannot list links: the kernel's answer makes no sense");
  });

  test("a datagram longer than the buffer is not read as if it were whole", () => {
    const long = item("01") + "00".repeat(70_000);
    const { socket } = scriptedSocket([[long, done()]]);
    const dump = () => createExchange(socket).dump(PURPOSE, ping, first);
    expect(dump).toThrow("Cannot list links: the kernel's answer is too long");
  });
});

describe("request", () => {
  test("returns on its own acknowledgement, not on an earlier one", () => {
    const late = ack.replaceAll("@", "99000000").replace("00000000 10", "efffffff 10");
    const { socket } = scriptedSocket([[late, ack]]);
    createExchange(socket).request(PURPOSE, ping);
  });

  test("an unknown error number is told as a number", () => {
    const refused = ack.replace("00000000 10", "f4fdffff 10"); // -524, ENOTSUPP inside the kernel
    const { socket } = scriptedSocket([[refused]]);
    const request = () => createExchange(socket).request(PURPOSE, ping);
    expect(request).toThrow("errno 524");
  });

  test("an answer too short for a verdict is an error, not a success", () => {
    const { socket } = scriptedSocket([["12000000 02000000 @ 00000000 0000"]]);
    expect(() => createExchange(socket).request(PURPOSE, ping)).toThrow("makes no sense");
  });
});
