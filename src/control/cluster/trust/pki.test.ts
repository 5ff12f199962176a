import { beforeAll, describe, expect, test } from "bun:test";
import type { X509Certificate } from "node:crypto";
import { decodeNodeId, parseClusterId } from "../../../base/ids.ts";
import { err, ok } from "../../../base/result.ts";
import { createSimRandom, SimClock } from "../sim-cluster.fake.ts";
import {
  authoritiesBehind,
  isKeyOf,
  judgeChain,
  nodeOf,
  parseCertificate,
  pinOf,
} from "./certificate.ts";
import {
  type CertifiedKey,
  createCa,
  createRequest,
  NODE_LIFE_MS,
  signAgain,
  signRequest,
  vouchFor,
} from "./pki.ts";
import { renewAtMs } from "./renewal.ts";

const clusterId = parseClusterId("00112233445566778899aabbccddeeff")!;
const nodeId = decodeNodeId(0x0123456789abc);
const clock = new SimClock();
const random = createSimRandom(7);
const FOREIGN = err({ kind: "foreign" as const });

let ca: CertifiedKey;
let otherCa: CertifiedKey;
beforeAll(async () => {
  ca = await createCa({ clusterId, clock, random });
  otherCa = await createCa({ clusterId, clock, random });
});

async function certify(by: CertifiedKey) {
  const { csr, key } = await createRequest(nodeId);
  const signed = await signRequest({ csr, nodeId, ca: by, clock, random });
  if (!signed.ok) throw new Error(signed.error.detail);
  return { certificate: parseCertificate(signed.value)!, key, csr };
}

describe("certificates", () => {
  test("a node's names the node and is good for its CA only", async () => {
    const { certificate, key } = await certify(ca);
    const issuer = parseCertificate(ca.certificate)!;
    expect(nodeOf(certificate)).toBe(nodeId);
    expect(certificate.subject).toContain("OU=member");
    expect(certificate.ca).toBeFalse();
    expect(isKeyOf(key, certificate)).toBeTrue();
    expect(isKeyOf(ca.key, certificate)).toBeFalse();
    expect(isKeyOf("no key", certificate)).toBeFalse();
    expect(judgeChain([certificate], [issuer], clock.wallMs())).toEqual(ok(nodeId));
    const stranger = parseCertificate(otherCa.certificate)!;
    expect(judgeChain([certificate], [stranger], clock.wallMs())).toEqual(FOREIGN);
    expect(judgeChain([certificate], [certificate], clock.wallMs())).toEqual(FOREIGN);
    expect(judgeChain([issuer], [issuer], clock.wallMs())).toEqual(FOREIGN);
    expect(judgeChain([], [issuer], clock.wallMs())).toEqual(err({ kind: "absent" as const }));
  });

  test("is good until its end; when it begins says nothing", async () => {
    const { certificate } = await certify(ca);
    const issuer = parseCertificate(ca.certificate)!;
    const nowMs = clock.wallMs();
    const judge = (wallMs: number) => judgeChain([certificate], [issuer], wallMs);
    expect(judge(nowMs - 1_000 * NODE_LIFE_MS)).toEqual(ok(nodeId));
    expect(judge(nowMs + NODE_LIFE_MS - 60_000)).toEqual(ok(nodeId));
    expect(judge(nowMs + NODE_LIFE_MS + 60_000)).toEqual(err({ kind: "expired", node: nodeId }));
    expect(Date.parse(certificate.validFrom)).toBeLessThan(nowMs);
  });

  test("a CA stands behind what another one made that it vouches for, and nobody else does", async () => {
    const { certificate, key } = await certify(otherCa);
    const [issuer, other] = [ca, otherCa].map((each) => parseCertificate(each.certificate)!);
    const own = { certificate: certificate.toString(), key };
    const by = async (authority: CertifiedKey) =>
      parseCertificate(await vouchFor({ certificate: otherCa.certificate, authority, random }))!;
    const voucher = await by(ca);
    const judge = (...chain: X509Certificate[]) =>
      judgeChain([certificate, ...chain], [issuer!], clock.wallMs());
    expect(judge(voucher, other!)).toEqual(ok(nodeId));
    expect(judge(other!)).toEqual(FOREIGN);
    // A node's certificate makes nobody a CA.
    expect(judge(await by(own))).toEqual(FOREIGN);
    expect(authoritiesBehind(issuer!, [other!, issuer!])).toEqual([issuer!]);
    expect(authoritiesBehind(issuer!, [other!, issuer!, voucher])).toEqual([issuer!, other!]);
    expect(authoritiesBehind(issuer!, [other!, issuer!, await by(own)])).toEqual([issuer!]);
  });

  test("is renewed for the same key, at a point between 50 and 80 % of its life", async () => {
    const { certificate } = await certify(ca);
    const points: number[] = [];
    for (let i = 0; i < 20; i++) {
      const pem = await signAgain({ certificate, nodeId, ca, clock, random });
      const next = parseCertificate(pem)!;
      expect(pinOf(next)).toBe(pinOf(certificate));
      points.push((renewAtMs(next) - clock.wallMs()) / NODE_LIFE_MS);
    }
    expect(Math.min(...points)).toBeGreaterThanOrEqual(0.5);
    expect(Math.max(...points)).toBeLessThanOrEqual(0.8);
    expect(Math.max(...points) - Math.min(...points)).toBeGreaterThan(0.1);
  });

  test("the pin is that of the key: the same in every certificate of it", async () => {
    expect(pinOf(parseCertificate(ca.certificate)!)).toMatch(/^[a-z2-7]{52}$/);
    expect(pinOf(parseCertificate(ca.certificate)!)).not.toBe(
      pinOf(parseCertificate(otherCa.certificate)!),
    );
  });

  test("a request is believed for its key alone", async () => {
    const other = decodeNodeId(5);
    const { csr } = await createRequest(other);
    const signed = await signRequest({ csr, nodeId, ca, clock, random });
    expect(signed.ok && nodeOf(parseCertificate(signed.value)!)).toBe(nodeId);
  });

  test("a request that its key did not sign is refused", async () => {
    const { csr } = await createRequest(nodeId);
    const der = Buffer.from(csr.replace(/-----[A-Z ]+-----|\s/g, ""), "base64");
    for (const at of [30, der.length - 5]) {
      const changed = Buffer.from(der);
      changed[at]! ^= 1;
      const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${changed.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
      const signed = await signRequest({ csr: pem, nodeId, ca, clock, random });
      expect(signed.ok).toBeFalse();
    }
  });

  for (const csr of [
    "",
    "hello",
    "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
  ]) {
    test(`a request of nonsense is refused: "${csr.slice(0, 10)}"`, async () => {
      expect((await signRequest({ csr, nodeId, ca, clock, random })).ok).toBeFalse();
    });
  }

  test("parseCertificate yields undefined for anything else", () => {
    expect(parseCertificate("")).toBeUndefined();
    expect(parseCertificate(ca.key)).toBeUndefined();
    expect(parseCertificate(new Uint8Array(100))).toBeUndefined();
  });
});
