/**
 * Both ends of a TCP transfer whose bytes are checked, as a program to be run in a namespace.
 *
 *   bun tcp-peer.ts serve <port>                     reads one connection to its end, answers with
 *                                                    the count and the SHA-256 of what came
 *   bun tcp-peer.ts send <address> <port> <bytes>    sends that many bytes that no compression or
 *                                                    repetition can fake, prints whether both agree
 *
 * @module
 */
import { createHash } from "node:crypto";
import { connect, createServer } from "node:net";

const CHUNK_SIZE = 65_536;

/** The `index`th chunk of the stream: the same on every run, different at every place. */
function chunkAt(index: number, size: number): Buffer {
  let state = (index + 1) * 0x9e3779b1;
  const words = new Uint32Array(CHUNK_SIZE / 4);
  for (let at = 0; at < words.length; at++) {
    // xorshift32: cheap, and no two chunks are alike.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return Buffer.from(words.buffer, 0, size);
}

function serve(port: number): void {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash("sha256");
    let count = 0;
    socket.on("data", (chunk) => {
      hash.update(chunk);
      count += chunk.length;
    });
    socket.on("end", () => socket.end(`${count} ${hash.digest("hex")}`, () => server.close()));
  });
  server.listen(port, "0.0.0.0");
}

function send(address: string, port: number, total: number): void {
  const hash = createHash("sha256");
  let index = 0;
  let sent = 0;
  let answer = "";
  const socket = connect({ host: address, port, allowHalfOpen: true });
  const pump = () => {
    while (sent < total) {
      const chunk = chunkAt(index++, Math.min(CHUNK_SIZE, total - sent));
      hash.update(chunk);
      sent += chunk.length;
      if (!socket.write(chunk)) return;
    }
    socket.end();
  };
  socket.on("connect", pump);
  socket.on("drain", pump);
  socket.on("data", (chunk) => {
    answer += chunk.toString();
  });
  socket.on("end", () => {
    const wanted = `${total} ${hash.digest("hex")}`;
    console.log(answer === wanted ? `intact ${total}` : `damaged: sent ${wanted}, got ${answer}`);
    process.exit(answer === wanted ? 0 : 1);
  });
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "serve") serve(Number(rest[0]));
else if (mode === "send") send(rest[0] ?? "", Number(rest[1]), Number(rest[2]));
else throw new Error("Usage: tcp-peer.ts serve <port> | send <address> <port> <bytes>");
