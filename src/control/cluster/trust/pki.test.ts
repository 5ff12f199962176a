import { beforeAll, describe, expect, test } from "bun:test";
import { decodeNodeId, parseClusterId } from "../../../base/ids.ts";
import { createSimRandom, SimClock } from "../sim-cluster.fake.ts";
import { isKeyOf, nodeOf, parseCertificate, pinOf, problemOf } from "./certificate.ts";
import { type CertifiedKey, createCa, createRequest, signRequest } from "./pki.ts";

const clusterId = parseClusterId("00112233445566778899aabbccddeeff")!;
const nodeId = decodeNodeId(0x0123456789abc);
const clock = new SimClock();
const random = createSimRandom(7);
const YEAR_MS = 365 * 86_400_000;

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
    expect(problemOf(certificate, issuer, clock.wallMs())).toBeUndefined();
    const stranger = parseCertificate(otherCa.certificate)!;
    // Same subject, other key: the name alone must not be believed.
    expect(problemOf(certificate, stranger, clock.wallMs())).toContain("not issued by");
    expect(problemOf(certificate, certificate, clock.wallMs())).toContain("no CA");
  });

  test("is good from a little before it was made until its end", async () => {
    const { certificate } = await certify(ca);
    const issuer = parseCertificate(ca.certificate)!;
    const nowMs = clock.wallMs();
    expect(problemOf(certificate, issuer, nowMs - 4 * 60_000)).toBeUndefined();
    expect(problemOf(certificate, issuer, nowMs - 6 * 60_000)).toContain("not valid yet");
    expect(problemOf(certificate, issuer, nowMs + YEAR_MS - 60_000)).toBeUndefined();
    expect(problemOf(certificate, issuer, nowMs + YEAR_MS + 60_000)).toContain("expired");
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
