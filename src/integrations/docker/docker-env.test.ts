import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../tests/support/manual-clock.ts";
import { findObstacles, writeDockerEnv } from "./docker-env.ts";
import { parseKernelRoutes } from "./kernel-routes.ts";

const SUBNET = "FLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";
const WRITTEN = `DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=false --mtu=1472"\n`;
const COMBINED = { individual: false, combined: true, key: "DOCKER_OPTS", masquerade: true };

function openFolder(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "overlay-docker-env-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

test("writeDockerEnv: the file, for all to read", async () => {
  using folder = openFolder();
  const [source, target] = [
    join(folder.path, "subnet.env"),
    join(folder.path, "run", "docker.env"),
  ];
  writeFileSync(source, SUBNET);
  const env = { DOCKER_OPTS: undefined, FLANNEL_MTU: "9000" };
  const result = await writeDockerEnv({ ...COMBINED, source, target, waitMs: 0, env });
  expect(result).toMatchObject({ ok: true, value: { text: WRITTEN } });
  expect(readFileSync(target, "utf8")).toBe(WRITTEN);
  expect(statSync(target).mode & 0o777).toBe(0o644);
});

test("writeDockerEnv: a missing subnet is none at once, or an error after the wait", async () => {
  using folder = openFolder();
  const request = {
    ...COMBINED,
    source: join(folder.path, "subnet.env"),
    target: undefined,
    env: {},
  };
  const empty = await writeDockerEnv({ ...request, waitMs: 0 });
  expect(empty).toMatchObject({ ok: true, value: { text: `DOCKER_OPTS=""\n` } });

  const clock = new ManualClock();
  const waiting = writeDockerEnv({ ...request, waitMs: 2000, clock });
  for (let i = 0; i < 41; i++) {
    await clock.advance(50);
  }
  expect(await waiting).toMatchObject({ ok: false, error: expect.stringContaining("after 2 s") });
});

test("writeDockerEnv: waits for the lease", async () => {
  using folder = openFolder();
  const source = join(folder.path, "flannel", "subnet.env");
  const clock = new ManualClock();
  const waiting = writeDockerEnv({
    ...{ ...COMBINED, source, target: undefined, env: {}, waitMs: 60_000, clock },
  });
  await clock.advance(50);
  mkdirSync(join(folder.path, "flannel"));
  writeFileSync(source, SUBNET);
  await clock.advance(50);
  expect(await waiting).toMatchObject({ ok: true, value: { text: WRITTEN } });
});

test("writeDockerEnv: a target that is no file is written into, not replaced", async () => {
  const request = { ...COMBINED, source: "/nowhere", waitMs: 0, env: {} };
  expect(await writeDockerEnv({ ...request, target: "/dev/null" })).toMatchObject({ ok: true });
  expect(statSync("/dev/null").isCharacterDevice()).toBe(true);
});

const HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
const OWN = "docker0\t004A010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
const OTHER = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
const VIA = "eth0\t004A010A\t0100A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
const OBSTACLES: readonly { lines: string; blocked: string; warning: string; why: string }[] = [
  { lines: "", blocked: "none", warning: "none", why: "no bridge yet" },
  { lines: OWN, blocked: "none", warning: "none", why: "the bridge is there already" },
  {
    lines: OTHER,
    blocked: "none",
    warning:
      'docker0 is in 172.17.0.0/16 and not at 10.1.74.1/24; stop Docker, delete it with "ip link delete docker0", and start Docker again',
    why: "a bridge of an earlier Docker",
  },
  { lines: OTHER + OWN, blocked: "none", warning: "none", why: "a second address of the bridge" },
  {
    lines: VIA,
    blocked:
      "the routing table already sends 10.1.74.0/24 via 192.168.0.1 dev eth0; delete that route, or start Docker without it in the way",
    warning: "none",
    why: "somebody else's route to the subnet",
  },
];
for (const { lines, blocked, warning, why } of OBSTACLES) {
  test(`findObstacles: ${why}`, () => {
    const found = findObstacles("10.1.74.1/24", parseKernelRoutes(HEADER + lines));
    expect({ blocked: found.blocked ?? "none", warning: found.warning ?? "none" }).toEqual({
      blocked,
      warning,
    });
  });
}
