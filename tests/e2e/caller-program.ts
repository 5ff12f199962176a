/**
 * `bun caller-program.ts <host> <port>`: opens a connection of the members' protocol and prints
 * what comes back, in base 64, once the other side has answered or closed.
 *
 * Standard input says with what: JSON with `key` and `certificate` (PEM, or both absent) and what
 * to send first, `data` (base 64).
 *
 * @module
 */
import { connect } from "node:tls";
import { PEER_PROTOCOL } from "../../src/control/cluster/transport/peer-link.ts";

interface Call {
  readonly key?: string;
  readonly certificate?: string;
  readonly data: string;
}

const [host, port] = process.argv.slice(2);
const call = JSON.parse(await Bun.stdin.text()) as Call;
const socket = connect({
  host,
  port: Number(port),
  ...(call.key === undefined ? {} : { key: call.key, cert: call.certificate }),
  rejectUnauthorized: false,
  ALPNProtocols: [PEER_PROTOCOL],
});
const chunks: Buffer[] = [];
socket.on("secureConnect", () => socket.write(Buffer.from(call.data, "base64")));
socket.on("data", (chunk: Buffer) => {
  chunks.push(chunk);
  socket.end(); // What we ask for is answered in one record.
});
socket.on("error", () => socket.destroy());
socket.on("close", () => console.log(Buffer.concat(chunks).toString("base64")));
