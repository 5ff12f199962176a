/**
 * Reader of the report that `bun test --reporter=junit` writes.
 *
 * Understands what that one program writes, not XML at large.
 *
 * @module
 */

/** What became of one test. */
export interface TestOutcome {
  readonly file: string;
  /** The names of the groups around it and its own, joined by " > ". */
  readonly name: string;
  readonly kind: "passed" | "failed" | "skipped";
  readonly seconds: number;
}

/** A reason at the end of a skipped test's name: "[skipped: needs root]". */
const REASON = /\s*\[skipped: (.+)\]$/;

/** Every test in the report, in order. */
export function parseJunit(xml: string): TestOutcome[] {
  const outcomes: TestOutcome[] = [];
  for (const match of xml.matchAll(/<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const attributes = match[1] ?? "";
    const body = match[2] ?? "";
    const group = attribute(attributes, "classname");
    const own = attribute(attributes, "name");
    outcomes.push({
      file: attribute(attributes, "file"),
      name: group === "" ? own : `${group} > ${own}`,
      kind: kindOf(body),
      seconds: Number(attribute(attributes, "time")),
    });
  }
  return outcomes;
}

/** Splits a skipped test's name into what it is and why it was skipped. */
export function skipReason(name: string): { readonly name: string; readonly reason: string } {
  const reason = REASON.exec(name)?.[1];
  if (reason === undefined) return { name, reason: "its name does not say why" };
  return { name: name.replace(REASON, ""), reason };
}

function kindOf(body: string): TestOutcome["kind"] {
  if (/<(failure|error)\b/.test(body)) return "failed";
  return /<skipped\b/.test(body) ? "skipped" : "passed";
}

function attribute(attributes: string, name: string): string {
  const value = new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? "";
  return value
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&apos;", "'")
    .replaceAll(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replaceAll("&amp;", "&");
}
