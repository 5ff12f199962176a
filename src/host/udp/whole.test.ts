/**
 * "Don't fragment" for single messages, and echo requests, on a loopback with a small MTU.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { networkTest, sh } from "../../../tests/support/network-test.ts";
import { parseAddress } from "../../base/address.ts";
import { HostError } from "../../base/host-error.ts";
import { openSystemClock } from "../clock/system-clock.ts";
import type { PacketMemory, SendBatch } from "../packet-ports.ts";
import { POLLIN, PollSet } from "../sys/descriptor.ts";
import { openEchoSocket } from "./echo-socket.ts";
import { kernelPathMtu } from "./kernel-mtu.ts";
import { UdpSocketPort } from "./udp-port.ts";
import { openUdpSocket } from "./udp-socket.ts";

const EMSGSIZE = 90;
const MTU = 1400;
const LIMITS = { sendCountMax: 1, pieceCountMax: 1, receiveCountMax: 1 };
const ENDS = {
  4: { address: parseAddress("127.0.0.1")!, words: [0, 0, 0xffff, 0x7f000001], headers: 28 },
  6: { address: parseAddress("::1")!, words: [0, 0, 0, 1], headers: 48 },
} as const;

function message(size: number, words: readonly number[], port: number): SendBatch {
  return {
    count: 1,
    pieceStart: Int32Array.of(0, 1),
    pieceOffset: Int32Array.of(0),
    pieceLength: Int32Array.of(size),
    segmentSize: Int32Array.of(0),
    targetAddress: Uint32Array.from(words),
    targetPort: Int32Array.of(port),
  };
}

describe("UdpSocketPort.sendWhole", () => {
  for (const family of [4, 6] as const) {
    networkTest(`IPv${family}: the link's MTU to the byte, and fragments again afterwards`, () => {
      sh(`ip link set lo mtu ${MTU} up`);
      const { address, words, headers } = ENDS[family];
      using sender = openUdpSocket({ address, port: 0 });
      using receiver = openUdpSocket({ address, port: 0 });
      const buffer = new ArrayBuffer(16_384);
      const memory: PacketMemory = {
        bytes: new Uint8Array(buffer),
        words: new Uint32Array(buffer),
        view: new DataView(buffer),
      };
      const out = new UdpSocketPort(memory, { fd: sender.fd, family, ...LIMITS });
      const fits = MTU - headers;
      expect(out.sendWhole(message(fits, words, receiver.port), 0)).toBe(1);
      expect(out.sendWhole(message(fits + 1, words, receiver.port), 0)).toBe(-EMSGSIZE);
      expect(out.send(message(fits + 1, words, receiver.port), 0)).toBe(1);
      const into = new UdpSocketPort(memory, { fd: receiver.fd, family, ...LIMITS });
      const poll = new PollSet([receiver.fd]);
      poll.watch(0, POLLIN);
      const sizes = [0, 0].map(() => {
        poll.wait(5000);
        const batch = {
          offset: Int32Array.of(8192),
          slotSize: 8192,
          length: new Int32Array(1),
          segmentSize: new Int32Array(1),
          truncated: new Uint8Array(1),
          sourceAddress: new Uint32Array(4),
          sourcePort: new Int32Array(1),
          localPort: -1,
        };
        return into.receive(batch) === 1 ? batch.length[0] : undefined;
      });
      expect(sizes).toEqual([fits, fits + 1]);
    });
  }
});

describe("kernelPathMtu", () => {
  networkTest("the link's MTU, or the route's; no route is no answer", () => {
    sh(`ip link set lo mtu ${MTU} up`);
    expect(kernelPathMtu(ENDS[4].address)).toBe(MTU);
    expect(kernelPathMtu(ENDS[6].address)).toBe(MTU);
    sh("ip route add 192.0.2.0/24 dev lo mtu 1300");
    expect(kernelPathMtu(parseAddress("192.0.2.7")!)).toBe(1300);
    expect(kernelPathMtu(parseAddress("198.51.100.1")!)).toBeUndefined();
  });
});

describe("openEchoSocket", () => {
  for (const family of [4, 6] as const) {
    networkTest(`IPv${family}: an answer with its time, or none`, async () => {
      sh("ip link set lo up");
      const { address } = ENDS[family];
      const clock = openSystemClock();
      using socket = openEchoSocket({ from: address, to: address, clock });
      expect(await socket.echo(5000)).toBeLessThan(5000);
      expect(await socket.echo(5000)).toBeGreaterThan(0);
    });
  }

  networkTest("nobody there: undefined after the time", async () => {
    sh("ip link set lo up; sysctl -q -w net.ipv4.icmp_echo_ignore_all=1");
    const { address } = ENDS[4];
    using socket = openEchoSocket({ from: address, to: address, clock: openSystemClock() });
    expect(await socket.echo(30)).toBeUndefined();
  });

  networkTest("an address that is not ours: the kernel's word", () => {
    sh("ip link set lo up");
    const to = ENDS[4].address;
    const open = () =>
      openEchoSocket({ from: parseAddress("192.0.2.1")!, to, clock: openSystemClock() });
    expect(open).toThrow(HostError);
    expect(open).toThrow("EADDRNOTAVAIL");
  });
});
