import { expect, test } from "bun:test";
import { enterNewNetwork } from "../sys/namespace.ts";
import { countIpsecPolicies } from "./ipsec-policies.ts";

const skipReason = process.getuid?.() === 0 ? "" : " [skipped: needs root]";

test.skipIf(skipReason !== "")(`countIpsecPolicies: as many as there are${skipReason}`, () => {
  using _stay = enterNewNetwork();
  expect(countIpsecPolicies()).toBe(0);
  const policy = ["src", "10.0.0.0/8", "dst", "10.0.0.0/8", "dir", "out", "action", "block"];
  const made = Bun.spawnSync(["ip", "xfrm", "policy", "add", ...policy]);
  // A kernel without IPsec refuses, and then there is still none.
  expect(countIpsecPolicies()).toBe(made.exitCode === 0 ? 1 : 0);
});
