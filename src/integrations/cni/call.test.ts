import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseCall } from "./call.ts";

const ENV = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "a1b2",
  CNI_NETNS: "/run/netns/a",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin",
};
const CONFIG = { cniVersion: "1.0.0", name: "overlay", type: "overlay" };

function parsed(env: Record<string, string | undefined>, config: object | string) {
  const input = typeof config === "string" ? config : JSON.stringify(config);
  return parseCall({ ...ENV, ...env }, input);
}

test("parseCall: what is left out is filled in", () => {
  expect(parsed({}, CONFIG)).toMatchObject({
    ok: true,
    value: {
      command: "ADD",
      attachment: { containerId: "a1b2", ifname: "eth0" },
      config: {
        version: "1.0.0",
        delegate: {},
        ipam: {},
        subnetFile: "/run/overlay/subnet.env",
        dataDir: "/var/lib/cni/overlay",
        waitMs: 15_000,
      },
    },
  });
});

test("parseCall: DEL needs no namespace, STATUS and GC no container", () => {
  expect(parsed({ CNI_COMMAND: "DEL", CNI_NETNS: undefined }, CONFIG).ok).toBe(true);
  const bare = { CNI_CONTAINERID: undefined, CNI_IFNAME: undefined, CNI_NETNS: undefined };
  const latest = { ...CONFIG, cniVersion: "1.1.0" };
  expect(parsed({ ...bare, CNI_COMMAND: "STATUS" }, latest).ok).toBe(true);
  const valid = [{ containerID: "x", ifname: "eth0" }, { ifname: "eth0" }, 7];
  const gc = parsed(
    { ...bare, CNI_COMMAND: "GC" },
    { ...latest, "cni.dev/valid-attachments": valid },
  );
  expect(gc).toMatchObject({
    value: { config: { validAttachments: [{ containerId: "x", ifname: "eth0" }] } },
  });
});

test("parseCall: VERSION takes anything on standard input", () => {
  for (const input of ["", "{}", `{"cniVersion":"9.9.9"}`]) {
    expect(parsed({ CNI_COMMAND: "VERSION" }, input)).toEqual({
      ok: true,
      value: { command: "VERSION", version: "1.1.0" },
    });
  }
});

const BAD: readonly {
  env?: Record<string, string | undefined>;
  config?: object | string;
  code: number;
  says: string;
}[] = [
  { env: { CNI_COMMAND: "TEST" }, code: 4, says: 'CNI_COMMAND is "TEST"' },
  { env: { CNI_COMMAND: "constructor" }, code: 4, says: 'CNI_COMMAND is "constructor"' },
  { config: "", code: 6, says: "standard input is not a JSON object" },
  { config: "[]", code: 6, says: "standard input is not a JSON object" },
  { config: { name: "a" }, code: 1, says: 'cniVersion "0.1.0"' },
  { config: { ...CONFIG, cniVersion: "2.0.0" }, code: 1, says: "this plugin speaks 0.3.0" },
  {
    env: { CNI_COMMAND: "CHECK" },
    config: { ...CONFIG, cniVersion: "0.3.1" },
    code: 1,
    says: "Cannot CHECK: cniVersion is 0.3.1; it takes 0.4.0",
  },
  { env: { CNI_COMMAND: "GC" }, code: 1, says: "it takes 1.1.0" },
  { env: { CNI_CONTAINERID: "" }, code: 4, says: "CNI_CONTAINERID" },
  { env: { CNI_CONTAINERID: "../../etc" }, code: 4, says: "CNI_CONTAINERID" },
  { env: { CNI_IFNAME: "a/b" }, code: 4, says: "CNI_IFNAME" },
  { env: { CNI_IFNAME: ".." }, code: 4, says: "CNI_IFNAME" },
  { env: { CNI_IFNAME: "sixteen-letters0" }, code: 4, says: "CNI_IFNAME" },
  { env: { CNI_NETNS: undefined }, code: 4, says: "CNI_NETNS is missing" },
  { config: { ...CONFIG, name: "a:b" }, code: 7, says: '"name" must be' },
  { config: { ...CONFIG, name: undefined }, code: 7, says: '"name" must be' },
  { config: { ...CONFIG, delegate: [] }, code: 7, says: '"delegate" must be an object' },
  { config: { ...CONFIG, delegate: { ipam: {} } }, code: 7, says: 'neither "name" nor "ipam"' },
  {
    config: { ...CONFIG, delegate: { type: "../sh" } },
    code: 7,
    says: 'type "../sh" is no plugin',
  },
  { config: { ...CONFIG, ipam: { type: 7 } }, code: 7, says: "type 7 is no plugin" },
  { config: { ...CONFIG, subnetFile: "subnet.env" }, code: 7, says: '"subnetFile" must be' },
  { config: { ...CONFIG, waitSeconds: -1 }, code: 7, says: '"waitSeconds" must be a number' },
];

for (const { env = {}, config = CONFIG, code, says } of BAD) {
  test(`parseCall: refused with ${code}: ${says}`, () => {
    const result = parsed(env, config);
    if (result.ok) throw new Error("It was accepted");
    expect(result.error.error.code).toBe(code);
    expect(result.error.error.msg).toInclude(says);
  });
}

test("parseCall: answers in the version that was asked in, when it knows it", () => {
  expect(parsed({ CNI_IFNAME: "" }, { ...CONFIG, cniVersion: "0.4.0" })).toMatchObject({
    error: { version: "0.4.0" },
  });
  expect(parsed({}, { cniVersion: "7" })).toMatchObject({ error: { version: "1.1.0" } });
});

test("parseCall: takes any JSON", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.dictionary(fc.string(), fc.jsonValue()), (whole, extra) => {
      parsed({}, JSON.stringify(whole));
      parsed({}, { ...CONFIG, ...extra });
    }),
    { seed: 5, numRuns: 300 },
  );
});
