import { describe, expect, test } from "bun:test";
import { readlinkSync } from "node:fs";
import { networkTest } from "../../../tests/support/network-test.ts";
import { enterNetwork, enterNewNetwork } from "./namespace.ts";

const current = () => readlinkSync("/proc/thread-self/ns/net");

describe("namespace", () => {
  networkTest("enterNewNetwork: another namespace until left, then the one before", () => {
    const outer = current();
    const stay = enterNewNetwork();
    expect(current()).not.toBe(outer);
    stay.leave();
    expect(current()).toBe(outer);
    stay.leave();
    expect(current()).toBe(outer);
  });

  networkTest("enterNetwork: a program started inside is inside; `using` goes back", () => {
    const outer = current();
    {
      using _ = enterNetwork(`/proc/${process.ppid}/ns/net`);
      expect(current()).not.toBe(outer);
      const child = Bun.spawnSync(["readlink", "/proc/self/ns/net"]).stdout.toString().trim();
      expect(child).toBe(current());
    }
    expect(current()).toBe(outer);
  });

  test("enterNetwork: a path without a namespace changes nothing", () => {
    const before = current();
    expect(() => enterNetwork("/run/netns/ovt-no-such")).toThrow("ENOENT");
    expect(current()).toBe(before);
  });
});
