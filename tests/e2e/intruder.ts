/**
 * Somebody on the port where a peer is expected: answers, and writes down all that it is told.
 *
 * @module
 */
import { join } from "node:path";
import type { Namespace } from "../lab/namespace.ts";

export interface Intruder {
  /** What it was sent, decrypted if it spoke TLS. */
  received(): string;
  /** How many connections were made to it. */
  connections(): number;
  stop(): Promise<void>;
}

/** What nodes ask for by ALPN on the cluster port: who wants to be taken for one offers them. */
const PROTOCOLS = ["overlay-join/1", "overlay/1"];
const PROGRAM = join(import.meta.dir, "intruder-program.ts");

/** Starts one in a namespace: with TLS and a certificate of its own, or with plain words. */
export async function startIntruder(
  namespace: Namespace,
  options: { readonly port: number; readonly tls: boolean },
): Promise<Intruder> {
  const words = options.tls ? ["tls", ...PROTOCOLS] : ["plain"];
  const child = namespace.start([process.execPath, PROGRAM, String(options.port), ...words]);
  await child.waitListening(options.port);
  return {
    received: () => child.output(),
    connections: () => child.output().split("connected\n").length - 1,
    stop: async () => child.kill(),
  };
}
