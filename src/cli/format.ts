/**
 * Values as people read them: times, sizes, counts, and text that is safe for a terminal.
 *
 * Pure.
 *
 * @module
 */

/** SGR parameters (ECMA-48 §8.3.117) that switch each color on and off. */
const COLORS = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
} as const;

/** `text` in `color`, or as it is when `enabled` is false. */
export function paint(text: string, color: keyof typeof COLORS, enabled: boolean): string {
  const [on, off] = COLORS[color];
  return enabled ? `\u001b[${on}m${text}\u001b[${off}m` : text;
}

/**
 * `text` on one line and without control or invisible formatting characters: names, addresses and
 * messages come from other nodes, and must not move the cursor or recolor the screen.
 */
export function safe(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ").replaceAll(/[\p{Cc}\p{Cf}]/gu, "\ufffd");
}

const DURATION_UNITS = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
] as const;

/** Two units at most: "1 d 3 h", "23 h 59 min", "45 s". Negative counts as 0. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const first = DURATION_UNITS.findIndex(([size]) => whole >= size);
  if (first < 0) return "0 s";
  const [size, unit] = DURATION_UNITS[first]!;
  const next = DURATION_UNITS[first + 1];
  const text = `${Math.floor(whole / size)} ${unit}`;
  const rest = next === undefined ? 0 : Math.floor((whole % size) / next[0]);
  return rest === 0 ? text : `${text} ${rest} ${next![1]}`;
}

/** Decimal units, three digits: "0 B", "2.05 kB", "123 MB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}

/** With thousands separated: "1,234,567". */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

/** "1 lease", "2 leases". */
export function formatPlural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** `text` broken at blanks into lines of at most `width` where words allow. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/ +/)) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

/** As every `--json` prints it. */
export function formatJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2);
}

/** "2026-11-22T10:00:00.000Z" as "2026-11-22 10:00Z". */
export function shortTime(iso: string): string {
  return iso.replace(/^(.{10})T(.{5}).*$/, "$1 $2Z");
}
