/**
 * Everything about certificates while the cluster runs, put together: which CAs are trusted, this
 * node's own certificate, the CAs' keys, and the change of the CA.
 *
 * @module
 */
import { HostError } from "../../../base/host-error.ts";
import type { NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import type { KvEvent } from "../../kv/types.ts";
import type { PlainRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import type { Driver } from "../driver.ts";
import type { CallAnswer, CallMethod, Transport } from "../transport/peer-port.ts";
import {
  type Authorities,
  bundleOf,
  isAboutTrust,
  listCertificates,
  readAuthorities,
} from "./authorities.ts";
import { CaKeys } from "./ca-keys.ts";
import { isIssuedBy, parseBundle, pinOf } from "./certificate.ts";
import type { Credentials } from "./credentials.ts";
import type { Identity, IdentityStore, JoinGrant } from "./identity.ts";
import { BACKDATE_MS } from "./pki.ts";
import { Renewal } from "./renewal.ts";
import { Rotation, type RotationFailure } from "./rotation.ts";

/** Certificates live for weeks: a minute is soon enough to see what is due. */
const LOOK_MS = 60_000;
const ROTATE_TIMEOUT_MS = 10_000;

export interface TrustOptions {
  readonly identity: Identity;
  readonly identityStore: IdentityStore;
  readonly credentials: Credentials;
  readonly driver: Driver;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** One of the cluster's CAs. Times are wall time. */
export interface AuthorityStatus {
  /** As in tokens. */
  readonly pin: string;
  readonly isSigning: boolean;
  readonly expiresAtMs: number;
}

/** The certificate of a member, as it said. */
export interface MemberCertificate {
  readonly node: NodeId;
  /** Pin of the CA that made it. */
  readonly issuer: string;
  readonly expiresAtMs: number;
}

/** Certificates as this node sees them. */
export interface TrustStatus {
  /** The one that signs first. */
  readonly authorities: readonly AuthorityStatus[];
  /** When the CAs that do not sign are dropped at the latest; undefined: there are none. */
  readonly dropAtMs: number | undefined;
  /** Members whose certificate is not of the CA that signs. */
  readonly waiting: readonly NodeId[];
  readonly members: readonly MemberCertificate[];
  /** Of this node. */
  readonly expiresAtMs: number;
  readonly renewsAtMs: number;
  /** Whether the others refuse this node's certificate: it has to join again with a token. */
  readonly isOver: boolean;
}

/** The certificates' part of a running node. */
export class TrustKeeper {
  readonly #options: TrustOptions;
  readonly caKeys: CaKeys;
  readonly #renewal: Renewal;
  readonly #rotation: Rotation;
  readonly #cancelLooks: () => void;
  /** Writes to the disk follow each other. */
  #adopting: Promise<void> = Promise.resolve();

  constructor(options: TrustOptions) {
    const { identity, identityStore, credentials } = options;
    const { driver, transport, clock, random, log } = options;
    const { clusterId } = identity;
    this.#options = options;
    this.caKeys = new CaKeys({
      ...{ driver, transport, credentials, clock, log, keys: identity.keys.caKey },
      save: (keys) => identityStore.saveCaKeys(clusterId, keys),
    });
    const { caKeys } = this;
    this.#renewal = new Renewal({
      ...{ driver, transport, credentials, caKeys, clock, random, log },
      save: (certificate) => identityStore.saveCertificates(clusterId, { certificate }),
    });
    this.#rotation = new Rotation({
      ...{ clusterId, driver, credentials, caKeys, clock, random, log },
      save: (ca) => identityStore.saveCertificates(clusterId, { ca }),
    });
    this.#cancelLooks = clock.every(LOOK_MS, () => this.poke());
    this.#adopt();
  }

  /** The store changed. */
  applied(events: readonly KvEvent[]): void {
    if (!events.some(isAboutTrust)) return;
    this.#adopt();
    this.#rotation.look();
  }

  /** Does what is due: the time, the role or the members changed. */
  poke(): void {
    this.#adopt();
    this.caKeys.poke();
    this.#renewal.look();
    this.#rotation.look();
  }

  /** Answers another member's call. */
  async answer(from: NodeId, method: CallMethod, body: PlainRecord): Promise<CallAnswer> {
    switch (method) {
      case "ca_key":
        return this.caKeys.serve(from, body);
      case "renew":
        return this.#renewal.serve(from, body);
      case "rotate_ca": {
        const result = await this.#rotateFor(body);
        return result.ok ? ok({}) : err({ reason: result.error.kind, detail: result.error.detail });
      }
      default:
        return err({ reason: "unknown_method", detail: "update this node" });
    }
  }

  /**
   * Begins with a new CA, wherever the leader is; the old one is trusted for `withinMs` more. This
   * node trusts the new one when it has succeeded, unless the leader was lost meanwhile.
   */
  async rotate(withinMs: number): Promise<Result<void, RotationFailure>> {
    const result = await this.#order(withinMs);
    if (!result.ok) return result;
    await this.#options.driver.readBarrier();
    this.#adopt();
    await this.#adopting;
    return result;
  }

  async #order(withinMs: number): Promise<Result<void, RotationFailure>> {
    const { driver, transport } = this.#options;
    const { leader } = driver.role;
    if (leader === undefined) return err(NO_LEADER);
    if (leader === driver.nodeId) return this.#rotation.rotate(withinMs);
    const body = { w: Math.round(withinMs / 1000) };
    const call = { target: leader, method: "rotate_ca", timeoutMs: ROTATE_TIMEOUT_MS } as const;
    const result = await transport.call({ ...call, body });
    if (result.ok) return ok(undefined);
    if (result.error.kind !== "refused") return err(NO_ANSWER);
    return err({ kind: "rotation_refused", detail: result.error.detail });
  }

  /** Takes in what a join granted to this node, whose certificate was over. */
  async readmit(grant: JoinGrant): Promise<void> {
    const taken = this.#adopting.then(() => this.#takeIn(grant));
    this.#adopting = taken.catch(() => undefined);
    await taken;
    this.poke();
  }

  status(): TrustStatus {
    const { credentials, driver } = this.#options;
    const known = readAuthorities(driver.reader);
    const shown = [...listCertificates(driver.reader)];
    return {
      authorities: credentials.authorities.map((ca, position) => ({
        pin: pinOf(ca),
        isSigning: position === 0,
        expiresAtMs: Date.parse(ca.validTo),
      })),
      dropAtMs: known === undefined || known.retiring.length === 0 ? undefined : known.untilMs,
      waiting: this.#rotation.waiting(),
      members: shown.map(([node, certificate]) => ({ node, ...certificate })),
      expiresAtMs: Date.parse(credentials.certificate.validTo),
      renewsAtMs: this.#renewal.dueMs,
      isOver: credentials.isOver,
    };
  }

  stop(): void {
    this.#cancelLooks();
    this.caKeys.stop();
    this.#renewal.stop();
    this.#rotation.stop();
  }

  async #takeIn({ ca, certificate }: JoinGrant): Promise<void> {
    const { identity, identityStore, credentials, log } = this.#options;
    const { clusterId } = identity;
    // At every moment the CA of each certificate and each key is in the file, also in a crash.
    const both = ca + credentials.keys.ca;
    await identityStore.saveCertificates(clusterId, { ca: both, certificate });
    const isClean = await this.caKeys.keepOnly(parseBundle(ca) ?? []);
    if (isClean) await identityStore.saveCertificates(clusterId, { ca });
    credentials.replace({ ca, certificate });
    log.info("let in again, with a new certificate", {
      until: credentials.certificate.validTo,
    });
  }

  async #rotateFor(body: PlainRecord): Promise<Result<void, RotationFailure>> {
    const fields = new FieldReader(body);
    const withinSeconds = fields.counter("w");
    const { driver } = this.#options;
    if (!driver.isLeader()) return err(NO_LEADER);
    if (fields.failed) {
      const detail = "Cannot change the cluster's CA: malformed request; update both nodes";
      return err({ kind: "rotation_refused", detail });
    }
    return this.#rotation.rotate(withinSeconds * 1000);
  }

  /** Trusts what the store says, once that is on the disk. */
  #adopt(): void {
    this.#adopting = this.#adopting.then(() => this.#adoptNow());
  }

  async #adoptNow(): Promise<void> {
    const { identity, identityStore, credentials, driver, log } = this.#options;
    const known = readAuthorities(driver.reader);
    if (known === undefined || this.#isStale(known)) return;
    const bundle = bundleOf(known);
    if (bundle === credentials.keys.ca) return;
    const authorities = parseBundle(known.active + known.retiring.join("")) ?? [];
    // While its own certificate is of a CA that was dropped, the files stay whole with it.
    const own = credentials.authorities.find((ca) => isIssuedBy(ca, credentials.certificate));
    const isIn = own === undefined || authorities.some((ca) => pinOf(ca) === pinOf(own));
    try {
      if (!(await this.caKeys.keepOnly(isIn ? authorities : [...authorities, own]))) return;
      const ca = isIn ? bundle : `${bundle}${own.toString().trimEnd()}\n`;
      await identityStore.saveCertificates(identity.clusterId, { ca });
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      log.warn("the cluster's CAs cannot be kept", { reason: cause.message });
      return;
    }
    credentials.replace({ ca: bundle });
    this.caKeys.poke();
    this.#renewal.authoritiesChanged();
  }

  /**
   * Whether the store here is older than this node's certificate, which is of a CA that it does not
   * know: the node has just been let in again and has yet to catch up.
   */
  #isStale({ active, retiring, sinceMs }: Authorities): boolean {
    const { certificate } = this.#options.credentials;
    const isKnown = [active, ...retiring]
      .flatMap((pem) => parseBundle(pem) ?? [])
      .some((ca) => isIssuedBy(ca, certificate));
    return !isKnown && Date.parse(certificate.validFrom) + BACKDATE_MS > sinceMs;
  }
}

const NO_LEADER: RotationFailure = {
  kind: "no_leader",
  detail: "Cannot change the cluster's CA: there is no leader at the moment; try again",
};
const NO_ANSWER: RotationFailure = {
  kind: "timeout",
  detail:
    'Cannot change the cluster\'s CA: no answer in time; see "overlay ca" whether it has begun',
};
