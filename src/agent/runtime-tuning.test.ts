import { expect, test } from "bun:test";
import { systemdUnit } from "../integrations/systemd/packaged.ts";
import { RUNTIME_SETTINGS } from "./runtime-tuning.ts";

test("the service has the settings already, so that it need not start itself anew", () => {
  const lines = (systemdUnit("/usr/local/bin/overlay") ?? "")
    .split("\n")
    .filter((line) => /^Environment=(BUN|MIMALLOC)_/.test(line));
  const wanted = Object.entries(RUNTIME_SETTINGS).map(([name, value]) => `${name}=${value}`);
  expect(lines.toSorted()).toEqual(wanted.map((pair) => `Environment=${pair}`).toSorted());
});
