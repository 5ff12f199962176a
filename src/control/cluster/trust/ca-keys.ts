/**
 * Getting the keys of the cluster's CAs to those who may need them: voters and standbys.
 *
 * Every one of them can become leader, and the leader lets nodes in. A key travels from member to
 * member over mutual TLS and lies in a file of mode 0600: never in the log, in a snapshot or in a
 * log line. The key of a CA that is not trusted any more is forgotten.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { HostError } from "../../../base/host-error.ts";
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import type { PlainRecord } from "../codec/codec.ts";
import type { Driver } from "../driver.ts";
import { isMember } from "../members/conf-state.ts";
import type { CallAnswer, Transport } from "../transport/peer-port.ts";
import { isKeyOf, pinOf, splitPem } from "./certificate.ts";
import type { Credentials } from "./credentials.ts";
import type { CertifiedKey } from "./pki.ts";

const TRY_INTERVAL_MS = 2_000;
const CALL_TIMEOUT_MS = 2_000;

export interface CaKeyOptions {
  readonly driver: Driver;
  readonly transport: Transport;
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly log: Log;
  /** PEM, one after the other; those that this node has. */
  readonly keys: string | undefined;
  /** Keeps the keys (PEM) for good, in the place of those kept before. */
  readonly save: (keys: string) => Promise<void>;
}

/** This node's copies of the CAs' keys; fetches the one that signs when it has none. */
export class CaKeys {
  readonly #options: CaKeyOptions;
  readonly #cancelTries: () => void;
  #keys: readonly string[];
  /** Which of the keys is a CA's, where that was looked for: it takes reading all of them. */
  #found = new WeakMap<X509Certificate, { readonly key: string | undefined }>();
  #isFetching = false;

  constructor(options: CaKeyOptions) {
    this.#options = options;
    this.#keys = splitPem(options.keys ?? "");
    this.#cancelTries = options.clock.every(TRY_INTERVAL_MS, () => this.poke());
  }

  /** What to sign with: the newest CA whose key is here. */
  get signer(): CertifiedKey | undefined {
    for (const ca of this.#options.credentials.authorities) {
      const key = this.#keyOf(ca);
      if (key !== undefined) return { certificate: ca.toString(), key };
    }
    return undefined;
  }

  /** Whether the key of the CA that signs now is here. */
  get isComplete(): boolean {
    return this.#keyOf(this.#options.credentials.authorities[0]) !== undefined;
  }

  /** The answer for `from`, another member, that wants the key of the CA with the pin in `body`. */
  serve(from: NodeId, body: PlainRecord): CallAnswer {
    const { driver, credentials } = this.#options;
    if (!isMember(driver.confState, from)) {
      return err({ reason: "not_entitled", detail: "only voters and standbys get the CA's key" });
    }
    // A version that knew one CA only names none.
    const wanted = body["p"] ?? pinOf(credentials.authorities[0]!);
    const key = this.#keyOf(credentials.authorities.find((ca) => pinOf(ca) === wanted));
    if (key === undefined) return err({ reason: "absent", detail: "not fetched yet" });
    return ok({ key });
  }

  /** Fetches the key that signs when this node should have it and has not. */
  poke(): void {
    const { driver } = this.#options;
    const { leader } = driver.role;
    if (this.#isFetching || this.isComplete || leader === undefined) return;
    if (!isMember(driver.confState, driver.nodeId)) return;
    // A leader without the key asks the other voters; everybody else asks the leader.
    const others = driver.confState.voters.filter((id) => id !== driver.nodeId);
    this.#isFetching = true;
    void this.#fetch(leader === driver.nodeId ? others : [leader]).finally(() => {
      this.#isFetching = false;
    });
  }

  /** Forgets the keys of all CAs but `authorities`. False: the disk does not take it now. */
  async keepOnly(authorities: readonly X509Certificate[]): Promise<boolean> {
    const needed = this.#keys.filter((key) => authorities.some((ca) => isKeyOf(key, ca)));
    return needed.length === this.#keys.length || this.#keep(needed);
  }

  /** Takes in a key that was made here. False: it cannot be kept. */
  async add(key: string): Promise<boolean> {
    return this.#keep([...this.#keys, key]);
  }

  stop(): void {
    this.#cancelTries();
  }

  async #fetch(targets: readonly NodeId[]): Promise<void> {
    const { transport, log, credentials } = this.#options;
    for (const target of targets) {
      const ca = credentials.authorities[0]!;
      const call = { target, method: "ca_key", timeoutMs: CALL_TIMEOUT_MS } as const;
      const result = await transport.call({ ...call, body: { p: pinOf(ca) } });
      const key = result.ok ? result.value["key"] : undefined;
      if (typeof key !== "string") continue;
      if (!isKeyOf(key, ca)) {
        log.warn("a member sent a key that is not the CA's", { member: formatNodeId(target) });
        continue;
      }
      if (await this.#keep([...this.#keys, key])) log.debug("the CA's key was fetched");
      return;
    }
  }

  async #keep(keys: readonly string[]): Promise<boolean> {
    const { log, save } = this.#options;
    try {
      await save(keys.join(""));
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      // This node works without it; another try follows.
      log.warn("cannot keep the CA's key", { reason: error.message });
      return false;
    }
    this.#keys = keys;
    this.#found = new WeakMap();
    return true;
  }

  #keyOf(ca: X509Certificate | undefined): string | undefined {
    if (ca === undefined) return undefined;
    const known = this.#found.get(ca) ?? { key: this.#keys.find((key) => isKeyOf(key, ca)) };
    this.#found.set(ca, known);
    return known.key;
  }
}
