/**
 * Changing the cluster's CA while it runs, on the leader.
 *
 *     new CA made, its key on the leader's disk --> record in the store: it signs, the old one is
 *     trusted beside it --> members fetch its key, nodes renew --> all have, or the time is up -->
 *     the old one leaves the record
 *
 * Old and new vouch for each other, and nodes show that: who knows only the old CA (a node that
 * was off meanwhile, a token that pins it) follows the chain to the new one and is let in, and who
 * knows only the new one can still reach a node that has not renewed.
 *
 * @module
 */
import type { ClusterId, NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import type { Driver } from "../driver.ts";
import { Errand } from "../errand.ts";
import { findMember, listMembers } from "../members/member-table.ts";
import type { ClusterFailure } from "../types.ts";
import {
  type Authorities,
  authoritiesRevision,
  deleteCertificates,
  listCertificates,
  putAuthorities,
  RETIRING_COUNT_MAX,
  readAuthorities,
} from "./authorities.ts";
import type { CaKeys } from "./ca-keys.ts";
import { isSelfSigned, parseBundle, parseCertificate, pinOf } from "./certificate.ts";
import type { Credentials } from "./credentials.ts";
import { type CertifiedKey, createCa, vouchFor } from "./pki.ts";

/** After a write that did not get through. */
const RETRY_MS = 2_000;

/** Why the CA is not changed now. */
export type RotationFailure =
  | { readonly kind: "rotation_refused"; readonly detail: string }
  | ClusterFailure;

export interface RotationOptions {
  readonly clusterId: ClusterId;
  readonly driver: Driver;
  readonly credentials: Credentials;
  readonly caKeys: CaKeys;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Keeps the CAs (PEM) for good. Throws `HostError`. */
  readonly save: (bundle: string) => Promise<void>;
}

/** The leader's hand in the cluster's CAs. */
export class Rotation {
  readonly #options: RotationOptions;
  readonly #tidying: Errand;
  #isRotating = false;

  constructor(options: RotationOptions) {
    this.#options = options;
    const { clock } = options;
    this.#tidying = new Errand({ clock, retryMs: RETRY_MS, run: () => this.#tidy() });
  }

  /**
   * Members whose certificate is not of the CA that signs now, as far as they have said. Which one
   * that is says the record: this node itself may not have got so far as to trust it.
   */
  waiting(): readonly NodeId[] {
    const { driver, credentials } = this.#options;
    const record = readAuthorities(driver.reader);
    const active = record === undefined ? undefined : parseCertificate(record.active);
    const pin = pinOf(active ?? credentials.authorities[0]!);
    const shown = listCertificates(driver.reader);
    const members = listMembers(driver.reader).map(({ id }) => id);
    return members.filter((id) => shown.get(id)?.issuer !== pin);
  }

  /** Begins with a new CA. The old one is trusted for at most `withinMs` more. Leader only. */
  async rotate(withinMs: number): Promise<Result<void, RotationFailure>> {
    if (this.#isRotating) return err(refusal("another change is under way; try again"));
    this.#isRotating = true;
    try {
      return await this.#rotate(withinMs);
    } finally {
      this.#isRotating = false;
    }
  }

  /** Drops CAs that nobody needs, or whose time is up; to be called at intervals. */
  look(): void {
    this.#tidying.ask();
  }

  stop(): void {
    this.#tidying.stop();
  }

  async #rotate(withinMs: number): Promise<Result<void, RotationFailure>> {
    const { clusterId, driver, caKeys, credentials, clock, random, log } = this.#options;
    const barrier = await driver.readBarrier();
    if (!barrier.ok) return barrier;
    const signer = caKeys.signer;
    if (signer === undefined) return err(refusal("the leader has no key of the CA yet; try again"));
    const before = this.#current();
    // Again while one is under way only if the newest CA's key was lost before others had it.
    if (before.retiring.length > 0 && caKeys.isComplete) {
      return err(refusal('the last change is not over; see "overlay ca"'));
    }
    if (before.retiring.length >= RETIRING_COUNT_MAX) {
      return err(refusal('too many CAs are trusted already; see "overlay ca"'));
    }
    const revision = authoritiesRevision(driver.reader);
    const ca = await createCa({ clusterId, clock, random });
    const after: Authorities = {
      active: ca.certificate,
      retiring: [before.active, ...before.retiring],
      vouchers: [...before.vouchers, ...(await vouch(ca, signer, { before, random }))],
      sinceMs: clock.wallMs(),
      untilMs: clock.wallMs() + withinMs,
    };
    // Its key is on this disk before anybody is told to trust it. Here it comes last as long as
    // the record says nothing of it.
    const { ca: bundle } = credentials.keys;
    await this.#options.save(`${bundle}${ca.certificate}`);
    if (!(await caKeys.add(ca.key))) return err(refusal("its key cannot be kept on the disk"));
    const written = await driver.execute(putAuthorities(after, revision));
    if (written.ok && written.value.kind === "done" && written.value.succeeded) {
      log.info("the cluster has a new CA", { pin: pinOf(parseCertificate(ca.certificate)!) });
      return ok(undefined);
    }
    // What may still be written must not be without its key.
    if (!written.ok) return written;
    await caKeys.keepOnly(credentials.authorities);
    await this.#options.save(bundle);
    return err(refusal("it was changed meanwhile; try again"));
  }

  /** What the record says, or would say if there was one. */
  #current(): Authorities {
    const { driver, credentials } = this.#options;
    const known = readAuthorities(driver.reader);
    if (known !== undefined) return known;
    const [active] = parseBundle(credentials.keys.ca)?.filter(isSelfSigned) ?? [];
    return { active: pemOf(active!), retiring: [], vouchers: [], sinceMs: 0, untilMs: 0 };
  }

  /** False: something is left to do, and only now it cannot be done. */
  async #tidy(): Promise<boolean> {
    const { driver, clock, log } = this.#options;
    const { reader } = driver;
    if (!driver.isLeader()) return true;
    const shown = listCertificates(reader);
    const strays = [...shown.keys()].filter((id) => findMember(reader, id) === undefined);
    if (strays.length > 0 && !(await driver.execute(deleteCertificates(strays))).ok) return false;
    const known = readAuthorities(reader);
    if (known === undefined || known.retiring.length === 0) return true;
    const waiting = this.waiting();
    if (waiting.length > 0 && clock.wallMs() < known.untilMs) return true;
    const names = waiting.map((id) => findMember(reader, id)?.name ?? "");
    const revision = authoritiesRevision(reader);
    const dropped = { ...known, retiring: [], vouchers: [] };
    const result = await driver.execute(putAuthorities(dropped, revision));
    if (!result.ok || result.value.kind !== "done" || !result.value.succeeded) return false;
    if (names.length === 0) log.info("the old CA was dropped: all nodes have new certificates");
    else {
      log.warn("the old CA was dropped; these nodes must join again with a token", {
        nodes: names.join(", "),
      });
    }
    return true;
  }
}

/** The new CA and the old ones by each other, as far as keys are here. */
async function vouch(
  ca: CertifiedKey,
  signer: CertifiedKey,
  { before, random }: { readonly before: Authorities; readonly random: Random },
): Promise<readonly string[]> {
  const olds = [before.active, ...before.retiring];
  const byNew = olds.map((certificate) => vouchFor({ certificate, authority: ca, random }));
  const byOld = vouchFor({ certificate: ca.certificate, authority: signer, random });
  return Promise.all([byOld, ...byNew]);
}

function pemOf(certificate: { toString(): string }): string {
  return `${certificate.toString().trimEnd()}\n`;
}

function refusal(state: string): RotationFailure {
  return { kind: "rotation_refused", detail: `Cannot change the cluster's CA: ${state}` };
}
