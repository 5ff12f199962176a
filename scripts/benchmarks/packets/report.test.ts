import { describe, expect, test } from "bun:test";
import { drawChart } from "./chart.ts";
import { replacePart } from "./document.ts";
import {
  type ContenderFigures,
  find,
  mergeReports,
  middle,
  type PacketReport,
  ratio,
  record,
  type WireName,
} from "./figures.ts";
import { describeReport } from "./tables.ts";
import { checkTargets } from "./targets.ts";

function contender(
  key: string,
  rounds: ContenderFigures["rounds"],
  wire: WireName = "real",
): ContenderFigures {
  return { wire, key, name: `the ${key}`, rounds };
}

function report(contenders: readonly ContenderFigures[], roundCount = 1): PacketReport {
  const about = { machine: "2 × X", commit: "abc1234", date: "2026-11-23", seconds: 1 };
  return { ...about, roundCount, contenders, failures: [] };
}

describe("figures", () => {
  test("ratio: of each round, so that a slow round counts on both sides", () => {
    const ours = contender("default", { tcp1Gbps: [4, 1, 4] });
    const other = contender("vxlan", { tcp1Gbps: [4, 1, 2] });
    expect(ratio(ours, other, "tcp1Gbps")).toBe(1);
  });

  test("ratio: leaves out rounds that one of the two lacks", () => {
    const ours = contender("default", { tcp1Gbps: [undefined, 3] });
    const other = contender("vxlan", { tcp1Gbps: [1, 2] });
    expect(ratio(ours, other, "tcp1Gbps")).toBe(1.5);
    expect(ratio(ours, contender("tinc", {}), "tcp1Gbps")).toBeUndefined();
  });

  test("record: a round that failed leaves a gap", () => {
    const figures = contender("default", {});
    record(figures, "tcp1Gbps", 1, 5);
    expect(figures.rounds.tcp1Gbps).toEqual([undefined, 5]);
    expect(middle(figures, "tcp1Gbps")).toBe(5);
  });

  test("mergeReports: rounds follow each other, and those of one run stay together", () => {
    const one = report([contender("default", { tcp1Gbps: [1, 2] }), contender("vxlan", {})], 2);
    const other = report([
      contender("default", { tcp1Gbps: [3], tcp4Gbps: [4] }),
      contender("default", { tcp1Gbps: [9] }, "virtual"),
    ]);
    const merged = mergeReports([one, other]);
    expect(merged?.roundCount).toBe(3);
    const figures = merged && find(merged, "real", "default");
    expect(figures?.rounds.tcp1Gbps).toEqual([1, 2, 3]);
    expect(figures?.rounds.tcp4Gbps).toEqual([undefined, undefined, 4]);
    expect(merged && find(merged, "virtual", "default")?.rounds.tcp1Gbps?.at(-1)).toBe(9);
    expect(mergeReports([])).toBeUndefined();
  });
});

describe("checkTargets", () => {
  const whole = report([
    contender("vxlan", { tcp1Gbps: [4], tcp4Gbps: [4], udp64DeliveredKpps: [100] }),
    contender("default", {
      ...{ tcp1Gbps: [4], tcp4Gbps: [3], udp64DeliveredKpps: [90] },
      ...{ pingP50Ms: [0.08], retransmits: [0, 3], overloadShare: [0.79], overloadTimes: [10] },
    }),
    contender("nebula", { udp64DeliveredKpps: [30] }),
    contender("tinc", { udp64DeliveredKpps: [70] }),
  ]);
  const verdicts = new Map(checkTargets(whole).map(({ name, met }) => [name, met]));

  for (const [name, met] of [
    ["real wire: TCP 1, default ÷ vxlan", true],
    ["real wire: TCP 4, default ÷ vxlan", false],
    ["real wire: UDP 64 B delivered, default ÷ vxlan", true],
    ["real wire: UDP 64 B delivered, default ÷ best peer (tinc)", false],
    ["real wire: default, idle ping, median ms", true],
    ["real wire: retransmissions, default, worst round", false],
    ["default: delivered of its best, offered 10 ×", false],
  ] as const) {
    test(`${name}: ${met ? "met" : "missed"}`, () => expect(verdicts.get(name)).toBe(met));
  }

  test("what was not measured is neither met nor missed", () => {
    expect(verdicts.size).toBe(7);
    expect(checkTargets(report([]))).toEqual([]);
  });
});

describe("texts", () => {
  const some = report([
    contender("vxlan", { tcp1Gbps: [4] }),
    contender("default", { tcp1Gbps: [5], udp64OfferedKpps: [9], udp64DeliveredKpps: [8] }),
  ]);

  test("describeReport: a row for each contender, no column without figures", () => {
    const text = describeReport({ ...some, failures: ["tcp4 of tinc: no answer"] });
    expect(text).toContain("| the default |   5.00 |");
    expect(text).toContain("8 of 9");
    expect(text).toContain("| the default: TCP 1 |        1.25 |");
    expect(text).not.toContain("16 flows");
    expect(text).toContain("Not measured: tcp4 of tinc: no answer");
  });

  test("drawChart: the longest bar fills the room, the others are shares of it", () => {
    const bars = [...drawChart(some).matchAll(/<rect [^>]*width="([\d.]+)"/g)].map((match) =>
      Number(match[1]),
    );
    expect(bars).toHaveLength(3);
    expect(bars[0]! / bars[1]!).toBeCloseTo(0.8, 3);
  });

  test("replacePart: keeps what is around its marks, and wants both", () => {
    const mark = (which: string) =>
      `<!-- Written by \`scripts/bench packets --docs\`; ${which} -->`;
    const before = `# Title\n${mark("begin")}\nold\n${mark("end")}\nrest\n`;
    const after = replacePart(before, some);
    expect(after.startsWith(`# Title\n${mark("begin")}\n2026-11-23, commit abc1234`)).toBe(true);
    expect(after.endsWith(`${mark("end")}\nrest\n`)).toBe(true);
    expect(after).not.toContain("old");
    expect(replacePart(after, some)).toBe(after);
    expect(() => replacePart(`# Title\n${mark("end")}`, some)).toThrow("lacks");
  });
});
