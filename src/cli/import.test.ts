import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAdminServer } from "../admin/server.ts";
import { createFakeService, FAKE_PLAN, FAKE_RESERVATION } from "../admin/service.fake.ts";
import type { AdminService, ImportRequest } from "../admin/service.ts";
import { createSilentLog } from "../base/log.ts";
import { ok } from "../base/result.ts";
import { runCli } from "./run.ts";
import { createFakeTerminal, type FakeTerminalOptions } from "./terminal.fake.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const base64 = (text: string) => Buffer.from(text).toString("base64");
const DUMP = JSON.stringify({
  kvs: [
    { key: base64("/coreos.com/network/config"), value: base64('{"Network":"10.5.0.0/16"}') },
    {
      key: base64("/coreos.com/network/subnets/10.5.34.0-24"),
      value: base64('{"PublicIP":"192.0.2.3","PublicIPv6":null}'),
      lease: 1,
    },
  ],
});

/** Runs `overlay import flannel` with a dump, where an agent without a config answers. */
async function importDump(
  words: readonly string[],
  { service = {}, ...options }: FakeTerminalOptions & { service?: Partial<AdminService> } = {},
) {
  const dir = mkdtempSync(join(tmpdir(), "overlay-import-"));
  cleanups.push(() => rmSync(dir, { recursive: true }));
  const seen: ImportRequest[] = [];
  const socketPath = join(dir, "s");
  const server = await openAdminServer({
    service: createFakeService({
      getConfig: async () => ok(undefined),
      putConfig: async () => ok({ revision: 0, config: {}, plan: FAKE_PLAN }),
      importNetwork: async (request) => {
        seen.push(request);
        const reservations = [FAKE_RESERVATION];
        return ok({ revision: 5, config: {}, plan: FAKE_PLAN, reservations });
      },
      ...service,
    }),
    socketPath,
    listen: { host: "127.0.0.1", port: 0 },
    adminToken: "",
    log: createSilentLog(),
  });
  cleanups.push(() => server.close());
  const [dump, flanneld] = [join(dir, "dump.json"), join(dir, "flanneld")];
  writeFileSync(dump, DUMP);
  writeFileSync(flanneld, 'FLANNEL_OPTIONS="--iface=eth1 --kube-subnet-mgr"\n');
  const terminal = createFakeTerminal({ ...options, env: { OVERLAY_SOCKET: socketPath } });
  const argv = ["import", "flannel", "--file", dump, "--options-file", flanneld, ...words];
  const code = await runCli(argv, terminal);
  return { code, out: terminal.printed(), err: terminal.told(), seen, dir };
}

test("import flannel: the plan, then what was written", async () => {
  const { code, dir, err, out, seen } = await importDump(["--yes"]);
  expect([code, err]).toEqual([0, ""]);
  expect(out).toBe(`From ${dir}/dump.json: 1 lease
Config: {"Network":"10.5.0.0/16"}
Keep 10.5.34.0/24 for the node at 192.0.2.3
For /etc/overlay/overlay.env, from ${dir}/flanneld: OVERLAY_IFACE=eth1
For /etc/overlay/overlay.env, from ${dir}/flanneld: OVERLAY_IP_MASQ=false
Not carried over from ${dir}/flanneld: --kube-subnet-mgr
Imported at revision 5, 1 subnet kept; let the nodes join: overlay token
`);
  expect(seen).toEqual([
    {
      config: { Network: "10.5.0.0/16" },
      reservations: [{ subnet: "10.5.34.0/24", publicIp: "192.0.2.3" }],
      expectedRevision: 0,
    },
  ]);
});

test("import flannel: nothing is written unless somebody says yes", async () => {
  const nobody = await importDump([]);
  expect([nobody.code, nobody.seen]).toEqual([1, []]);
  expect(nobody.err).toBe("Nothing was written; repeat it with --yes to write\n");
  const no = await importDump([], { canAsk: true, ask: async () => "n" });
  expect([no.code, no.seen]).toEqual([1, []]);
  const yes = await importDump([], { canAsk: true, ask: async () => "yes" });
  expect([yes.code, yes.seen.length]).toEqual([0, 1]);
});

test("import flannel: a cluster whose leases would not fit is left alone", async () => {
  const renumbered = [{ subnet: "10.0.53.0/24", node: "web1" }];
  const putConfig: AdminService["putConfig"] = async () =>
    ok({ revision: 3, config: {}, plan: { ...FAKE_PLAN, effect: "renumber", renumbered } });
  const { code, err, seen } = await importDump(["--yes"], { service: { putConfig } });
  expect([code, seen]).toEqual([1, []]);
  expect(err).toStartWith("Cannot import flannel's network: 1 lease of this cluster would not fit");
});

const WRONG: readonly { words: string[]; code: number; says: string }[] = [
  { words: ["--etcd", "http://192.0.2.1"], code: 2, says: "--etcd and --file are both given" },
  { words: ["--prefix", "/kube"], code: 1, says: "there is no key /kube/config; there is one at" },
  { words: ["--file", "/nowhere"], code: 1, says: 'there is no file "/nowhere"' },
  { words: ["--options-file", "/nowhere"], code: 2, says: 'no options file "/nowhere"' },
];
for (const { words, code, says } of WRONG) {
  test(`import flannel: ${says}`, async () => {
    const done = await importDump([...words, "--yes"]);
    expect([done.code, done.seen]).toEqual([code, []]);
    expect(done.err).toContain(says);
  });
}

test("import flannel: where it is must be said", async () => {
  for (const words of [[], ["--etcd", "192.0.2.1:2379"]]) {
    const terminal = createFakeTerminal();
    expect(await runCli(["import", "flannel", ...words], terminal)).toBe(2);
    expect(terminal.told()).toStartWith("Cannot import flannel's network: ");
  }
});
