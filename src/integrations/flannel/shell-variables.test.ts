import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseShellVariables } from "./shell-variables.ts";

const CASES: readonly { text: string; values: Record<string, string>; why: string }[] = [
  { text: "A=1\nB_2=x/y\n", values: { A: "1", B_2: "x/y" }, why: "plain words" },
  { text: `A="a b"\nB='c $d'`, values: { A: "a b", B: "c $d" }, why: "quotes are taken off" },
  { text: "export A=1\n  B=2 ", values: { A: "1", B: "2" }, why: "export, and blanks around" },
  { text: "A=1\nA=2", values: { A: "2" }, why: "the last one counts" },
  { text: "A=", values: { A: "" }, why: "an empty value" },
  { text: "# A=1\nB=1 # why\n\n", values: { B: "1" }, why: "comments" },
  { text: "A=1\r\n", values: { A: "1" }, why: "line ends of other systems" },
  { text: 'A=$B\nC="$(id)"\nD=`id`\nE=a\\b', values: {}, why: "nothing is expanded" },
  { text: "A=1;id\nB=1 id\nif true", values: {}, why: "commands" },
  { text: `A="a\nB=b"c\n2A=1`, values: {}, why: "open quotes, and no names" },
];

for (const { text, values, why } of CASES) {
  test(`parseShellVariables: ${why}`, () => {
    expect(Object.fromEntries(parseShellVariables(text))).toEqual(values);
  });
}

test("parseShellVariables: takes any text, of any length", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      for (const value of parseShellVariables(text).values()) expect(value).not.toInclude("\n");
    }),
  );
  const long = `A=1\n${"B=1\n".repeat(20_000)}C=1`;
  expect([...parseShellVariables(long).keys()]).toEqual(["A", "B"]);
});
