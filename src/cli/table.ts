/**
 * Tables of plain columns, cut to the width of the terminal.
 *
 * Layout and display width (wide characters, color codes) are cli-table3's; which columns give way
 * when the line is too long is decided here. Imported only by the commands that print a table.
 *
 * @module
 */
import CliTable from "cli-table3";
import { safe } from "./format.ts";

export interface TableColumn<Row> {
  readonly head: string;
  readonly cell: (row: Row) => string;
  /** Numbers. */
  readonly right?: boolean;
  /** May be cut, down to this many characters; the others are always whole. */
  readonly shrinkTo?: number;
}

const GAP = "  ";

/** `rows` under their heads, without color; each line at most `width` where shrinking allows. */
export function formatTable<Row>(
  columns: readonly TableColumn<Row>[],
  rows: readonly Row[],
  width: number,
): string {
  const lines = [
    columns.map((column) => column.head),
    ...rows.map((row) => columns.map((column) => safe(column.cell(row)))),
  ];
  const options = {
    colWidths: fitWidths(columns, lines, width),
    colAligns: columns.map((column): "left" | "right" => (column.right ? "right" : "left")),
    chars: NO_BORDERS,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  };
  const text: string[] = [];
  for (let at = 0; at < lines.length; at += CHUNK_LINES) {
    const table = new CliTable(options);
    table.push(...lines.slice(at, at + CHUNK_LINES));
    text.push(...table.toString().split("\n"));
  }
  return text.map((line) => line.trimEnd()).join("\n");
}

/**
 * Lines laid out at once. The library compares every cell with every other one to find spans: a
 * table of 2,000 lines takes it 2.2 s whole and 0.4 s in pieces (Bun 1.4.5).
 */
const CHUNK_LINES = 50;

const NO_BORDERS = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: GAP,
};

/** Natural widths, less what is too much, taken evenly off the widest columns that may shrink. */
function fitWidths<Row>(
  columns: readonly TableColumn<Row>[],
  lines: readonly (readonly string[])[],
  width: number,
): number[] {
  const widths = columns.map((_, at) =>
    Math.max(...lines.map((line) => Bun.stringWidth(line[at]!))),
  );
  const gaps = GAP.length * (columns.length - 1);
  let excess = widths.reduce((sum, one) => sum + one, gaps) - width;
  while (excess > 0) {
    const widest = columns.reduce((best, column, at) => {
      if (column.shrinkTo === undefined || widths[at]! <= column.shrinkTo) return best;
      return best < 0 || widths[at]! > widths[best]! ? at : best;
    }, -1);
    if (widest < 0) break;
    widths[widest]!--;
    excess--;
  }
  return widths;
}
