import { expect, test } from "bun:test";
import { networkTest } from "../../../tests/support/network-test.ts";
import { HostError } from "../../base/host-error.ts";
import { readSysctl, writeSysctl } from "./sysctl.ts";

const FORWARD = "net/ipv4/ip_forward";

networkTest("readSysctl, writeSysctl: a value comes back without its line end", () => {
  expect(readSysctl(FORWARD)).toBe("0");
  writeSysctl(FORWARD, "1");
  expect(readSysctl(FORWARD)).toBe("1");
});

networkTest("writeSysctl: a value that the kernel refuses is an error with its name", () => {
  try {
    writeSysctl(FORWARD, "many");
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(HostError);
    expect(error).toMatchObject({
      errno: "EINVAL",
      object: "/proc/sys/net/ipv4/ip_forward to many",
    });
  }
});

test("a setting that the kernel lacks: undefined to read, an error to write", () => {
  expect(readSysctl("net/ipv4/no_such")).toBeUndefined();
  expect(() => writeSysctl("net/ipv4/no_such", "1")).toThrow(
    "Cannot set /proc/sys/net/ipv4/no_such",
  );
});

test("a path outside net/ is our bug", () => {
  for (const path of [
    "kernel/hostname",
    "net/../kernel/hostname",
    "net",
    "net/ipv4/ip_forward\n",
  ]) {
    expect(() => readSysctl(path)).toThrow("below net/");
    expect(() => writeSysctl(path, "1")).toThrow("below net/");
  }
});
