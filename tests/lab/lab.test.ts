import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Host } from "./host.ts";
import { removeStaleLabs } from "./janitor.ts";
import { openLab } from "./lab.ts";
import { labObstacle, labTest } from "./requirements.ts";
import { run } from "./run.ts";
import { describeTransfer, sendIntact, transferTcp } from "./transfer.ts";
import { waitFor } from "./wait.ts";

const PING_QUICK = { count: 3, intervalSeconds: 0.01, waitSeconds: 0.2 };
const LAB_FILE = join(import.meta.dir, "lab.ts");

/** Whether `source` gets an answer from `target`. */
async function reaches(source: Host, target: Host): Promise<boolean> {
  return (await source.ping(target.address, PING_QUICK)).received > 0;
}

/** A subnet as an agent would have written it. */
function subnetOf(number: number) {
  const gateway = `10.0.${number}.1`;
  return { network: "10.0.0.0/16", subnet: `${gateway}/24`, gateway, mtu: 1472 };
}

describe("topology", () => {
  labTest("openLab: every host reaches every other and the switch", { hosts: 3 }, async (lab) => {
    for (const source of lab.hosts) {
      for (const target of lab.hosts) expect(await reaches(source, target)).toBe(true);
      expect((await source.ping("192.168.77.1", PING_QUICK)).received).toBe(3);
    }
  });

  labTest("openLab: hosts start without forwarding", { hosts: 1 }, async (lab) => {
    const value = await lab.host(0).mustRun(["sysctl", "-n", "net.ipv4.ip_forward"]);
    expect(value.trim()).toBe("0");
  });

  labTest("addContainer: reached through its host's bridge", { hosts: 2 }, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    const first = await a.addContainer(subnetOf(5));
    const second = await a.addContainer(subnetOf(5));
    const far = await b.addContainer(subnetOf(6));
    expect([first.address, second.address, far.address]).toEqual([
      "10.0.5.2",
      "10.0.5.3",
      "10.0.6.2",
    ]);
    expect((await first.ping(second.address, PING_QUICK)).received).toBe(3);
    expect((await first.ping(far.address, PING_QUICK)).received).toBe(0);

    // What an agent will do: forwarding and a route. Shows that nothing else is in the way.
    for (const host of [a, b]) await host.sysctl("net.ipv4.ip_forward", 1);
    await a.mustRun(["ip", "route", "add", "10.0.6.0/24", "via", b.address]);
    await b.mustRun(["ip", "route", "add", "10.0.5.0/24", "via", a.address]);
    const report = await first.ping(far.address, { ...PING_QUICK, sizeBytes: 1444 });
    expect(report.received).toBe(3);
    // The bridge has the overlay's MTU: one byte more does not pass whole.
    const large = await first.ping(far.address, {
      ...PING_QUICK,
      sizeBytes: 1445,
      dontFragment: true,
    });
    expect(large.received).toBe(0);
  });

  labTest("transferTcp: bytes arrive", { hosts: 2, docker: false }, async (lab) => {
    const options = { address: lab.host(1).address, seconds: 1 };
    const report = await transferTcp(lab.host(0), lab.host(1), options);
    expect(report.receivedBytes).toBeGreaterThan(10_000_000);
    expect(describeTransfer(report)).toMatch(/^\d+ MiB at [\d.]+ Gbit\/s, \d+ retransmits$/);
  });

  labTest("sendIntact: what was sent, or an error", { hosts: 2, docker: false }, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    await sendIntact(a, b, { address: b.address, bytes: 3_000_001 });
    const nobody = sendIntact(a, b, { address: "192.168.77.1", bytes: 1 });
    await expect(nobody).rejects.toThrow("ECONNREFUSED");
  });

  for (const wire of ["real", "virtual"] as const) {
    labTest(`wire ${wire}: how many frames carry 512 KiB`, { hosts: 2, wire }, async (lab) => {
      const [a, b] = [lab.host(0), lab.host(1)];
      await sendIntact(a, b, { address: b.address, bytes: 512 * 1024 });
      const links = JSON.parse(await b.mustRun(["ip", "-j", "-s", "link", "show", "eth0"]));
      const frames: number = links[0].stats64.rx.packets;
      // 512 KiB in segments of 1,448 bytes are 363 frames; super-packets need a tenth of that.
      if (wire === "real") expect(frames).toBeGreaterThanOrEqual(363);
      else expect(frames).toBeLessThan(200);
    });
  }
});

describe("faults", () => {
  labTest("cut and heal: the two hosts only", { hosts: 3, docker: false }, async (lab) => {
    const [a, b, c] = [lab.host(0), lab.host(1), lab.host(2)];
    await lab.cut(a, b);
    expect([await reaches(a, b), await reaches(b, a)]).toEqual([false, false]);
    expect([await reaches(a, c), await reaches(c, b)]).toEqual([true, true]);
    await lab.heal(a, b);
    await waitFor(() => reaches(a, b), { describe: "the healed wire" });
  });

  labTest("cut one way: requests arrive, answers do not", { hosts: 2 }, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    expect(await reaches(a, b)).toBe(true); // Both know the other's link address now.
    const capture = await b.capture({ filter: "icmp[icmptype] == icmp-echo" });
    await lab.cut(b, a, { oneWay: true });
    expect(await reaches(a, b)).toBe(false);
    expect((await capture.stop()).length).toBe(3);
    await lab.heal();
    expect(await reaches(a, b)).toBe(true);
  });

  labTest("isolate: one against all others", { hosts: 3, docker: false }, async (lab) => {
    const [a, b, c] = [lab.host(0), lab.host(1), lab.host(2)];
    await lab.isolate(a);
    expect([await reaches(a, b), await reaches(a, c)]).toEqual([false, false]);
    expect(await reaches(b, c)).toBe(true);
    await lab.heal(a);
    await waitFor(() => reaches(a, c), { describe: "the healed host" });
  });

  labTest("loss: about the share that was asked for", { hosts: 2, docker: false }, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    await reaches(a, b);
    await lab.loss([a, b], 30);
    const count = 400;
    const report = await a.ping(b.address, { count, intervalSeconds: 0.002, waitSeconds: 0.3 });
    // Each way loses 30 %, so 49 % of the round trips arrive: 196 ± 10; eight deviations allowed.
    expect(report.sent).toBe(count);
    expect(report.received).toBeGreaterThan(116);
    expect(report.received).toBeLessThan(276);
    await lab.loss(a, 0);
    expect((await a.ping(b.address, PING_QUICK)).received).toBe(3);
  });

  labTest("rate: a limit and its lifting", { hosts: 2, docker: false }, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    await lab.rate(a, 50);
    const slow = await transferTcp(a, b, { address: b.address, bytes: 2_000_000 });
    expect(slow.gigabitsPerSecond).toBeLessThan(0.1);
    await lab.rate(a, undefined);
    const fast = await transferTcp(a, b, { address: b.address, bytes: 20_000_000 });
    expect(fast.gigabitsPerSecond).toBeGreaterThan(slow.gigabitsPerSecond * 2);
  });
});

describe("capture", () => {
  labTest("capture: the echo request, byte for byte", { hosts: 2, docker: false }, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    const capture = await b.capture({ filter: "icmp", count: 2 });
    await a.ping(b.address, { count: 1, sizeBytes: 32 });
    const [request, reply] = await capture.waitPackets();
    expect(request?.source).toBe(a.address);
    expect(request?.payload).toMatchObject({ kind: "icmp", type: 8, code: 0, sequence: 1 });
    expect(request?.totalLength).toBe(20 + 8 + 32);
    expect(reply?.payload).toMatchObject({ kind: "icmp", type: 0, sequence: 1 });
    expect(await capture.text()).toContain("ICMP echo request");
  });
});

describe("processes", () => {
  labTest("start: kill, stop and continue reach just that one", { hosts: 1 }, async (lab) => {
    const host = lab.host(0);
    const script = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.01; done";
    const victim = host.start(["sh", "-c", script], { name: "victim" });
    const other = host.start(["sh", "-c", script], { name: "other" });
    const ticks = () => victim.output().split("\n").length;
    await waitFor(() => ticks() > 3, { describe: "ticks" });
    victim.stop();
    await waitFor(() => readFileSync(`/proc/${victim.pid}/stat`, "utf8").includes(") T "), {
      describe: "the stopped state",
    });
    const frozen = ticks();
    const otherTicks = other.output().length;
    await waitFor(() => other.output().length > otherTicks + 50, { describe: "the other's ticks" });
    expect(ticks()).toBe(frozen);
    victim.continue();
    await waitFor(() => ticks() > frozen, { describe: "ticks after continue" });
    await victim.kill();
    expect(await victim.exited).toBe(137);
    expect(victim.running).toBe(false);
    expect(existsSync(`/proc/${victim.pid}`)).toBe(false); // Reaped, no zombie.
    expect(other.running).toBe(true);
    expect(victim.tail(1)).toStartWith("tick ");
    expect(other.residentBytes()).toBeGreaterThan(100_000);
  });

  labTest("startPing: gaps while the wire is cut", { hosts: 2, docker: false }, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    const ping = a.startPing(b.address, { intervalSeconds: 0.01 });
    await waitFor(() => ping.received() >= 5, { describe: "first answers" });
    await lab.cut(a, b);
    const before = ping.received();
    await a.ping(b.address, PING_QUICK);
    await lab.heal();
    await waitFor(() => ping.received() > before + 5, { describe: "answers after healing" });
    const report = await ping.stop();
    expect(report.longestGap).toBeGreaterThanOrEqual(3);
    expect(report.received).toBeLessThan(report.sent);
    expect(report.lost.length).toBe(report.sent - report.received);
  });

  labTest("waitListening: knows when a server is up", { hosts: 1 }, async (lab) => {
    const host = lab.host(0);
    const server = host.start(["iperf3", "-s", "-p", "7777"]);
    await server.waitListening(7777);
    expect(await server.terminate()).toBeGreaterThanOrEqual(0);
    await expect(server.waitListening(7777, 50)).rejects.toThrow("has ended");
  });
});

describe("disposal", () => {
  /** The namespaces of lab `id` that exist. */
  async function left(id: string): Promise<string[]> {
    const { stdout } = await run(["ip", "netns", "list"]);
    return stdout.split("\n").filter((line) => line.startsWith(`ovl${id}-`));
  }

  /** A lab in a process of its own, with something running in it; prints the lab's id. */
  function startOwner(hosts = 2) {
    const script =
      `import { openLab } from ${JSON.stringify(LAB_FILE)};` +
      `const lab = await openLab({ hosts: ${hosts} });` +
      `lab.host(0).start(["sleep", "1000"]);` +
      `console.log(lab.id); setInterval(() => {}, 1000);`;
    return Bun.spawn({ cmd: [process.execPath, "-e", script], stdout: "pipe", stderr: "inherit" });
  }

  /** The id of the lab that process `pid` is opening. */
  function recordOf(pid: number): string | undefined {
    const folder = "/run/overlay-lab";
    return readdirSync(folder)
      .filter((name) => name.endsWith(".json"))
      .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")))
      .find((record) => record.ownerPid === pid)?.id;
  }

  async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
    let text = "";
    for await (const chunk of stream) {
      text += Buffer.from(chunk).toString();
      if (text.includes("\n")) break;
    }
    return text.trim();
  }

  labTest("dispose: nothing stays", { hosts: 1 }, async () => {
    const lab = await openLab({ hosts: 2 });
    const child = lab.host(1).start(["sleep", "1000"]);
    expect((await left(lab.id)).length).toBe(3);
    await lab[Symbol.asyncDispose]();
    expect(await left(lab.id)).toEqual([]);
    expect(existsSync(lab.folder)).toBe(false);
    expect(existsSync(`/proc/${child.pid}`)).toBe(false);
    expect(existsSync(`/run/overlay-lab/${lab.id}.json`)).toBe(false);
  });

  labTest("interrupt: a lab cleans up before its process ends", { hosts: 1 }, async () => {
    const owner = startOwner();
    const id = await firstLine(owner.stdout);
    expect((await left(id)).length).toBe(3);
    // Twice, as when a terminal and the parent both pass it on.
    owner.kill("SIGINT");
    owner.kill("SIGINT");
    expect(await owner.exited).toBe(130);
    expect(await left(id)).toEqual([]);
  });

  labTest("interrupt: also while it is still being built", { hosts: 1 }, async () => {
    const owner = startOwner(20);
    const id = await waitFor(() => recordOf(owner.pid), { describe: "the record of the lab" });
    await waitFor(async () => (await left(id)).length > 2, { describe: "some namespaces" });
    owner.kill("SIGINT");
    expect(await owner.exited).toBe(130);
    expect(await left(id)).toEqual([]);
    expect(existsSync(`/tmp/overlay-lab-${id}`)).toBe(false);
  });

  labTest("crash: the next lab removes what was left", { hosts: 1 }, async (survivor) => {
    const owner = startOwner();
    const id = await firstLine(owner.stdout);
    owner.kill("SIGKILL");
    await owner.exited;
    expect((await left(id)).length).toBe(3);
    await using next = await openLab({ hosts: 1 });
    expect(await left(id)).toEqual([]);
    expect((await left(next.id)).length).toBe(2);
    expect((await left(survivor.id)).length).toBe(2); // Its owner lives: not touched.
  });

  labTest("removeStaleLabs: a damaged record is no obstacle", { hosts: 1 }, async (lab) => {
    const path = `/run/overlay-lab/${lab.id}-broken.json`;
    writeFileSync(path, "{");
    try {
      expect(removeStaleLabs()).not.toContain(lab.id);
      expect((await left(lab.id)).length).toBe(2);
    } finally {
      await Bun.file(path).delete();
    }
  });
});

test("labObstacle: says what is missing, or nothing", () => {
  const obstacle = labObstacle();
  if (obstacle !== undefined) expect(obstacle).toStartWith("needs ");
});
