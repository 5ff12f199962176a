/**
 * What came out against what ought to: packets by flow and in order, counts by name.
 *
 * @module
 */
import { type Bytes, latin, readInner } from "./bytes.ts";
import type { Tally } from "./report.ts";

/** What must not overtake each other: packets of one protocol between two ports. */
export function flowOf(packet: Bytes): string {
  const inner = readInner(packet);
  if (typeof inner === "string") return "";
  const addresses = inner.version === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  const ports =
    inner.transport > 0 ? packet.subarray(inner.header, inner.header + 4) : packet.subarray(0, 0);
  return `${latin(addresses)}${inner.protocol}/${latin(ports)}`;
}

/** Adds to a count. */
export function count(tally: Tally, name: string, amount = 1): void {
  tally.set(name, (tally.get(name) ?? 0) + amount);
}

/** Puts the text of a packet behind the others of its flow. */
export function push(flows: Map<string, string[]>, flow: string, key: string): void {
  const list = flows.get(flow);
  if (list === undefined) flows.set(flow, [key]);
  else list.push(key);
}

/** Throws unless each flow has the same packets in the same order. */
export function compareFlows(expected: Map<string, string[]>, found: Map<string, string[]>): void {
  for (const [flow, keys] of found) {
    const right = expected.get(flow) ?? [];
    for (const [at, key] of keys.entries()) {
      if (key === right[at]) continue;
      const wanted = right[at] === undefined ? "nothing" : hexOf(right[at]);
      throw new Error(`came out: ${hexOf(key)}\nshould be: ${wanted}`);
    }
    if (keys.length < right.length) throw new Error(`missing: ${hexOf(right[keys.length]!)}`);
  }
  for (const [flow, keys] of expected) {
    if (!found.has(flow)) throw new Error(`missing: ${hexOf(keys[0]!)}`);
  }
}

/** Throws unless both have the same counts. */
export function compareTallies(wanted: Tally, counted: Tally): void {
  const names = new Set([...wanted.keys(), ...counted.keys()]);
  for (const name of names) expectEqual(name, counted.get(name) ?? 0, wanted.get(name) ?? 0);
}

/** Throws unless both are equal. */
export function expectEqual(what: string, is: number, ought: number): void {
  if (is !== ought) throw new Error(`${what}: ${is}, should be ${ought}`);
}

function hexOf(text: string): string {
  return Buffer.from(text, "latin1").toString("hex");
}
