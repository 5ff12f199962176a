/**
 * Which pages may be given back, and that giving them back leaves a running program.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseMappings, releaseFilePages } from "./resident.ts";

const SMAPS = `00400000-00500000 r-xp 00000000 08:01 1234                       /usr/bin/overlay
Size:               1024 kB
Rss:                 512 kB
Anonymous:             0 kB
00700000-00710000 r--p 00300000 08:01 1234                       /usr/bin/overlay
Rss:                  64 kB
Anonymous:             8 kB
00800000-00900000 rw-p 00000000 00:00 0
Rss:                1024 kB
Anonymous:          1024 kB
00a00000-00b00000 r--s 00000000 08:01 99                         /var/lib/shared
Rss:                  16 kB
Anonymous:             0 kB
VmFlags: rd
`;

test("parseMappings: sizes, and which mappings are of a file and never written", () => {
  const mappings = parseMappings(SMAPS);
  expect(mappings.map(({ start, length }) => [start, length])).toEqual([
    [0x400000, 0x100000],
    [0x700000, 0x10000],
    [0x800000, 0x100000],
    [0xa00000, 0x100000],
  ]);
  expect(mappings.map(({ releasable }) => releasable)).toEqual([true, true, false, false]);
  expect(mappings[1]).toMatchObject({ residentBytes: 65_536, anonymousBytes: 8192 });
});

test("releaseFilePages: less is resident afterwards, and code runs on", () => {
  const before = residentBytes();
  const released = releaseFilePages();
  expect(released).toBeGreaterThan(1024 * 1024);
  expect(residentBytes()).toBeLessThan(before);
  expect(JSON.parse('{"still":"here"}')).toEqual({ still: "here" });
});

function residentBytes(): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"));
  return Number(match?.[1]) * 1024;
}
