/**
 * Who may import whom: the table of the architecture, and the checks of it.
 *
 * `base ← pure cores ← drivers ← admin ← agent ← cli ← main`. A file belongs to the row with the
 * longest name that its path below src/ begins with. Within a row everything may import
 * everything, without cycles.
 *
 * @module
 */
import type { Import, SourceFile } from "./source.ts";

export interface ImportRow {
  /** Rows whose values may be imported. */
  readonly from: readonly string[];
  /** Rows of which only types may be imported. */
  readonly typesFrom?: readonly string[];
  /** What may come from outside src/; a name stands for all below it, "node:fs" for both. */
  readonly outside?: readonly string[];
}

/** The ports of the machine: the files directly in src/host, types only. */
const PORTS = "host";
const DRIVER: ImportRow = {
  from: ["base", PORTS, "host/sys", "host/files", "host/sysctl"],
  outside: ["bun", "node:fs", "node:os", "node:path", "node:util"],
};
/** Drivers that other drivers stand on. */
const LOW_DRIVER: ImportRow = { ...DRIVER, from: ["base", PORTS, "host/sys"] };
const PURE_CONTROL = ["control/raft", "control/kv", "control/network"];
const PURE_DATA = ["wire", "fib", "probe", "ways", "bpf", "backends", "reconcile"].map(
  (name) => `dataplane/${name}`,
);

/** Rows whose code takes values and returns values: no clock, no I/O, no `await`. */
export const PURE_ROWS: readonly string[] = [...PURE_CONTROL, ...PURE_DATA];

/** The table. A folder of src/ without a row is a violation too. */
export const IMPORT_TABLE: Readonly<Record<string, ImportRow>> = {
  base: { from: [] },
  "control/raft": { from: ["base"] },
  "control/kv": { from: ["base"] },
  "control/network": { from: ["base", "control/kv"] },
  "control/cluster": {
    from: ["base", "control/raft", "control/kv"],
    typesFrom: [PORTS],
    outside: [
      ...["@peculiar/x509", "reflect-metadata"],
      ...["node:crypto", "node:net", "node:tls"],
    ],
  },
  "dataplane/wire": { from: ["base"] },
  "dataplane/fib": { from: ["base", "dataplane/wire"] },
  "dataplane/probe": { from: ["base", "dataplane/wire", "dataplane/fib"] },
  "dataplane/bpf": { from: ["base", "dataplane/fib"] },
  "dataplane/seal": { from: ["base", "dataplane/wire"], outside: ["node:crypto"] },
  "dataplane/forward": {
    from: ["base", ...["wire", "fib", "seal", "probe"].map((name) => `dataplane/${name}`)],
    typesFrom: [PORTS],
  },
  "dataplane/ways": { from: ["base"] },
  "dataplane/backends": {
    from: ["base", "dataplane/fib", "dataplane/ways"],
    typesFrom: ["control/network", PORTS],
  },
  "dataplane/reconcile": {
    from: ["base", "dataplane/fib", "dataplane/backends"],
    typesFrom: ["control/network", PORTS],
  },
  [PORTS]: { from: [], typesFrom: ["base"] },
  "host/sys": { from: ["base"], typesFrom: [PORTS], outside: ["bun:ffi", "node:fs", "node:os"] },
  "host/clock": LOW_DRIVER,
  "host/random": { ...LOW_DRIVER, outside: ["node:crypto"] },
  "host/files": LOW_DRIVER,
  "host/sysctl": LOW_DRIVER,
  "host/link": LOW_DRIVER,
  "host/netlink": DRIVER,
  "host/bpf": { ...DRIVER, from: [...DRIVER.from, "host/netlink"] },
  "host/keep": DRIVER,
  "host/tun": DRIVER,
  "host/udp": DRIVER,
  "host/underlay": DRIVER,
  "host/wal": DRIVER,
  admin: {
    from: ["base", "control/network", "control/kv"],
    typesFrom: ["control/cluster", "control/raft", "dataplane/forward", PORTS],
    outside: ["@hono/hono", "valibot", "@hono/valibot-validator", "node:crypto"],
  },
  integrations: {
    from: ["base", "host/files", "host/clock"],
    typesFrom: ["control/network", PORTS],
    outside: ["node:fs", "node:path"],
  },
  agent: {
    from: [
      ...["base", ...PURE_CONTROL, "control/cluster", ...PURE_DATA, "dataplane/seal"],
      ...["dataplane/forward", "host", "admin", "integrations"],
      ...["clock", "random", "files", "sys", "sysctl", "netlink", "bpf"].map(
        (name) => `host/${name}`,
      ),
      ...["keep", "link", "tun", "udp", "underlay", "wal"].map((name) => `host/${name}`),
    ],
    outside: ["bun", "node:fs", "node:os", "node:path", "node:util", "node:worker_threads"],
  },
  cli: {
    from: ["base", "agent", "admin", "integrations", "host/clock"],
    outside: ["commander", "cli-table3", "node:fs", "node:path", "node:readline"],
  },
  "main.ts": { from: ["base", "cli", "agent", "integrations"] },
};

/** Files outside src/ that the program carries as text. */
const CARRIED: readonly string[] = ["package.json", "install.sh", "packaging/overlay.service"];

/** Where imports may begin without being imported: the program and the packet loop's Worker. */
export const ENTRIES: readonly string[] = ["src/main.ts", "src/agent/packet-worker.ts"];

/** What a test or fake in src/ may import beside what its folder may. */
const TEST_OUTSIDE = ["bun", "cbor-x", "fast-check", "node:"];

/** The row of a path below src/; undefined when no row has it. */
export function rowOf(path: string): string | undefined {
  if (!path.startsWith("src/")) return undefined;
  const below = path.slice("src/".length).replace(/^main\.test\.ts$/, "main.ts");
  const rows = Object.keys(IMPORT_TABLE).filter(
    (row) =>
      below === row ||
      (row === PORTS ? /^host\/[^/]+\.ts$/.test(below) : below.startsWith(`${row}/`)),
  );
  return rows.sort((a, b) => b.length - a.length)[0];
}

/** Every import of a file in src/ that the table does not allow, as sentences. */
export function checkEdges(file: SourceFile): string[] {
  if (!file.path.startsWith("src/")) return [];
  const row = rowOf(file.path);
  if (row === undefined) return [`${file.path}: its folder has no row in the import table`];
  return file.imports
    .filter((each) => !isAllowed(file, row, each))
    .map((each) => {
      const how = each.typeOnly ? "types of" : "values of";
      return `${file.path}: ${row} may not import ${how} "${each.specifier}"`;
    });
}

function isAllowed(file: SourceFile, row: string, each: Import): boolean {
  const rules = IMPORT_TABLE[row];
  if (rules === undefined) return false;
  if (!each.target.startsWith("src/")) {
    const inRepository = each.specifier.startsWith(".");
    if (inRepository) return file.isTest || CARRIED.includes(each.target);
    const allowed = [...(rules.outside ?? []), ...(file.isTest ? TEST_OUTSIDE : [])];
    return allowed.some((name) => isBelow(each.specifier, name));
  }
  const target = rowOf(each.target);
  // The test of the whole program, beside main.ts, may take any part of it.
  if (target === undefined || (file.isTest && row === "main.ts")) return target !== undefined;
  if (target === row || rules.from.includes(target)) return true;
  if (rules.typesFrom?.includes(target) === true) return each.typeOnly || file.isTest;
  // A driver's test may bring other drivers along to have something real to work on.
  return file.isTest && row.startsWith("host/") && target.startsWith("host/");
}

function isBelow(specifier: string, name: string): boolean {
  return (
    specifier === name ||
    specifier.startsWith(`${name}/`) ||
    (name === "bun" && specifier.startsWith("bun:") && specifier !== "bun:ffi") ||
    (name === "node:" && specifier.startsWith(name))
  );
}

/**
 * Every cycle of value imports among `files`, as "a → b → a". Types may refer to each other inside
 * a folder; across folders the table's order forbids it.
 */
export function findCycles(files: readonly SourceFile[]): string[] {
  const graph = new Map(
    files.map((file) => {
      const values = file.imports.filter((each) => !each.typeOnly);
      return [file.path, values.map((each) => each.target)];
    }),
  );
  const cycles: string[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string) => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      cycles.push([...trail.slice(start), path].join(" → "));
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const target of graph.get(path) ?? []) visit(target);
    trail.pop();
    done.add(path);
  };
  for (const path of graph.keys()) visit(path);
  return cycles;
}

/** Files of src/ that nothing but their own test imports and that are no entry. */
export function findDead(files: readonly SourceFile[]): string[] {
  const used = new Set<string>(ENTRIES);
  for (const file of files) {
    for (const each of file.imports) {
      if (file.path !== each.target.replace(/\.ts$/, ".test.ts")) used.add(each.target);
    }
  }
  return files
    .filter((file) => file.path.startsWith("src/") && !file.path.endsWith(".test.ts"))
    .filter((file) => !used.has(file.path))
    .map((file) => `${file.path}: nothing imports it`);
}
