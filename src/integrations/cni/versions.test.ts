import { expect, test } from "bun:test";
import { CNI_VERSIONS, commonVersion, formatVersions, parseVersions, relabel } from "./versions.ts";

const OLD = CNI_VERSIONS.slice(0, 4);

test("commonVersion: the newest that all speak, never newer than wanted", () => {
  expect(commonVersion("1.1.0", [CNI_VERSIONS, CNI_VERSIONS])).toBe("1.1.0");
  expect(commonVersion("1.1.0", [CNI_VERSIONS, OLD])).toBe("1.0.0");
  expect(commonVersion("0.4.0", [CNI_VERSIONS])).toBe("0.4.0");
  expect(commonVersion("1.1.0", [["1.1.0"], ["0.3.1"]])).toBeUndefined();
  expect(commonVersion("1.1.0", [[]])).toBeUndefined();
});

test("parseVersions: those that we speak too, out of anything", () => {
  expect(parseVersions(formatVersions())).toEqual([...CNI_VERSIONS]);
  expect(parseVersions(`{"supportedVersions":["0.1.0","1.0.0",7]}`)).toEqual(["1.0.0"]);
  for (const text of ["", "[]", "{}", `{"supportedVersions":"1.0.0"}`]) {
    expect(parseVersions(text)).toEqual([]);
  }
});

test("relabel: the object and the previous result in it", () => {
  const config = { cniVersion: "1.1.0", prevResult: { cniVersion: "1.1.0", ips: [] }, a: 1 };
  expect(relabel(config, "1.0.0") as object).toEqual({
    cniVersion: "1.0.0",
    prevResult: { cniVersion: "1.0.0", ips: [] },
    a: 1,
  });
  expect(relabel({}, "0.4.0") as object).toEqual({ cniVersion: "0.4.0" });
});
