/**
 * A cluster that lies to its clients is found out: each check of what clients, watchers and the
 * end see is shown to fail when it must.
 *
 * @module
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { SABOTAGES } from "./sabotage.ts";

describe("sabotage", () => {
  let outcomes: Record<string, string>;

  beforeAll(async () => {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "sabotage.ts")]);
    outcomes = JSON.parse(await new Response(child.stdout).text());
  }, 120_000);

  for (const { name, breaks } of SABOTAGES) {
    test(`${name}: ${breaks ?? "nothing is found"}`, () => {
      expect(outcomes[name]).toBe(breaks ?? "");
    });
  }
});
