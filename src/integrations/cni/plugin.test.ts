/**
 * The plugin against a delegate of our own making, which tells what it was asked. What real
 * delegates make of it is in tests/e2e/cni.test.ts.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runPlugin } from "./plugin.ts";
import { isPluginCall } from "./plugin-call.ts";

const SUBNET_ENV =
  "FLANNEL_NETWORK=10.77.0.0/16\nFLANNEL_SUBNET=10.77.53.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
const RESULT = `{"cniVersion":"1.0.0","ips":[{"address":"10.77.53.2/24"}]}`;

interface Asked {
  readonly command: string;
  readonly container: string;
  readonly config: Record<string, unknown>;
}

/** A folder with a delegate in it, and a network that uses both. */
class Place implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "overlay-cni-"));
  readonly subnetFile = join(this.folder, "subnet.env");
  readonly dataDir = join(this.folder, "data");

  constructor(versions: readonly string[] = ["1.0.0"]) {
    writeFileSync(this.subnetFile, SUBNET_ENV);
    const supported = JSON.stringify({ supportedVersions: versions });
    const script = `#!/bin/sh
config=$(cat)
[ "$CNI_COMMAND" = VERSION ] && { echo '${supported}'; exit 0; }
asked="\\"command\\":\\"$CNI_COMMAND\\",\\"container\\":\\"$CNI_CONTAINERID\\""
echo "{$asked,\\"config\\":$config}" >> ${this.folder}/asked
if [ -e ${this.folder}/broken-$CNI_COMMAND ]; then cat ${this.folder}/broken-$CNI_COMMAND; exit 1; fi
[ "$CNI_COMMAND" != ADD ] || echo '${RESULT}'
`;
    for (const name of ["bridge", "host-local"]) {
      writeFileSync(join(this.folder, name), script, { mode: 0o755 });
    }
  }

  async call(command: string, extra: Record<string, unknown> = {}, env: object = {}) {
    const config = {
      ...{ cniVersion: "1.0.0", name: "net1", type: "overlay" },
      ...{ subnetFile: this.subnetFile, dataDir: this.dataDir, waitSeconds: 0 },
      ...{ socket: join(this.folder, "no-agent.sock"), ...extra },
    };
    const variables = {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0", CNI_NETNS: "/n" },
      ...{ CNI_PATH: `/nowhere:${this.folder}`, PATH: process.env["PATH"], ...env },
    };
    const { exitCode, output } = await runPlugin(variables, JSON.stringify(config));
    return { exitCode, answer: output === "" ? undefined : JSON.parse(output) };
  }

  asked(): readonly Asked[] {
    const path = join(this.folder, "asked");
    if (!existsSync(path)) return [];
    return readFileSync(path, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Asked);
  }

  break(command: string, says: string): void {
    writeFileSync(join(this.folder, `broken-${command}`), says);
  }

  kept(): string[] {
    return existsSync(this.dataDir) ? readdirSync(this.dataDir) : [];
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

test("isPluginCall: only without arguments", () => {
  expect(isPluginCall([], { CNI_COMMAND: "ADD" })).toBe(true);
  expect(isPluginCall(["status"], { CNI_COMMAND: "ADD" })).toBe(false);
  expect(isPluginCall([], {})).toBe(false);
});

test("ADD and DEL: the config of ADD is used again, though the subnet has gone", async () => {
  using place = new Place();
  const added = await place.call("ADD");
  expect(added).toEqual({ exitCode: 0, answer: JSON.parse(RESULT) });
  expect(place.kept()).toEqual(["net1:c1:eth0"]);

  rmSync(place.subnetFile);
  expect(await place.call("DEL", {}, { CNI_NETNS: "" })).toEqual({
    exitCode: 0,
    answer: undefined,
  });
  expect(place.kept()).toEqual([]);
  const [add, del] = place.asked();
  expect([add?.command, del?.command]).toEqual(["ADD", "DEL"]);
  expect(del?.config).toEqual(add?.config ?? {});
  expect(add?.config).toMatchObject({ type: "bridge", mtu: 1450, ipMasq: false });

  expect((await place.call("DEL")).exitCode).toBe(0);
  expect(place.asked()).toHaveLength(2);
});

test("DEL without a record: what the subnet of now says is undone", async () => {
  using place = new Place();
  expect((await place.call("DEL")).exitCode).toBe(0);
  expect(place.asked().map(({ command }) => command)).toEqual(["DEL"]);
});

test("ADD: no subnet is told with what the agent says", async () => {
  using place = new Place();
  rmSync(place.subnetFile);
  const { exitCode, answer } = await place.call("ADD", { waitSeconds: 0.01 });
  expect(exitCode).toBe(1);
  expect(answer).toMatchObject({ cniVersion: "1.0.0", code: 11 });
  expect(answer.msg).toInclude("this node has no subnet after 0.01 s");
  expect(answer.details).toInclude("No agent answers on");
  expect(place.asked()).toEqual([]);
});

test("ADD: waits for the subnet", async () => {
  using place = new Place();
  rmSync(place.subnetFile);
  const adding = place.call("ADD", { waitSeconds: 30 });
  writeFileSync(place.subnetFile, SUBNET_ENV);
  expect((await adding).exitCode).toBe(0);
});

test("ADD: a delegate that fails is told in its words, and undone", async () => {
  using place = new Place();
  place.break("ADD", `{"code":999,"msg":"no room","details":"in ranges"}`);
  const { exitCode, answer } = await place.call("ADD");
  expect(exitCode).toBe(1);
  expect(answer).toEqual({ cniVersion: "1.0.0", code: 999, msg: "no room", details: "in ranges" });
  expect(place.asked().map(({ command }) => command)).toEqual(["ADD", "DEL"]);
  expect(place.kept()).toEqual([]);
});

test("a delegate that is missing, or speaks no JSON", async () => {
  using place = new Place();
  const missing = await place.call("ADD", { delegate: { type: "ptp" } });
  expect(missing.answer.code).toBe(4);
  expect(missing.answer.msg).toInclude('Cannot find CNI plugin "ptp" in /nowhere');
  place.break("ADD", "panic: goroutine 1");
  const { answer } = await place.call("ADD");
  expect(answer).toMatchObject({ code: 6, details: "panic: goroutine 1" });
});

test("DEL that fails can be repeated", async () => {
  using place = new Place();
  await place.call("ADD");
  place.break("DEL", `{"code":11,"msg":"busy"}`);
  expect((await place.call("DEL")).exitCode).toBe(1);
  expect(place.kept()).toHaveLength(1);
});

test("1.1.0 over delegates that speak less: theirs below, ours above", async () => {
  using place = new Place(["0.4.0", "1.0.0"]);
  const latest = { cniVersion: "1.1.0" };
  expect((await place.call("ADD", latest)).answer.cniVersion).toBe("1.1.0");
  const prevResult = { cniVersion: "1.1.0", ips: [] };
  expect((await place.call("CHECK", { ...latest, prevResult })).exitCode).toBe(0);
  expect(place.asked().map(({ config }) => config["cniVersion"])).toEqual(["1.0.0", "1.0.0"]);
  expect(place.asked()[1]?.config["prevResult"]).toEqual({ cniVersion: "1.0.0", ips: [] });
});

test("CHECK: what was never added, and what has an address of a subnet that went", async () => {
  using place = new Place();
  expect((await place.call("CHECK")).answer.code).toBe(3);
  await place.call("ADD");
  writeFileSync(place.subnetFile, SUBNET_ENV.replace("53.1/24", "99.1/24"));
  const { answer } = await place.call("CHECK");
  expect(answer.code).toBe(100);
  expect(answer.msg).toInclude("10.77.99.0");
  writeFileSync(place.subnetFile, SUBNET_ENV);
  expect((await place.call("CHECK")).exitCode).toBe(0);
  place.break("CHECK", `{"code":999,"msg":"veth is gone"}`);
  expect((await place.call("CHECK")).answer.msg).toBe("veth is gone");
});

test("STATUS: no subnet, no agent, no delegate", async () => {
  using place = new Place(["1.0.0", "1.1.0"]);
  const latest = { cniVersion: "1.1.0" };
  expect((await place.call("STATUS", latest)).answer.code).toBe(51);
  rmSync(place.subnetFile);
  expect((await place.call("STATUS", latest)).answer.code).toBe(50);
  const none = await place.call("STATUS", { ...latest, delegate: { type: "ptp" } });
  expect(none.answer.code).toBe(50);
});

test("GC: what is not listed is deleted, in this network only; delegates get the list", async () => {
  using place = new Place(["1.0.0", "1.1.0"]);
  const latest = { cniVersion: "1.1.0" };
  for (const id of ["c1", "c2"]) await place.call("ADD", latest, { CNI_CONTAINERID: id });
  await place.call("ADD", { ...latest, name: "net2" }, { CNI_CONTAINERID: "c3" });
  const valid = [{ containerID: "c2", ifname: "eth0" }];
  const gc = { ...latest, "cni.dev/valid-attachments": valid };
  expect((await place.call("GC", gc)).exitCode).toBe(0);
  expect(place.kept().sort()).toEqual(["net1:c2:eth0", "net2:c3:eth0"]);
  const [del, collected] = place.asked().slice(3);
  expect([del?.command, del?.container]).toEqual(["DEL", "c1"]);
  expect(collected?.command).toBe("GC");
  expect(collected?.config["cni.dev/valid-attachments"]).toEqual(valid);

  place.break("DEL", `{"code":11,"msg":"busy"}`);
  const failed = await place.call("GC", { ...latest, "cni.dev/valid-attachments": [] });
  expect(failed).toMatchObject({ exitCode: 1, answer: { code: 11, msg: "busy" } });
  expect(place.kept()).toHaveLength(2);
});

test("VERSION", async () => {
  using place = new Place();
  const { answer } = await place.call("VERSION");
  expect(answer).toEqual({
    cniVersion: "1.0.0",
    supportedVersions: ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
  });
});
