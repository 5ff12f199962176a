/**
 * The test of the sockets' offloads at start: two sockets on the loopback, the real ports, and one
 * message that the kernel is to cut and to join.
 *
 * What fails is not used, and told with its reason. Where the loopback is down nothing can be
 * tried; then what the kernel says is believed, and failures in use switch off what is broken.
 * Takes about a millisecond.
 *
 * @module
 */
import { parseAddress } from "../base/address.ts";
import { assert } from "../base/assert.ts";
import { HostError } from "../base/host-error.ts";
import { addressWords } from "../dataplane/fib/table.ts";
import {
  CHECK_IMPOSSIBLE,
  CHECK_MEMORY_SIZE,
  CHECK_RIGHT,
  checkSegments,
} from "../dataplane/forward/offload-check.ts";
import { createWireMemory } from "../dataplane/wire/memory.ts";
import { POLLIN, PollSet } from "../host/sys/descriptor.ts";
import { UdpSocketPort } from "../host/udp/udp-port.ts";
import { openUdpSocket, setJoining, type UdpSocket } from "../host/udp/udp-socket.ts";

const LOOPBACK = { 4: "127.0.0.1", 6: "::1" } as const;
const WAIT_MS = 10;
const PORT_LIMITS = { sendCountMax: 1, pieceCountMax: 2, receiveCountMax: 8 };

/** Errors of the test by offload; 0 is fine or could not be tried. */
export interface OffloadTest {
  readonly gsoErrno: number;
  readonly groErrno: number;
}

/** Tries UDP_SEGMENT and UDP_GRO on the loopback of `family`. */
export function testSocketOffloads(family: 4 | 6): OffloadTest {
  const address = parseAddress(LOOPBACK[family]);
  assert(address !== undefined, "the loopback address must parse");
  const opened: UdpSocket[] = [];
  const open = () => {
    const socket = openUdpSocket({ address, port: 0 });
    opened.push(socket);
    return socket;
  };
  try {
    const [sender, receiver] = [open(), open()];
    if (sender.gsoErrno !== 0) return { gsoErrno: 0, groErrno: 0 }; // Not offered: not used.
    const memory = createWireMemory(CHECK_MEMORY_SIZE);
    const poll = new PollSet([receiver.fd]);
    poll.watch(0, POLLIN);
    const port = (fd: number) => new UdpSocketPort(memory, { fd, family, ...PORT_LIMITS });
    const parts = {
      memory,
      sender: port(sender.fd),
      receiver: port(receiver.fd),
      target: { address: addressWords(address), port: receiver.port },
      wait: () => poll.wait(WAIT_MS),
    };
    setJoining(receiver.fd, false);
    const gso = checkSegments(parts);
    if (gso === CHECK_IMPOSSIBLE) return { gsoErrno: 0, groErrno: 0 };
    // Without cutting nothing comes joined on a loopback.
    if (gso !== CHECK_RIGHT || receiver.groErrno !== 0) return { gsoErrno: gso, groErrno: 0 };
    setJoining(receiver.fd, true);
    return { gsoErrno: 0, groErrno: Math.max(0, checkSegments(parts)) };
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return { gsoErrno: 0, groErrno: 0 };
  } finally {
    for (const socket of opened) socket.close();
  }
}
