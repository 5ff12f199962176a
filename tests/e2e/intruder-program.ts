/**
 * `bun intruder-program.ts <port> tls|plain [protocol …]`: accepts connections, prints "connected"
 * for each and everything it is sent, and answers like a web server that knows no overlay.
 *
 * With "tls" it makes a key and a certificate of its own first: what somebody in between has. The
 * protocols are those it speaks by ALPN.
 *
 * @module
 */
import "reflect-metadata";
import { createServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { X509CertificateGenerator } from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
const ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nhi";

function greet(): void {
  console.log("connected");
}

function talk(socket: Socket): void {
  socket.on("data", (chunk) => {
    console.log(JSON.stringify(chunk.toString("latin1")));
    socket.write(ANSWER);
  });
  socket.on("error", () => socket.destroy());
}

async function ownCertificate(): Promise<{ key: string; cert: string }> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: "CN=overlay",
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const lines = pkcs8.toString("base64").replaceAll(/.{64}/g, "$&\n");
  const key = `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
  return { key, cert: certificate.toString("pem") };
}

const [port, mode, ...protocols] = process.argv.slice(2);
if (mode === "tls") {
  // It agrees to whatever protocol it is asked for, as who wants to be taken for the peer does.
  const options = {
    ...(await ownCertificate()),
    minVersion: "TLSv1.3",
    ALPNProtocols: protocols,
  } as const;
  const server = createTlsServer(options, talk);
  server.on("connection", greet); // Also of a client that leaves before TLS is agreed on.
  server.listen(Number(port), "0.0.0.0");
} else {
  createServer(talk).on("connection", greet).listen(Number(port), "0.0.0.0");
}
