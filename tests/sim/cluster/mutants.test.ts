/**
 * The bugs made on purpose can be made: their places are still there. That each is found is shown
 * by `../simulator.test.ts`.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { editedText, findMutant, MUTANTS } from "./mutants.ts";

const ROOT = join(import.meta.dir, "../../..");

describe("mutants", () => {
  for (const mutant of MUTANTS) {
    test(`${mutant.name}: its place is there once, and parses after the change`, async () => {
      for (const edit of [mutant, ...(mutant.also ?? [])]) {
        const text = await Bun.file(join(ROOT, edit.file)).text();
        const edited = editedText(text, edit);
        expect(edited).not.toBe(text);
        expect(() => new Bun.Transpiler({ loader: "ts" }).transformSync(edited)).not.toThrow();
      }
    });
  }

  test("names are unique", () => {
    const names = MUTANTS.map((mutant) => mutant.name);
    expect(new Set(names).size).toBe(names.length);
  });

  test("editedText: a place that is missing or there twice is an error", () => {
    const edit = { file: "x.ts", find: "a", replace: "b" };
    expect(editedText("xay", edit)).toBe("xby");
    expect(() => editedText("xy", edit)).toThrow("there 0 times");
    expect(() => editedText("aa", edit)).toThrow("there 2 times");
  });

  test("findMutant: an unknown name is an error that names the known ones", () => {
    expect(() => findMutant("nothing")).toThrow("count-prior-terms");
  });
});
