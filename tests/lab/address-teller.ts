/**
 * A TCP server that tells each client the address it came from, and closes: shows what was
 * rewritten on the way.
 *
 *   bun address-teller.ts <port>
 *
 * @module
 */
import { join } from "node:path";
import type { LabProcess } from "./process.ts";

/** How to start it; any namespace has the port free. */
export function tellerCommand(port: number): string[] {
  return [process.execPath, join(import.meta.dir, "address-teller.ts"), String(port)];
}

/** What can start programs and wait for them: a namespace, or a container. */
export interface TellerPlace {
  start(command: readonly string[]): LabProcess;
}

/** Starts one and waits until it listens. */
export async function startTeller(place: TellerPlace, port = 7): Promise<LabProcess> {
  const teller = place.start(tellerCommand(port));
  await teller.waitListening(port);
  return teller;
}

if (import.meta.main) {
  Bun.listen({
    hostname: "0.0.0.0",
    port: Number(process.argv[2]),
    socket: {
      open: (socket) => void socket.end(`${socket.remoteAddress}\n`),
      data: () => undefined,
    },
  });
}
