/**
 * Tables: alignment, cutting, and hostile cells.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { formatTable, type TableColumn } from "./table.ts";

interface Row {
  readonly name: string;
  readonly count: string;
}

const COLUMNS: readonly TableColumn<Row>[] = [
  { head: "NAME", cell: ({ name }) => name, shrinkTo: 6 },
  { head: "COUNT", cell: ({ count }) => count, right: true },
];
const ROWS: readonly Row[] = [
  { name: "a-rather-long-name", count: "7" },
  { name: "b", count: "1,234,567" },
];

describe("formatTable", () => {
  test("columns are as wide as they need, without blanks at the end", () => {
    expect(formatTable(COLUMNS, ROWS, Number.POSITIVE_INFINITY)).toBe(
      [
        "NAME                    COUNT",
        "a-rather-long-name          7",
        "b                   1,234,567",
      ].join("\n"),
    );
  });

  test("what may shrink is cut to fit, down to its least", () => {
    for (const [width, longest] of [
      [25, 25],
      [17, 17],
      [5, 17],
    ] as const) {
      const lines = formatTable(COLUMNS, ROWS, width).split("\n");
      expect(Math.max(...lines.map((line) => line.length))).toBe(longest);
      expect(lines[2]).toContain("1,234,567");
      expect(lines[1]).toContain("…");
    }
  });

  test("wide characters count by their cells", () => {
    const lines = formatTable(COLUMNS, [{ name: "漢字", count: "1" }, ...ROWS], 25).split("\n");
    expect(new Set(lines.slice(0, 3).map((line) => Bun.stringWidth(line)))).toEqual(new Set([25]));
  });

  test("a cell cannot leave its line", () => {
    const text = formatTable(COLUMNS, [{ name: "x\ny\u001b[2J", count: "1" }], 80);
    expect(text.split("\n")).toHaveLength(2);
    expect(text).not.toContain("\u001b");
  });
});
