/**
 * The rules of the house as tests: who imports whom, budgets, what may be called where.
 *
 * Each rule is shown to fire on a small bad sample, since a rule that cannot fire is worth
 * nothing. The table is in tidy/imports.ts, the rules are in tidy/rules.ts.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { checkEdges, ENTRIES, findCycles, findDead, IMPORT_TABLE, rowOf } from "./tidy/imports.ts";
import { brandNames, mentionsWorkplace, tidyRules } from "./tidy/rules.ts";
import { blankOut, parseSource, type SourceFile } from "./tidy/source.ts";

const ROOT = join(import.meta.dir, "..");
const MEDIAN_LINES_MAX = 180;

const sources: readonly SourceFile[] = ["src", "tests", "scripts"]
  .flatMap((folder) => [...new Bun.Glob(`${folder}/**/*.ts`).scanSync(ROOT)])
  .sort()
  .map((path) => parseSource(path, readFileSync(join(ROOT, path), "utf8")));
const brands = brandNames(sources);
const rules = tidyRules(brands);

/** Every file that is or may be committed, below the top. */
function committedFiles(): string[] {
  const words = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
  const listed = Bun.spawnSync(["git", ...words], { cwd: ROOT });
  const paths = listed.stdout.toString().split("\0");
  return paths.filter((path) => path !== "" && existsSync(join(ROOT, path)));
}

function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(join(ROOT, path), "utf8")) as T;
}

describe("this repository", () => {
  for (const rule of rules) {
    test(`rule: ${rule.name}`, () => {
      expect(sources.flatMap((file) => rule.check(file))).toEqual([]);
    });
  }

  test("imports: only along the table", () => {
    expect(sources.flatMap(checkEdges)).toEqual([]);
  });

  test("imports: no cycle", () => {
    expect(findCycles(sources)).toEqual([]);
  });

  test("imports: no file that nothing uses", () => {
    expect(findDead(sources)).toEqual([]);
  });

  test("imports: the reader finds what Bun's own scanner finds", () => {
    const transpiler = new Bun.Transpiler({ loader: "ts" });
    const missed = sources.flatMap((file) => {
      const found = new Set(file.imports.map((each) => each.specifier));
      return transpiler
        .scanImports(file.text)
        .filter((each) => !found.has(each.path))
        .map((each) => `${file.path}: ${each.path}`);
    });
    expect(missed).toEqual([]);
  });

  test("imports: the table's rows name only rows, and none above itself", () => {
    const order = Object.keys(IMPORT_TABLE);
    const wrong = order.flatMap((row) => {
      const rules = IMPORT_TABLE[row];
      const names = [...(rules?.from ?? []), ...(rules?.typesFrom ?? [])];
      return names
        .filter((name) => !order.includes(name) || name === row)
        .map((name) => `${row}: ${name}`);
    });
    expect(wrong).toEqual([]);
    const graph = order.map((row) => ({
      ...parseSource(row, ""),
      imports: (IMPORT_TABLE[row]?.from ?? []).map((target) => ({
        specifier: target,
        target,
        typeOnly: false,
      })),
    }));
    expect(findCycles(graph)).toEqual([]);
  });

  test("files: the median is short", () => {
    const lengths = sources
      .filter((file) => file.path.startsWith("src/") && !file.isTest)
      .map((file) => file.lines.length)
      .sort((a, b) => a - b);
    expect(lengths[Math.floor(lengths.length / 2)]).toBeLessThan(MEDIAN_LINES_MAX);
  });

  test("texts: no registry and no workplace is named anywhere", () => {
    const found = committedFiles()
      .filter((path) => path !== "LICENSE" && !path.startsWith("tests/vectors/"))
      .filter((path) => mentionsWorkplace(readFileSync(join(ROOT, path), "utf8")));
    expect(found).toEqual([]);
  });

  test("decisions: numbered from 001 without a gap", () => {
    const folder = join(ROOT, "docs/decisions");
    const names = existsSync(folder)
      ? readdirSync(folder).filter((name) => name.endsWith(".md"))
      : [];
    const numbers = names.map((name) => /^(\d{3})-[a-z0-9-]+\.md$/.exec(name)?.[1] ?? name).sort();
    const wanted = numbers.map((_, index) => String(index + 1).padStart(3, "0"));
    expect(numbers).toEqual(wanted);
  });

  test("deno.json: the libraries and versions of package.json", () => {
    const manifest = readJson<{ dependencies: Record<string, string> }>("package.json");
    const { imports } = readJson<{ imports: Record<string, string> }>("deno.json");
    const wanted = Object.entries(manifest.dependencies).map(([name, version]) => [
      name,
      version.startsWith("npm:") ? version : `npm:${name}@${version}`,
    ]);
    expect(imports).toEqual(Object.fromEntries(wanted));
  });

  test("package.json: every version is exact", () => {
    const { dependencies, devDependencies } =
      readJson<Record<string, Record<string, string>>>("package.json");
    const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^(npm:[\w@/-]+@)?\d+\.\d+\.\d+$/.test(version),
    );
    expect(loose).toEqual([]);
  });
});

const HEADER = "/**\n * A thing.\n *\n * @module\n */\n";

/** A file that breaks each rule, and one beside it that does not. */
const SAMPLES: readonly {
  readonly rule: string;
  readonly path: string;
  readonly bad: string;
  readonly good: string;
}[] = [
  { rule: "line length", path: "src/base/a.ts", bad: "x".repeat(101), good: "x".repeat(100) },
  { rule: "line length", path: "src/base/a.ts", bad: `// ${"x".repeat(98)}`, good: "" },
  {
    rule: "line length",
    path: "src/base/a.ts",
    bad: `f("${"x ".repeat(90)}");`,
    good: `f("${"x ".repeat(80)}");`,
  },
  { rule: "file length", path: "src/base/a.ts", bad: "\n".repeat(501), good: "\n".repeat(500) },
  { rule: "file length", path: "src/base/a.test.ts", bad: "\n".repeat(801), good: "\n" },
  { rule: "file length", path: "src/main.ts", bad: "\n".repeat(41), good: "\n".repeat(40) },
  { rule: "header", path: "src/base/a.ts", bad: "const a = 1;\n", good: HEADER },
  { rule: "header", path: "scripts/a.ts", bad: "/**\n * A thing.\n */\n", good: HEADER },
  { rule: "brand cast", path: "src/cli/a.ts", bad: "x as Term;", good: "y as Terminal;" },
  { rule: "unchecked cast", path: "src/cli/a.ts", bad: "x as any;", good: "// as any" },
  { rule: "unchecked cast", path: "src/cli/a.ts", bad: "x as unknown as Y", good: "x as unknown" },
  {
    rule: "suppressed check",
    path: "src/cli/a.ts",
    bad: "// @ts-ignore: no",
    good: 'const text = "@ts-ignore";',
  },
  { rule: "open end", path: "src/cli/a.ts", bad: "// TODO: later", good: "// TODO(#7): later" },
  { rule: "open end", path: "src/cli/a.ts", bad: "/* FIXME */", good: "const FIXME = 1;" },
  {
    rule: "await in a pure core",
    path: "src/control/kv/a.ts",
    bad: "const a = await b();",
    good: "// await",
  },
  {
    rule: "sleep in a test",
    path: "src/cli/a.test.ts",
    bad: "await new Promise((resolve) => setTimeout(resolve, 10));",
    good: "clock.setTimeout(1);",
  },
  { rule: "focused test", path: "tests/a.test.ts", bad: "test.only(1)", good: "test(1)" },
  {
    rule: "skip without a reason",
    path: "tests/a.test.ts",
    bad: 'test.skip("a")',
    good: 'test.skip("a [skipped: needs root]")',
  },
  { rule: "file name", path: "src/cli/bigThing.ts", bad: "", good: "" },
  { rule: "Date.now", path: "src/cli/a.ts", bad: "Date.now()", good: '"Date.now"' },
  { rule: "new Date()", path: "src/cli/a.ts", bad: "new Date()", good: "new Date(0)" },
  {
    rule: "performance.now",
    path: "src/control/kv/a.ts",
    bad: "performance.now()",
    good: "clock.nowMs()",
  },
  { rule: "timers", path: "src/cli/a.ts", bad: "setTimeout(f, 1)", good: "clock.setTimeout(f)" },
  { rule: "timers", path: "src/admin/a.ts", bad: "Bun.sleep(1)", good: "sleep(1)" },
  { rule: "Math.random", path: "src/cli/a.ts", bad: "Math.random()", good: "Math.round(1)" },
  {
    rule: "random bytes",
    path: "src/control/cluster/a.ts",
    bad: "crypto.getRandomValues(a)",
    good: "random.bytes(3)",
  },
  { rule: "process.exit", path: "src/cli/a.ts", bad: "process.exit(1)", good: "return 1" },
  { rule: "killing", path: "src/agent/a.ts", bad: "process.kill(1)", good: "child.kill()" },
  { rule: "process.env", path: "src/cli/a.ts", bad: "process.env.A", good: "config.env" },
  { rule: "other programs", path: "src/agent/a.ts", bad: "Bun.spawn([])", good: "spawn()" },
  { rule: "console", path: "src/cli/a.ts", bad: "console.log(1)", good: "// console.log(1)" },
  { rule: "parseInt", path: "src/cli/a.ts", bad: 'parseInt("1")', good: "parseInteger(1)" },
  { rule: "default export", path: "src/cli/a.ts", bad: "export default 1", good: "export {}" },
  {
    rule: "workplace",
    path: "src/cli/a.ts",
    bad: `"https://${"registry"}.${"npmjs"}.org"`,
    good: '"https://overlay.example"',
  },
];

describe("the rules", () => {
  const ruleOf = (name: string) => tidyRules(["Term"]).find((rule) => rule.name === name);
  for (const { rule, path, bad, good } of SAMPLES) {
    test(`${rule}: fires on a bad sample (${path})`, () => {
      expect(ruleOf(rule)?.check(parseSource(path, bad))).toHaveLength(1);
    });
    if (rule === "file name") continue;
    test(`${rule}: is silent on a good one (${path})`, () => {
      expect(ruleOf(rule)?.check(parseSource(path, good))).toEqual([]);
    });
  }

  test("every rule has a sample", () => {
    const sampled = new Set(SAMPLES.map((sample) => sample.rule));
    expect(rules.map((rule) => rule.name).filter((name) => !sampled.has(name))).toEqual([]);
  });

  test("a call is allowed at its home", () => {
    const file = parseSource("src/host/clock/a.ts", "Date.now(); setTimeout(f, 1);");
    expect(rules.flatMap((rule) => (rule.name === "header" ? [] : rule.check(file)))).toEqual([]);
  });

  test("brand names are read from base", () => {
    expect(brands).toContain("Term");
    expect(brands).toContain("NodeId");
  });
});

describe("the import table", () => {
  const edge = (path: string, statement: string) =>
    checkEdges(parseSource(path, `${statement}\n`)).length;

  test.each([
    ["src/base/a.ts", 'import { b } from "../control/raft/b.ts";', 1],
    ["src/control/raft/a.ts", 'import { b } from "../../base/b.ts";', 0],
    ["src/control/raft/a.ts", 'import { b } from "../kv/b.ts";', 1],
    ["src/control/raft/a.ts", 'import { b } from "node:fs";', 1],
    ["src/control/raft/a.ts", 'import type { b } from "../../host/ports.ts";', 1],
    ["src/control/cluster/a.ts", 'import type { Clock } from "../../host/ports.ts";', 0],
    ["src/control/cluster/a.ts", 'import { Clock } from "../../host/ports.ts";', 1],
    ["src/control/cluster/a.ts", 'import { type Clock } from "../../host/ports.ts";', 0],
    ["src/host/tun/a.ts", 'import { dlopen } from "bun:ffi";', 1],
    ["src/host/sys/a.ts", 'import { dlopen } from "bun:ffi";', 0],
    ["src/cli/a.ts", 'export { b } from "../control/raft/b.ts";', 1],
    ["src/cli/a.ts", 'const b = await import("../control/raft/b.ts");', 1],
    ["src/cli/a.ts", 'import "reflect-metadata";', 1],
    ["src/cli/a.ts", 'import { c } from "../../tests/lab/lab.ts";', 1],
    ["src/cli/a.test.ts", 'import { c } from "../../tests/lab/lab.ts";', 0],
    ["src/cli/a.test.ts", 'import { c } from "bun:test";', 0],
    ["src/nowhere/a.ts", "", 1],
  ])("%s: %s", (path, statement, violations) => {
    expect(edge(path, statement)).toBe(violations);
  });

  test("rowOf: the longest row that fits", () => {
    expect(rowOf("src/host/ports.ts")).toBe("host");
    expect(rowOf("src/host/wal/log.ts")).toBe("host/wal");
    expect(rowOf("src/main.ts")).toBe("main.ts");
    expect(rowOf("tests/a.ts")).toBeUndefined();
  });

  const ring = [
    parseSource("src/base/a.ts", 'import { b } from "./b.ts";'),
    parseSource("src/base/b.ts", 'import { c } from "./c.ts";'),
    parseSource("src/base/c.ts", 'import { a } from "./a.ts";'),
  ];

  test("findCycles: names the way around", () => {
    expect(findCycles(ring)).toEqual([
      "src/base/a.ts → src/base/b.ts → src/base/c.ts → src/base/a.ts",
    ]);
    expect(findCycles(ring.slice(0, 2))).toEqual([]);
  });

  test("findDead: its own test does not keep a file alive, an entry needs nobody", () => {
    const files = [
      parseSource("src/base/dead.ts", ""),
      parseSource("src/base/dead.test.ts", 'import { a } from "./dead.ts";'),
      ...ENTRIES.map((path) => parseSource(path, "")),
      ...ring,
    ];
    expect(findDead(files)).toEqual(["src/base/dead.ts: nothing imports it"]);
  });
});

describe("blankOut", () => {
  test.each([
    ['const a = "// b"; // c', 'const a = "    ";     '],
    ["a /* b */ c", "a         c"],
    ["const re = /[/\"']+/g; x", "const re = /      /g; x"],
    ["a / b / c", "a / b / c"],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the sample is a template.
    ["`a ${b + `c ${d}`} e` f", "`  ${b + `  ${d}`}  ` f"],
    ["'it\\'s' x", "'     ' x"],
    ["`unclosed", "`        "],
  ])("%s", (text, blanked) => {
    expect(blankOut(text)).toBe(blanked);
  });
});
