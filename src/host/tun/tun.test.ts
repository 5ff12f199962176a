import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import { HostError } from "../../base/host-error.ts";
import { adoptTunDevice, openTunDevice } from "./tun-device.ts";

const SKIP_REASON = process.getuid?.() === 0 ? "" : " (skipped: needs root)";
const privileged = test.skipIf(SKIP_REASON !== "");

function errorOf(action: () => unknown): HostError {
  try {
    action();
  } catch (error) {
    if (error instanceof HostError) return error;
    throw error;
  }
  throw new Error("expected a HostError");
}

describe("openTunDevice", () => {
  test.each(["", "a name", "a/b", "sixteen-letters-"])("refuses the link name %j", (name) => {
    expect(errorOf(() => openTunDevice(name)).message).toContain("a link name has 1 to 15");
  });

  privileged(`a link that is no TUN is refused with the next step${SKIP_REASON}`, () => {
    const error = errorOf(() => openTunDevice("lo"));
    expect(error.errno).toBe("EINVAL");
    expect(error.message).toBe(
      'Cannot open TUN "lo": a link of this name exists and is not a TUN of this agent (EINVAL); ' +
        "remove or rename that link (ip link show lo)",
    );
  });
});

test("adoptTunDevice: what is no TUN is refused, and closed", () => {
  const fd = fs.openSync("/dev/null", "r+");
  expect(adoptTunDevice("overlay0", fd)).toBeUndefined();
  expect(fs.existsSync(`/proc/self/fd/${fd}`)).toBe(false);
});
