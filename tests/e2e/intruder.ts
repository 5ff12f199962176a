/**
 * Somebody on the port where a peer is expected, or on the way to it: answers or passes on, and
 * writes down all that it is told.
 *
 * @module
 */
import { join } from "node:path";
import type { Namespace } from "../lab/namespace.ts";

/** Ends when it is disposed of. */
export interface Intruder extends AsyncDisposable {
  /** What it was sent, a character for each byte, decrypted if TLS ended here. */
  received(): string;
  /** How many connections were made to it. */
  connections(): number;
}

/**
 * What it does. `plain`, `tls`: answers by itself, in TLS with a certificate of its own making.
 * `pipe`: passes bytes on to a peer as they are. `proxy`: ends TLS with a certificate of its own
 * that says what the peer's says, shows the peer's CA behind it, and passes on what is in it.
 */
export type IntruderMode = "plain" | "tls" | "pipe" | "proxy";

export interface IntruderOptions {
  readonly port: number;
  readonly mode: IntruderMode;
  /** The address of the real peer; its port is the same. */
  readonly peer?: string;
}

/** What nodes ask for by ALPN on the cluster port: who wants to be taken for one offers them. */
const PROTOCOLS = ["overlay-join/1", "overlay-peer/1", "http/1.1"];
const PROGRAM = join(import.meta.dir, "intruder-program.ts");

/** Starts one in a namespace. */
export async function startIntruder(
  namespace: Namespace,
  { port, mode, peer = "" }: IntruderOptions,
): Promise<Intruder> {
  const words = [String(port), mode, peer, ...PROTOCOLS];
  const child = namespace.start([process.execPath, PROGRAM, ...words]);
  await child.waitListening(port);
  const lines = () => child.output().split("\n");
  return {
    received: () =>
      lines()
        .filter((line) => line.startsWith('"'))
        .map((line) => String(JSON.parse(line)))
        .join(""),
    connections: () => lines().filter((line) => line === "connected").length,
    [Symbol.asyncDispose]: async () => child.kill(),
  };
}
