import { describe, expect, test } from "bun:test";
import { FaultTable } from "./faults.ts";

/** The rules only, without the four lines that every rendering begins with. */
function rulesOf(table: FaultTable): string[] {
  return table.render().trimEnd().split("\n").slice(4);
}

describe("FaultTable", () => {
  test("empty: replaces whatever rules there were by none", () => {
    expect(new FaultTable().render()).toContain("delete table bridge overlay_lab");
    expect(rulesOf(new FaultTable())).toEqual([]);
  });

  test("cut: one direction, once", () => {
    const table = new FaultTable();
    table.cut("h1", "h2");
    table.cut("h1", "h2");
    expect(rulesOf(table)).toEqual([
      'add rule bridge overlay_lab forward iifname "h1" oifname "h2" counter drop',
    ]);
  });

  test("lose: a hundredth of a percent is one in ten thousand", () => {
    const table = new FaultTable();
    table.lose("h1", "h2", 0.01);
    expect(rulesOf(table)[0]).toContain("numgen random mod 10000 < 1 counter drop");
    table.lose("h1", "h2", 0);
    expect(rulesOf(table)).toEqual([]);
  });

  test("lose: refuses what is no share", () => {
    for (const percent of [-1, 101, Number.NaN]) {
      expect(() => new FaultTable().lose("h1", "h2", percent)).toThrow(RangeError);
    }
  });

  test("heal: the one direction, cut and loss; healAll: everything", () => {
    const table = new FaultTable();
    table.cut("h1", "h2");
    table.cut("h2", "h1");
    table.lose("h1", "h2", 5);
    table.heal("h1", "h2");
    expect(rulesOf(table)).toHaveLength(1);
    expect(rulesOf(table)[0]).toContain('iifname "h2" oifname "h1"');
    table.healAll();
    expect(rulesOf(table)).toEqual([]);
  });
});
