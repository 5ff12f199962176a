/**
 * The version of the source is the version of the package.
 *
 * @module
 */
import { expect, test } from "bun:test";
import packageJson from "../../package.json";
import { VERSION } from "./version.ts";

test("VERSION: equals the version of package.json in a run from source", () => {
  expect(VERSION).toBe(packageJson.version);
});
