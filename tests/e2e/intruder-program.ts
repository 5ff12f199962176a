/**
 * `bun intruder-program.ts <port> plain|tls|pipe|proxy <peer> [protocol …]`: accepts connections,
 * prints "connected" for each and everything it is sent, from either side.
 *
 * "plain" and "tls" answer like a web server that knows no overlay; "pipe" and "proxy" pass on to
 * the same port of the peer and back. "tls" and "proxy" make a key and a certificate of their own
 * first: what somebody in between has. The protocols are those it speaks by ALPN.
 *
 * @module
 */
import "reflect-metadata";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";
import { X509Certificate, X509CertificateGenerator } from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
const ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nhi";

/** Names to claim, and a certificate that anybody can have to show behind the own one. */
interface Claim {
  readonly subject: string;
  readonly issuer: string;
  /** PEM. */
  readonly behind: string;
}

const NO_CLAIM: Claim = { subject: "CN=overlay", issuer: "CN=overlay", behind: "" };

function greet(): void {
  console.log("connected");
}

function note(chunk: string | Buffer): void {
  console.log(JSON.stringify(chunk.toString("latin1")));
}

function talk(socket: Socket): void {
  socket.on("data", (chunk) => {
    note(chunk);
    socket.write(ANSWER);
  });
  socket.on("error", () => socket.destroy());
}

/** Passes on what comes from each of the two, and its end. */
function relay(near: Socket, far: Socket): void {
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    from.on("data", (chunk) => {
      note(chunk);
      to.write(chunk);
    });
    from.on("error", () => from.destroy());
    from.on("close", () => to.end());
  }
}

function connectPeer(protocols: string[]): TLSSocket {
  return connectTls({
    host: peer,
    port: Number(port),
    ALPNProtocols: protocols,
    rejectUnauthorized: false,
  });
}

/** What the peer shows to everybody. */
async function claimOfPeer(): Promise<Claim> {
  const socket = connectPeer(protocols);
  await once(socket, "secureConnect");
  const { raw, issuerCertificate } = socket.getPeerCertificate(true);
  socket.destroy();
  const { subject, issuer } = new X509Certificate(new Uint8Array(raw));
  const behind = new X509Certificate(new Uint8Array(issuerCertificate.raw)).toString("pem");
  return { subject, issuer, behind };
}

async function ownCertificate(claim: Claim): Promise<{ key: string; cert: string }> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.create({
    subject: claim.subject,
    issuer: claim.issuer,
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const lines = pkcs8.toString("base64").replaceAll(/.{64}/g, "$&\n");
  const key = `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
  return { key, cert: `${certificate.toString("pem")}\n${claim.behind}` };
}

async function listenTls(claim: Claim, serve: (socket: TLSSocket) => void): Promise<void> {
  // It agrees to whatever protocol it is asked for, as who wants to be taken for the peer does.
  const options = {
    ...(await ownCertificate(claim)),
    minVersion: "TLSv1.3",
    ALPNProtocols: protocols,
  } as const;
  const server = createTlsServer(options, serve);
  server.on("connection", greet); // Also of a client that leaves before TLS is agreed on.
  server.listen(Number(port), "0.0.0.0");
}

function listen(serve: (socket: Socket) => void): void {
  createServer(serve).on("connection", greet).listen(Number(port), "0.0.0.0");
}

const [port, mode, peer = "", ...protocols] = process.argv.slice(2);
switch (mode) {
  case "tls":
    await listenTls(NO_CLAIM, talk);
    break;
  case "proxy":
    await listenTls(await claimOfPeer(), (socket) =>
      relay(socket, connectPeer([socket.alpnProtocol || "http/1.1"])),
    );
    break;
  case "pipe":
    listen((socket) => relay(socket, connect(Number(port), peer)));
    break;
  default:
    listen(talk);
}
