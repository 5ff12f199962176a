/**
 * The completion scripts, run by the shells that are there, and the man page.
 */
import { describe, expect, test } from "bun:test";
import { Command } from "commander";
import { describeCommand } from "./command-tree.ts";
import { bashCompletion, fishCompletion, zshCompletion } from "./completion-scripts.ts";
import { manPage } from "./man-page.ts";

function program() {
  const top = new Command("overlay").description("Overlay network");
  const config = top.command("config").description("it's the network config: get, set");
  config.command("get").description("print it").option("--json", "print JSON");
  config.command("set").description("change it").argument("<json>");
  top.command("status").description("show this node").option("-w, --watch", "again and again");
  top.command("debug", { hidden: true }).description("not for everybody");
  return describeCommand(top);
}

/** What bash offers for `words`, the last one being typed. */
function completeInBash(...words: string[]): string[] {
  const lines = [
    bashCompletion(program()),
    'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))',
    "_overlay",
    `printf "%s\\n" "\${COMPREPLY[@]}"`,
  ];
  const shell = Bun.spawnSync(["bash", "-c", lines.join("\n"), "bash", ...words]);
  expect(shell.stderr.toString()).toBe("");
  return shell.stdout.toString().split("\n").filter(Boolean);
}

describe("completion", () => {
  for (const { words, found } of [
    { words: ["overlay", ""], found: ["config", "status", "--help"] },
    { words: ["overlay", "s"], found: ["status"] },
    { words: ["overlay", "config", ""], found: ["get", "set", "--help"] },
    { words: ["overlay", "config", "get", "--"], found: ["--json", "--help"] },
    { words: ["overlay", "config", "--help", "s"], found: ["set"] },
    { words: ["overlay", "status", "--w"], found: ["--watch"] },
    { words: ["overlay", "nothing", "st"], found: ["status"] },
  ]) {
    test(`bash: ${words.join(" ")}`, () => {
      expect(completeInBash(...words)).toEqual(found);
    });
  }

  test("zsh and fish: quotes and colons in a description stay text", () => {
    expect(zshCompletion(program())).toContain("'config:it'\\''s the network config\\: get, set'");
    expect(fishCompletion(program())).toContain(
      "-a config -d 'it\\'s the network config: get, set'",
    );
    for (const script of [zshCompletion(program()), fishCompletion(program())]) {
      expect(script).not.toContain("debug");
      expect(script).toContain("overlay config get");
    }
  });
});

test("the man page: every command with its options, and nothing that roff would take amiss", () => {
  const page = manPage(program(), "1.2.3");
  expect(page).toContain(".SS overlay config get [options]\nPrint it.\n");
  expect(page).toContain("\\fB\\-\\-json\\fR\nprint JSON");
  expect(page).not.toContain("debug");
  for (const line of page.split("\n")) {
    if (/^[.']/.test(line)) expect(line).toMatch(/^\.(TH|SH|SS|TP|B|I|BR) ?/);
  }
});
