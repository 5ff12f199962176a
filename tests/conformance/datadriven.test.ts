/**
 * The runner's own parts: the file format, and texts that the files at hand do not reach.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../src/base/ids.ts";
import type { TraceEvent } from "../../src/control/raft/trace.ts";
import { normalizeOutput, parseDatadriven } from "./datadriven.ts";
import { quote } from "./describe.ts";
import { logLines } from "./log-lines.ts";

describe("parseDatadriven", () => {
  test("reads directives, arguments, input and output", () => {
    const text = [
      "# a comment",
      "",
      "add-nodes 3 voters=(1, 2,3) learners=() index=10",
      "----",
      "ok",
      "",
      "propose-conf-change 1 v1=true",
      "  r1  ",
      "----",
      "two",
      "lines",
    ].join("\n");
    expect(parseDatadriven(text)).toEqual([
      {
        line: 3,
        command: "add-nodes",
        args: [
          { key: "3", values: [] },
          { key: "voters", values: ["1", "2", "3"] },
          { key: "learners", values: [] },
          { key: "index", values: ["10"] },
        ],
        input: "",
        expected: "ok\n",
      },
      {
        line: 7,
        command: "propose-conf-change",
        args: [
          { key: "1", values: [] },
          { key: "v1", values: ["true"] },
        ],
        input: "r1",
        expected: "two\nlines\n",
      },
    ]);
  });

  test("a double separator admits empty lines; a backslash continues a directive", () => {
    const text = "status \\\n 1\n----\n----\na\n\nb\n----\n----\n\ncampaign 2\n----\n";
    expect(parseDatadriven(text)).toMatchObject([
      { command: "status", args: [{ key: "1" }], expected: "a\n\nb\n" },
      { command: "campaign", args: [{ key: "2" }], expected: "" },
    ]);
  });

  test("what cannot be read is not passed over", () => {
    expect(() => parseDatadriven("status (1\n----\n")).toThrow("cannot read directive");
  });

  test("output ends with a line feed unless it is empty", () => {
    expect(["", "a", "a\n"].map(normalizeOutput)).toEqual(["", "a\n", "a\n"]);
  });
});

describe("quote", () => {
  const TABLE = [
    { text: "foo bar", quoted: '"foo bar"', why: "plain" },
    { text: 'a"b\\c', quoted: '"a\\"b\\\\c"', why: "escaped" },
    { text: "\n\t\0\x7f", quoted: '"\\n\\t\\x00\\x7f"', why: "control characters" },
    { text: "é世🙂", quoted: '"é世🙂"', why: "printable beyond ASCII" },
    { text: "\u200b\u00a0", quoted: '"\\u200b\\u00a0"', why: "not printable" },
  ] as const;
  for (const { text, quoted, why } of TABLE) {
    test(why, () => expect(quote(new TextEncoder().encode(text))).toBe(quoted));
  }

  test("bytes that are no UTF-8 are shown by number", () => {
    expect(quote(new Uint8Array([0x61, 0xff, 0xc3, 0x62]))).toBe('"a\\xff\\xc3b"');
  });
});

describe("logLines", () => {
  const term = decodeTerm(3);
  const entry = { term: decodeTerm(2), index: decodeIndex(9) };
  const node = decodeNodeId(26);
  const TABLE: readonly { readonly event: TraceEvent; readonly lines: readonly string[] }[] = [
    {
      event: { kind: "campaign_refused", reason: "conf_change_unapplied", term },
      lines: [
        "WARN a cannot campaign at term 3 since there are still pending configuration changes" +
          " to apply",
      ],
    },
    {
      event: { kind: "campaign_refused", reason: "already_leader", term },
      lines: ["DEBUG a ignoring MsgHup because already leader"],
    },
    {
      event: { kind: "unstable_truncated", from: entry.index },
      lines: ["INFO truncate the unstable entries before index 9"],
    },
    {
      event: { kind: "snapshot_fast_forwarded", commit: entry.index, last: entry, snapshot: entry },
      lines: [
        "INFO a [commit: 9, lastindex: 9, lastterm: 2] fast-forwarded commit to snapshot" +
          " [index: 9, term: 2]",
      ],
    },
    {
      event: { kind: "snapshot_ignored", commit: entry.index, snapshot: entry },
      lines: ["INFO a [commit: 9] ignored snapshot [index: 9, term: 2]"],
    },
    {
      event: { kind: "timeout_now_sent", target: node, immediately: false },
      lines: ["INFO a sent MsgTimeoutNow to 1a after received MsgAppResp"],
    },
    {
      event: { kind: "transfer_ignored", reason: "under_way", target: node, term },
      lines: [
        "INFO a [term 3] transfer leadership to 1a is in progress, ignores request to same" +
          " node 1a",
      ],
    },
    {
      event: { kind: "stale_append_ignored", messageTerm: decodeTerm(1), term },
      lines: [
        "INFO a [term: 3] ignored entry appends from a MsgStorageAppendResp message with lower" +
          " term [term: 1]",
      ],
    },
    {
      event: { kind: "stable_entry_mismatched", entry, term },
      lines: [
        "INFO entry at (index,term)=(9,2) mismatched with entry at (9,3) in unstable log;" +
          " ignoring",
      ],
    },
  ];
  for (const { event, lines } of TABLE) {
    test(event.kind, () => {
      const actual = logLines(decodeNodeId(10), event).map(([level, text]) => `${level} ${text}`);
      expect(actual).toEqual([...lines]);
    });
  }
});
