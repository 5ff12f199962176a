import { describe, expect, test } from "bun:test";
import { parseJunit, skipReason } from "./junit.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="4" failures="1" skipped="2">
  <testsuite name="a.test.ts" file="a.test.ts" tests="4">
    <testsuite name="group &lt;x&gt;" file="a.test.ts" line="2">
      <testcase name="adds &amp; &quot;quotes&quot;" classname="group &lt;x&gt;" time="0.5"
        file="a.test.ts" line="2" assertions="0" />
      <testcase name="fails" classname="group &lt;x&gt;" time="0.1" file="a.test.ts" line="3">
        <failure type="AssertionError" message="a &gt; b">no</failure>
      </testcase>
      <testcase name="pings [skipped: needs root]" classname="" time="0" file="a.test.ts" line="4">
        <skipped />
      </testcase>
      <testcase name="later" classname="" time="0" file="a.test.ts" line="5">
        <skipped message="TODO" />
      </testcase>
    </testsuite>
  </testsuite>
</testsuites>`;

describe("parseJunit", () => {
  test("names, kinds and times in order", () => {
    expect(parseJunit(REPORT)).toEqual([
      { file: "a.test.ts", name: 'group <x> > adds & "quotes"', kind: "passed", seconds: 0.5 },
      { file: "a.test.ts", name: "group <x> > fails", kind: "failed", seconds: 0.1 },
      { file: "a.test.ts", name: "pings [skipped: needs root]", kind: "skipped", seconds: 0 },
      { file: "a.test.ts", name: "later", kind: "skipped", seconds: 0 },
    ]);
  });

  test("an empty or cut report has no tests", () => {
    expect(parseJunit("")).toEqual([]);
    expect(parseJunit(REPORT.slice(0, 300))).toEqual([]);
  });
});

describe("skipReason", () => {
  test("the reason stands in brackets at the end", () => {
    const split = skipReason("pings [skipped: needs root]");
    expect(split).toEqual({ name: "pings", reason: "needs root" });
  });

  test("no reason is said to be none", () => {
    expect(skipReason("pings").reason).toBe("its name does not say why");
  });
});
