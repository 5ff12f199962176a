/**
 * Nodes of two versions in one cluster, from outside: one after the other is updated while writes
 * go on, one is taken back, and a program that is too old says so.
 *
 * The newer program is this tree built as if it knew one cluster version more. That is the very
 * thing that two releases differ in, and needs no history, which a shallow clone does not have.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLUSTER_VERSION_NEWEST } from "../../src/control/kv/cluster-version.ts";
import { createToken, formCluster, waitSettled } from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import { labObstacle, labTest } from "../lab/requirements.ts";
import { mustRun } from "../lab/run.ts";
import { waitFor } from "../lab/wait.ts";

const ROOT = join(import.meta.dir, "../..");
const NEXT_VERSION = CLUSTER_VERSION_NEWEST + 1;
const BUILD_TIMEOUT_MS = 120_000;
/** Nodes that stop hand over: a write waits for that, and is not refused for longer. */
const WRITE_LIMIT_MS = 15_000;

let folder = "";
let newer = "";

/** Writes, one after the other, until it is stopped. */
class Writes {
  readonly #hosts: readonly Host[];
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  acknowledged = 0;

  constructor(hosts: readonly Host[]) {
    this.#hosts = hosts;
    this.#running = this.#run();
  }

  /** Stops; every write that was acknowledged is there. */
  async finish(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    const answer = await this.#hosts[0]!.api("/kv?prefix=/w/&limit=10000");
    const { items } = answer.json<{ items: readonly { key: string; value: string }[] }>();
    const keys = new Set(items.map(({ key }) => key));
    for (let n = 0; n < this.acknowledged; n++) expect(keys.has(`/w/${n}`)).toBeTrue();
  }

  async #run(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      const n = this.acknowledged;
      await waitFor(() => this.#writeAnywhere(n), {
        timeoutMs: WRITE_LIMIT_MS,
        describe: `write ${n} to be taken`,
      });
      this.acknowledged += 1;
    }
  }

  async #writeAnywhere(n: number): Promise<boolean> {
    for (const host of this.#hosts) {
      try {
        const answer = await host.api(`/kv/w/${n}`, { method: "PUT", body: "x" });
        if (answer.status === 200) return true;
      } catch {
        // Its agent is being replaced: another node takes it.
      }
    }
    return false;
  }
}

/** What the cluster's version is on `host`. */
async function versionOn(host: Host): Promise<number> {
  const answer = await host.api("/kv/overlay/version?consistency=serializable");
  return answer.status === 200 ? answer.json<{ version: number }>().version : 1;
}

/** Replaces the agent of `host`, and waits until all have settled. */
async function replace(hosts: readonly Host[], host: Host, program?: string): Promise<void> {
  await host.agent.terminate();
  await host.startHealthyAgent(program === undefined ? {} : { program });
  await waitSettled(hosts);
}

describe("nodes of two versions", () => {
  beforeAll(async () => {
    if (labObstacle() !== undefined) return;
    folder = mkdtempSync(join(tmpdir(), "overlay-upgrade-"));
    newer = join(folder, "overlay");
    const words = ["build", "--compile", "--format=esm", "--outfile", newer];
    const defines = [
      ...["--define", `OVERLAY_CLUSTER_VERSION=${NEXT_VERSION}`],
      ...["--define", 'OVERLAY_VERSION="9.9.9"'],
    ];
    const entries = ["src/main.ts", "src/agent/packet-worker.ts"];
    await mustRun([process.execPath, ...words, ...defines, ...entries], {
      cwd: ROOT,
      timeoutMs: BUILD_TIMEOUT_MS,
    });
  }, BUILD_TIMEOUT_MS);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  labTest(
    "work together; the last update makes the version rise; then an old program ends",
    { hosts: 4, docker: false, timeoutMs: 120_000 },
    async (lab) => {
      const [a, b, c, d] = lab.hosts as [Host, Host, Host, Host];
      const members = [a, b, c];
      await formCluster(lab, members);
      await waitFor(async () => (await versionOn(a)) === CLUSTER_VERSION_NEWEST, {
        describe: "the cluster's first version",
      });
      const writes = new Writes(members);
      await replace(members, a, newer);
      await replace(members, b, newer);
      // One goes back, as long as there is a way back.
      await replace(members, a);
      await replace(members, a, newer);
      expect(await versionOn(c)).toBe(CLUSTER_VERSION_NEWEST);
      await replace(members, c, newer);
      await waitFor(async () => (await versionOn(a)) === NEXT_VERSION, {
        describe: "the version to rise",
      });
      await writes.finish();
      expect(writes.acknowledged).toBeGreaterThan(20);

      // Too late to go back: it says so, and changes nothing.
      await c.agent.terminate();
      const late = c.startAgent();
      expect(await late.waitExit()).toBe(1);
      expect(late.output()).toContain(
        `it is of cluster version ${NEXT_VERSION}, ` +
          `and this program reads versions up to ${CLUSTER_VERSION_NEWEST}; ` +
          "install the version of overlay that the other members run",
      );
      await c.startHealthyAgent({ program: newer });
      await waitSettled(members);
      // Nor can an old one come in.
      const { token } = await createToken(a);
      const refused = await d.cli(["join", a.address, "--token", token]);
      expect([refused.code, refused.stderr]).toEqual([
        1,
        expect.stringContaining("install the version of overlay that the members run"),
      ]);
    },
  );
});
