/**
 * The features of a real link, in a network namespace of the test's own.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { enterNewNetwork } from "../sys/namespace.ts";
import { linkFeatures, linkIndex, setLinkFeature } from "./link-features.ts";

const GONE = "ovtnone";

/** Whether the feature is on, as ethtool says it. */
function isOn(name: string): boolean {
  const { stdout } = Bun.spawnSync(["ethtool", "-k", "lo"]);
  const lines = stdout.toString().split("\n");
  return lines.some((line) => line.trim().startsWith(`${name}: on`));
}

describe.skipIf(process.getuid?.() !== 0)("link features", () => {
  test("are those that ethtool prints", () => {
    using _stay = enterNewNetwork();
    const active = linkFeatures("lo");
    for (const name of ["tx-udp-segmentation", "tx-udp_tnl-segmentation", "loopback"]) {
      expect(`${name} ${active.has(name)}`).toBe(`${name} ${isOn(name)}`);
    }
    expect(() => linkFeatures(GONE)).toThrow(`Cannot list the features of link "${GONE}": ENODEV`);
  });

  test("are switched one at a time, and no others", () => {
    using _stay = enterNewNetwork();
    const name = "tx-udp-segmentation";
    const before = linkFeatures("lo");
    expect(before.has(name)).toBe(true);
    setLinkFeature("lo", name, false);
    expect([...before].filter((each) => !linkFeatures("lo").has(each))).toEqual([name]);
    setLinkFeature("lo", name, true);
    expect(linkFeatures("lo")).toEqual(before);
    const change = `Cannot change the features of link`;
    expect(() => setLinkFeature("lo", "no-such", true)).toThrow(
      `${change} "lo": it has no no-such`,
    );
    expect(() => setLinkFeature(GONE, name, true)).toThrow(`${change} "${GONE}": ENODEV`);
  });

  test("belong to a link with a number", () => {
    using _stay = enterNewNetwork();
    expect(linkIndex("lo")).toBe(1);
    expect(() => linkIndex(GONE)).toThrow(`Cannot find the number of link "${GONE}"`);
  });
});
