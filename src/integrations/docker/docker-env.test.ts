import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../tests/support/manual-clock.ts";
import { writeDockerEnv } from "./docker-env.ts";

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
