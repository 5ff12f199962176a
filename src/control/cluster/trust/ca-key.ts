/**
 * Getting the key of the cluster's CA to those who may need it: voters and standbys.
 *
 * Every one of them can become leader, and the leader lets nodes in. The key travels from member
 * to member over mutual TLS and lies in a file of mode 0600: never in the log, in a snapshot or in
 * a log line.
 *
 * @module
 */
import { HostError } from "../../../base/host-error.ts";
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import type { Driver } from "../driver.ts";
import { isMember } from "../members/conf-state.ts";
import type { CallAnswer, Transport } from "../transport/peer-port.ts";
import { isKeyOf, parseCertificate } from "./certificate.ts";

const TRY_INTERVAL_MS = 2_000;
const CALL_TIMEOUT_MS = 2_000;

export interface CaKeyOptions {
  readonly driver: Driver;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly log: Log;
  /** PEM. */
  readonly ca: string;
  readonly key: string | undefined;
  /** Keeps the key for good. */
  readonly save: (key: string) => Promise<void>;
}

/** This node's copy of the CA's key, fetched when it has none. */
export class CaKey {
  readonly #options: CaKeyOptions;
  #key: string | undefined;
  #isFetching = false;
  #cancelTries: (() => void) | undefined;

  constructor(options: CaKeyOptions) {
    this.#options = options;
    this.#key = options.key;
    if (this.#key !== undefined) return;
    this.#cancelTries = options.clock.every(TRY_INTERVAL_MS, () => this.poke());
  }

  /** PEM; undefined while it is being fetched. */
  get key(): string | undefined {
    return this.#key;
  }

  /** The answer for `from`, another member. */
  serve(from: NodeId): CallAnswer {
    if (!isMember(this.#options.driver.confState, from)) {
      return err({ reason: "not_entitled", detail: "only voters and standbys get the CA's key" });
    }
    if (this.#key === undefined) return err({ reason: "absent", detail: "not fetched yet" });
    return ok({ key: this.#key });
  }

  /** Fetches the key when this node should have it and has not. */
  poke(): void {
    const { driver } = this.#options;
    const { leader } = driver.role;
    if (this.#key !== undefined || this.#isFetching) return;
    if (leader === undefined || !isMember(driver.confState, driver.nodeId)) return;
    // A leader without the key asks the other voters; everybody else asks the leader.
    const others = driver.confState.voters.filter((id) => id !== driver.nodeId);
    const targets = leader === driver.nodeId ? others : [leader];
    this.#isFetching = true;
    void this.#fetch(targets).finally(() => {
      this.#isFetching = false;
    });
  }

  stop(): void {
    this.#cancelTries?.();
    this.#cancelTries = undefined;
  }

  async #fetch(targets: readonly NodeId[]): Promise<void> {
    const { transport, log, ca, save } = this.#options;
    for (const target of targets) {
      const call = { target, method: "ca_key", body: {}, timeoutMs: CALL_TIMEOUT_MS } as const;
      const result = await transport.call(call);
      const key = result.ok ? result.value["key"] : undefined;
      const certificate = parseCertificate(ca);
      if (typeof key !== "string" || certificate === undefined) continue;
      if (!isKeyOf(key, certificate)) {
        log.warn("a member sent a key that is not the CA's", { member: formatNodeId(target) });
        continue;
      }
      try {
        await save(key);
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
        // This node works without it; another try follows.
        log.warn("cannot keep the CA's key", { reason: error.message });
        return;
      }
      this.#key = key;
      this.stop();
      log.debug("the CA's key was fetched");
      return;
    }
  }
}
