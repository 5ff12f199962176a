/**
 * The cluster port: one TLS 1.3 listener, three protocols told apart by ALPN.
 *
 *     overlay-peer/1   members among themselves; both sides show certificates
 *     overlay-join/1   a node that wants in; only this side shows one
 *     http/1.1, none   curl of a machine that is to become a node, scanners (hand-out.ts)
 *
 * The chain that is shown holds the CA, so that a joining node can check its pin against it.
 *
 * @module
 */
import type { Socket } from "node:net";
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from "node:tls";
import { HostError } from "../../../base/host-error.ts";
import type { Credentials } from "../trust/credentials.ts";
import type { HostPort } from "../types.ts";
import { formatHostPort } from "./host-port.ts";
import type { PeerCounters } from "./peer-counters.ts";
import { PEER_PROTOCOL } from "./peer-link.ts";

/** ALPN of a node that asks to be let in. */
export const JOIN_PROTOCOL = "overlay-join/1";
const HTTP_PROTOCOL = "http/1.1";

/** From the first byte to the end of the handshake; a stalled one holds memory and a descriptor. */
const HANDSHAKE_TIMEOUT_MS = 5_000;
/** Connections of all kinds; a thousand members and as many strangers fit. */
const CONNECTION_COUNT_MAX = 4_096;

export interface ListenerOptions {
  readonly listen: HostPort;
  readonly credentials: Credentials;
  readonly counters: PeerCounters;
  readonly onPeer: (socket: TLSSocket) => void;
  readonly onJoin: (socket: TLSSocket) => void;
  readonly onHttp: (socket: TLSSocket) => void;
}

/** The open port. */
export interface Listener {
  readonly port: number;
  /** Accepts no more; resolves when the port is free. Connections handed over stay. */
  close(): Promise<void>;
}

/** Opens the cluster port. Throws `HostError` when it is taken or not allowed. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const { credentials, listen, counters } = options;
  const server = createServer({
    ...contextOf(credentials),
    requestCert: true,
    // A joining node has no certificate yet; the intake judges those of peers.
    rejectUnauthorized: false,
    ALPNProtocols: [PEER_PROTOCOL, JOIN_PROTOCOL, HTTP_PROTOCOL],
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  server.maxConnections = CONNECTION_COUNT_MAX;
  server.on("tlsClientError", (_error: Error, socket: Socket) => {
    counters.handshakesFailed += 1;
    socket.destroy();
  });
  server.on("secureConnection", (socket) => dispatch(socket, options));
  await listenOn(server, listen);
  // Handshakes from now on show the new certificate; connections that are open go on.
  const undo = credentials.onChange(() => server.setSecureContext(contextOf(credentials)));
  // From now on an error concerns one connection, not the port.
  server.on("error", () => {
    counters.acceptsFailed += 1;
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : listen.port;
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        undo();
        server.close(() => resolve());
      }),
  };
}

function contextOf({ keys, chain }: Credentials): SecureContextOptions {
  return { key: keys.key, cert: chain, ca: keys.ca, minVersion: "TLSv1.3" };
}

function dispatch(socket: TLSSocket, options: ListenerOptions): void {
  switch (socket.alpnProtocol) {
    case PEER_PROTOCOL:
      options.onPeer(socket);
      return;
    case JOIN_PROTOCOL:
      options.onJoin(socket);
      return;
    default:
      options.onHttp(socket);
  }
}

async function listenOn(server: Server, listen: HostPort): Promise<void> {
  try {
    await tryListen(server, listen);
  } catch (cause) {
    const isNoIpv6 = listen.host === "::" && errnoOf(cause) === "EAFNOSUPPORT";
    if (!isNoIpv6) throw listenError(listen, cause);
    // "::" means both families; a kernel without IPv6 still has the other.
    await tryListen(server, { host: "0.0.0.0", port: listen.port }).catch((second: unknown) => {
      throw listenError(listen, second);
    });
  }
}

function tryListen(server: Server, listen: HostPort): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: listen.host, port: listen.port }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function listenError(listen: HostPort, cause: unknown): HostError {
  const errno = errnoOf(cause);
  const next =
    errno === "EADDRINUSE"
      ? "stop the program that has it, or choose another port with --cluster-listen"
      : "choose another address with --cluster-listen";
  const detail = { operation: "listen on", object: `${formatHostPort(listen)} (TCP)`, next, cause };
  return new HostError(errno === undefined ? detail : { ...detail, errno });
}

function errnoOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error) || !("code" in cause)) return undefined;
  return typeof cause.code === "string" ? cause.code : undefined;
}
