/**
 * What the state machine does with each command of the network.
 *
 * @module
 */
import { handler } from "../kv/state-machine.ts";
import type { CommandHandler } from "../kv/types.ts";
import { applyPutConfig } from "./apply-config.ts";
import { applyImport } from "./apply-import.ts";
import { applyAcquire, applyExpire, applyRelease, applyRenew } from "./apply-leases.ts";
import { applyReserve, applyUnreserve } from "./apply-reservations.ts";
import type { NetworkCommand } from "./commands.ts";
import { commandParsers } from "./parse-command.ts";

/** Handlers by command kind, for `createStateMachine`. */
export const networkHandlers = {
  put_config: handler(commandParsers.put_config, applyPutConfig),
  acquire_lease: handler(commandParsers.acquire_lease, applyAcquire),
  renew_leases: handler(commandParsers.renew_leases, applyRenew),
  release_lease: handler(commandParsers.release_lease, applyRelease),
  expire_leases: handler(commandParsers.expire_leases, applyExpire),
  reserve_subnet: handler(commandParsers.reserve_subnet, applyReserve),
  unreserve_subnet: handler(commandParsers.unreserve_subnet, applyUnreserve),
  import_network: handler(commandParsers.import_network, applyImport),
} satisfies Readonly<Record<NetworkCommand["kind"], CommandHandler>>;
