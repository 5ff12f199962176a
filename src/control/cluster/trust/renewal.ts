/**
 * Keeps this node's certificate fresh: a new one after 50 to 80 % of its life, or at once when the
 * CA that signs is another one.
 *
 * The new certificate is for the same key, so it needs no request: the member that signs is shown
 * the present one over a connection that has proved the key. The point in the life follows from
 * the certificate's random serial number: nodes that were let in together do not come together,
 * and a restart changes nothing. Connections that are open go on; new ones show the new one.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { HostError } from "../../../base/host-error.ts";
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import type { PlainRecord } from "../codec/codec.ts";
import type { Driver } from "../driver.ts";
import { Errand } from "../errand.ts";
import { memberIds } from "../members/conf-state.ts";
import { findMember, listMembers } from "../members/member-table.ts";
import { MEMBERS_PREFIX } from "../members/system-record.ts";
import type { CallAnswer, Transport } from "../transport/peer-port.ts";
import { findCertificate, putCertificate } from "./authorities.ts";
import type { CaKeys } from "./ca-keys.ts";
import {
  isIssuedBy,
  isKeyOf,
  judgeChain,
  keyHashOf,
  nodeOf,
  parseCertificate,
  pinOf,
} from "./certificate.ts";
import type { Credentials } from "./credentials.ts";
import { BACKDATE_MS, signAgain } from "./pki.ts";

const RENEW_AFTER_FRACTION = 0.5;
const RENEW_SPREAD_FRACTION = 0.3;
/** Members that are asked in one go. */
const ASKED_MAX = 3;
/** After a go that led to nothing. */
const RETRY_MS = 30_000;
const CALL_TIMEOUT_MS = 5_000;
/** A new CA makes all nodes renew: so much for each of them, spread evenly (5 ms to sign). */
const SPREAD_PER_MEMBER_MS = 20;

export interface RenewalOptions {
  readonly driver: Driver;
  readonly transport: Transport;
  readonly credentials: Credentials;
  readonly caKeys: CaKeys;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Keeps the certificate (PEM) for good. Throws `HostError`. */
  readonly save: (certificate: string) => Promise<void>;
}

/** The keeper of this node's certificate, and the one who renews those of others. */
export class Renewal {
  readonly #options: RenewalOptions;
  readonly #work: Errand;
  #isStopped = false;
  #cancelSpread: (() => void) | undefined;

  constructor(options: RenewalOptions) {
    this.#options = options;
    const { clock } = options;
    this.#work = new Errand({ clock, retryMs: RETRY_MS, run: () => this.#step() });
  }

  /** When the certificate is to be renewed, wall time; earlier when the CA is another one. */
  get dueMs(): number {
    return renewAtMs(this.#options.credentials.certificate);
  }

  /** The CA that signs is another one: renews within a time that grows with the cluster. */
  authoritiesChanged(): void {
    const { clock, random, driver } = this.#options;
    if (this.#cancelSpread !== undefined || this.#isStopped) return;
    const spreadMs = SPREAD_PER_MEMBER_MS * listMembers(driver.reader).length + 1;
    this.#cancelSpread = clock.after(random.below(spreadMs), () => {
      this.#cancelSpread = undefined;
      this.look();
    });
  }

  /** Does what is due; to be called at intervals and when a leader was found. */
  look(): void {
    if (this.#cancelSpread === undefined) this.#work.ask();
  }

  stop(): void {
    this.#isStopped = true;
    this.#work.stop();
    this.#cancelSpread?.();
  }

  /** A new certificate for `from`, whose present one is in `body`. */
  async serve(from: NodeId, body: PlainRecord): Promise<CallAnswer> {
    const { driver, caKeys, clock, random, log } = this.#options;
    const ca = caKeys.signer;
    if (ca === undefined) return err({ reason: "absent", detail: "no key of the CA here yet" });
    const text = body["c"];
    const certificate = typeof text === "string" ? parseCertificate(text) : undefined;
    const known = findMember(driver.reader, from);
    // The key is the one that the node was let in with: nothing else in the request counts.
    if (certificate === undefined || known?.keyHash !== keyHashOf(certificate.toString())) {
      return err({ reason: "not_entitled", detail: "the certificate is not that of the member" });
    }
    const signed = await signAgain({ certificate, nodeId: from, ca, clock, random });
    log.debug("certificate renewed", { member: formatNodeId(from) });
    return ok({ c: signed });
  }

  /** False: it is still due, or the others could not be told. */
  async #step(): Promise<boolean> {
    if (this.#isDue()) await this.#renew();
    return (await this.#tell()) && !this.#isDue();
  }

  #isDue(): boolean {
    const { credentials, clock } = this.#options;
    return clock.wallMs() >= this.dueMs || !this.#isOfSigner(credentials.certificate);
  }

  async #renew(): Promise<void> {
    const { credentials, clock, log, save } = this.#options;
    const before = credentials.certificate;
    const next = await this.#obtain();
    const certificate = next === undefined ? undefined : parseCertificate(next);
    if (next === undefined || certificate === undefined || this.#isStopped) return;
    // A member that has not the newest CA's key yet signs with another: good enough if it is time.
    if (!this.#isOfSigner(certificate) && clock.wallMs() < renewAtMs(before)) return;
    if (!this.#isGood(certificate)) {
      log.warn("a member sent a certificate that is not good for this node");
      return;
    }
    try {
      await save(next);
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      log.warn("the new certificate cannot be kept", { reason: cause.message });
      return;
    }
    credentials.replace({ certificate: next });
    log.info("certificate renewed", { until: certificate.validTo });
  }

  /** A new certificate (PEM), made here or by another member. */
  async #obtain(): Promise<string | undefined> {
    const { driver, transport, credentials, caKeys, clock, random } = this.#options;
    const { certificate, keys } = credentials;
    const nodeId = driver.nodeId;
    const isListed = findMember(driver.reader, nodeId) !== undefined;
    if (!isListed) return undefined;
    const ca = caKeys.signer;
    if (ca !== undefined && caKeys.isComplete) {
      return signAgain({ certificate, nodeId, ca, clock, random });
    }
    const { leader } = driver.role;
    const members = memberIds(driver.confState).filter((id) => id !== leader);
    const targets = [...(leader === undefined ? [] : [leader]), ...members];
    for (const target of targets.filter((id) => id !== nodeId).slice(0, ASKED_MAX)) {
      const body = { c: keys.certificate };
      const call = { target, method: "renew", body, timeoutMs: CALL_TIMEOUT_MS } as const;
      const result = await transport.call(call);
      const answer = result.ok ? result.value["c"] : undefined;
      if (typeof answer === "string") return answer;
    }
    return undefined;
  }

  #isOfSigner(certificate: X509Certificate): boolean {
    return isIssuedBy(this.#options.credentials.authorities[0]!, certificate);
  }

  #isGood(certificate: X509Certificate): boolean {
    const { driver, credentials, clock } = this.#options;
    const { authorities, keys } = credentials;
    const judged = judgeChain([certificate], authorities, clock.wallMs());
    return judged.ok && judged.value === driver.nodeId && isKeyOf(keys.key, certificate);
  }

  /**
   * Tells the others which certificate this node shows: a CA is dropped when nobody needs it.
   * False: it could not be written now.
   */
  async #tell(): Promise<boolean> {
    const { driver, credentials } = this.#options;
    const { nodeId, reader } = driver;
    const { certificate, authorities } = credentials;
    const issuer = authorities.find((ca) => isIssuedBy(ca, certificate));
    const node = nodeOf(certificate);
    if (issuer === undefined || node !== nodeId || this.#isStopped) return true;
    if (findMember(reader, nodeId) === undefined || driver.role.leader === undefined) return true;
    const shown = { issuer: pinOf(issuer), expiresAtMs: Date.parse(certificate.validTo) };
    const known = findCertificate(reader, nodeId);
    if (known?.issuer === shown.issuer && known.expiresAtMs === shown.expiresAtMs) return true;
    const memberKey = `${MEMBERS_PREFIX}${formatNodeId(nodeId)}`;
    return (await driver.execute(putCertificate(nodeId, shown, memberKey))).ok;
  }
}

/** When `certificate` is to be renewed: between 50 and 80 % of its life, by its serial number. */
export function renewAtMs(certificate: X509Certificate): number {
  const beginMs = Date.parse(certificate.validFrom) + BACKDATE_MS;
  const lifeMs = Date.parse(certificate.validTo) - beginMs;
  // The last eight digits of the serial number, which is random.
  const spread = Number(`0x${certificate.serialNumber.slice(-8)}`) / 2 ** 32;
  return beginMs + lifeMs * (RENEW_AFTER_FRACTION + RENEW_SPREAD_FRACTION * spread);
}
