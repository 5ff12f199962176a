/**
 * Load that comes all at once: many writes or reads on one node, many keys that run out together.
 *
 * @module
 */
import type { Clients } from "./clients.ts";
import type { Fault } from "./nemesis.ts";
import type { TtlKeys } from "./ttl-keys.ts";

export const LOAD_FAULT_NAMES: readonly string[] = [
  ...["load.write-burst", "load.read-burst", "load.expiry-storm"],
];

/** The bursts of one simulation. */
export function loadFaults(clients: Clients, ttlKeys: TtlKeys): readonly Fault[] {
  return [
    {
      name: "load.write-burst",
      start(nemesis) {
        const node = nemesis.target(nemesis.world.upNodes());
        if (node === undefined) return false;
        clients.burst(node, "put", nemesis.random.integer(10, 60));
        return true;
      },
    },
    {
      name: "load.read-burst",
      start(nemesis) {
        const node = nemesis.target(nemesis.world.upNodes());
        if (node === undefined) return false;
        clients.burst(node, "get", nemesis.random.integer(5, 30));
        return true;
      },
    },
    { name: "load.expiry-storm", start: () => ttlKeys.storm() },
  ];
}
