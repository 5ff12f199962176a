/**
 * A program that answers pings as a node of flannel's udp backend would: bare packets on UDP 8285,
 * both ways, each with its TTL lowered by one (flannel, pkg/backend/udp/proxy_amd64.c). Runs in a
 * network namespace of a test.
 *
 * @module
 */
import { createSocket } from "node:dgram";

const PORT = 8285;
const TTL_AT = 8;
const CHECKSUM_AT = 10;
const ICMP_AT = 20;
const ECHO_REQUEST = 8;
const IPPROTO_ICMP = 1;

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** The answer that the host behind a flannel node gives to an echo request; undefined: none. */
function answerTo(request: Buffer): Buffer | undefined {
  // Only whole IPv4 packets without a mark: the C loop knows nothing else.
  if (request[0] !== 0x45 || request.readUInt16BE(2) !== request.length) return undefined;
  if (request[9] !== IPPROTO_ICMP || request[ICMP_AT] !== ECHO_REQUEST) return undefined;
  const answer = Buffer.from(request);
  request.copy(answer, 12, 16, 20);
  request.copy(answer, 16, 12, 16);
  answer[ICMP_AT] = 0;
  answer[TTL_AT] = 63;
  answer.writeUInt16BE(0, ICMP_AT + 2);
  answer.writeUInt16BE(checksum(answer.subarray(ICMP_AT)), ICMP_AT + 2);
  answer.writeUInt16BE(0, CHECKSUM_AT);
  answer.writeUInt16BE(checksum(answer.subarray(0, ICMP_AT)), CHECKSUM_AT);
  return answer;
}

const socket = createSocket("udp4");
socket.on("message", (request, { address, port }) => {
  const answer = answerTo(request);
  if (answer !== undefined) socket.send(answer, port, address);
});
socket.bind(PORT, () => process.stdout.write("listening\n"));
