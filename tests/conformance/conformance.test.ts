/**
 * Our consensus core against the data files of etcd-io/raft, byte for byte.
 *
 * The files are not part of this repository: `OVERLAY_TESTDATA` names the folder that holds
 * `etcd-raft/{interaction,confchange,quorum}`. Where they are absent, one skipped test says so.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createConfChangeRunner } from "./confchange.ts";
import { normalizeOutput, parseDatadriven, type Stanza } from "./datadriven.ts";
import { createInteractionRunner } from "./interaction.ts";
import { runQuorumStanza } from "./quorum.ts";

const REPOSITORY = resolve(import.meta.dir, "../..");
const TESTDATA = process.env["OVERLAY_TESTDATA"] ?? join(REPOSITORY, "../shared/testdata");
const FOLDER = join(TESTDATA, "etcd-raft");

const SUITES: readonly {
  readonly name: string;
  readonly create: () => (stanza: Stanza) => string;
}[] = [
  { name: "interaction", create: createInteractionRunner },
  { name: "confchange", create: createConfChangeRunner },
  { name: "quorum", create: () => runQuorumStanza },
];

for (const { name, create } of SUITES) {
  const folder = join(FOLDER, name);
  describe(`etcd-raft ${name}`, () => {
    if (!existsSync(folder)) {
      test.skip(`all files [skipped: none at ${folder}, set OVERLAY_TESTDATA]`, () => undefined);
      return;
    }
    for (const file of readdirSync(folder)
      .filter((each) => each.endsWith(".txt"))
      .sort()) {
      test(file, () => {
        const run = create();
        for (const stanza of parseDatadriven(readFileSync(join(folder, file), "utf8"))) {
          const place = `${file}:${stanza.line} ${stanza.command}`;
          const actual = normalizeOutput(run(stanza));
          expect(`${place}\n${actual}`).toBe(`${place}\n${stanza.expected}`);
        }
      });
    }
  });
}
