import { describe, expect, test } from "bun:test";
import { importNetwork, putConfig } from "./commands.ts";
import type { JsonObject } from "./json.ts";

describe("a config's command", () => {
  const rows: { config: JsonObject; needs?: number; why: string }[] = [
    { config: { Network: "10.0.0.0/16" }, why: "without a backend: every version reads it" },
    { config: { Backend: { Type: "vxlan" } }, why: "so it does a backend of the first version" },
    { config: { Backend: { Type: "auto" } }, needs: 3, why: "a backend of version 3" },
    { config: { bACKEND: { tYPE: "AUTO" } }, needs: 3, why: "in any case" },
    { config: { Backend: { Type: "extension" } }, needs: 4, why: "a backend of version 4" },
    { config: { Backend: "auto" }, why: "no config at all: refused by every version" },
    { config: { Backend: { Type: ["auto"] } }, why: "a type that is none" },
  ];
  for (const { config, needs, why } of rows) {
    test(why, () => {
      expect(putConfig({ config }).needs).toBe(needs);
      expect(importNetwork({ config, reservations: [] }).needs).toBe(needs);
    });
  }
});
