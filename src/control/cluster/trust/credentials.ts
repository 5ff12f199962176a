/**
 * What this node shows to others, and whom it believes: its certificate and the cluster's CAs as
 * they are now.
 *
 * Both change while the node runs. Connections that are open go on with what they were opened
 * with; each new one reads what is here.
 *
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { assert } from "../../../base/assert.ts";
import type { NodeId } from "../../../base/ids.ts";
import type { Result } from "../../../base/result.ts";
import type { Clock } from "../../../host/ports.ts";
import { Listeners } from "../listeners.ts";
import {
  type CertificateProblem,
  chainOf,
  isSelfSigned,
  judgeChain,
  parseBundle,
  parseCertificate,
} from "./certificate.ts";

/** All PEM. */
export interface CredentialKeys {
  /** The CAs that are trusted, the one that signs now first; then what they say of each other. */
  readonly ca: string;
  readonly certificate: string;
  /** Of the certificate; the same for the whole life of the node. */
  readonly key: string;
}

/** This node's standing among the others, as certificates. */
export class Credentials {
  readonly #clock: Clock;
  readonly #changes = new Listeners<[]>();
  #keys: CredentialKeys;
  #authorities: readonly X509Certificate[];
  #certificate: X509Certificate;
  #wasRefused = false;
  #isForeign = false;

  /** `keys` are whole and belong together. */
  constructor(keys: CredentialKeys, clock: Clock) {
    this.#clock = clock;
    this.#keys = keys;
    this.#authorities = authoritiesIn(keys.ca);
    this.#certificate = certificateIn(keys.certificate);
  }

  get keys(): CredentialKeys {
    return this.#keys;
  }

  /** PEM: this node's certificate, the CAs and what they say of each other. */
  get chain(): string {
    return this.#keys.certificate + this.#keys.ca;
  }

  get certificate(): X509Certificate {
    return this.#certificate;
  }

  /** The CAs that are trusted, the one that signs now first. */
  get authorities(): readonly X509Certificate[] {
    return this.#authorities;
  }

  /** Which node the other side of `socket` is, after its handshake. */
  identify(socket: TLSSocket): Result<NodeId, CertificateProblem> {
    return judgeChain(chainOf(socket), this.#authorities, this.#clock.wallMs());
  }

  /** The same at the address of a member: who is foreign there says that we are behind. */
  identifyMember(socket: TLSSocket): Result<NodeId, CertificateProblem> {
    const identified = this.identify(socket);
    this.#isForeign = !identified.ok && identified.error.kind === "foreign";
    return identified;
  }

  /** A member said that this node's certificate is over. */
  refused(): void {
    this.#wasRefused = true;
  }

  /**
   * Whether the others do not take this node's certificate any more, or have CAs of which it knows
   * nothing: only a join mends that.
   */
  get isOver(): boolean {
    const isExpired = this.#clock.wallMs() > Date.parse(this.#certificate.validTo);
    return isExpired || this.#wasRefused || this.#isForeign;
  }

  /** Takes what `change` holds in the place of what was here. */
  replace(change: Partial<Pick<CredentialKeys, "ca" | "certificate">>): void {
    this.#keys = { ...this.#keys, ...change };
    this.#authorities = authoritiesIn(this.#keys.ca);
    this.#certificate = certificateIn(this.#keys.certificate);
    if (change.certificate !== undefined) {
      this.#wasRefused = false;
      this.#isForeign = false;
    }
    this.#changes.tell();
  }

  /** Calls `listener` after each change. Returns the undo. */
  onChange(listener: () => void): () => void {
    return this.#changes.add(listener);
  }
}

function authoritiesIn(bundle: string): readonly X509Certificate[] {
  const authorities = parseBundle(bundle)?.filter(isSelfSigned) ?? [];
  assert(authorities.length > 0, "a node without a CA has no cluster");
  return authorities;
}

function certificateIn(pem: string): X509Certificate {
  const certificate = parseCertificate(pem);
  assert(certificate !== undefined, "a certificate was checked before it is shown");
  return certificate;
}
