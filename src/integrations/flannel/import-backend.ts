/**
 * What of flannel's `Backend` is taken over: type and options where there is such a backend here,
 * and what becomes of the others. Pure.
 *
 * @module
 */
import { isRecord } from "../../base/json-record.ts";

/** Backends that are the same here, with the options that are. */
const SAME: Readonly<Record<string, readonly string[]>> = {
  udp: ["Port"],
  vxlan: ["VNI", "Port", "GBP", "Learning", "DirectRouting", "MTU"],
  "host-gw": [],
  alloc: [],
};

/** The `Backend` of the new network; what differs is added to the notes. */
export function importBackend(value: unknown, notes: string[]): unknown {
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).map(([key, each]) => [key.toLowerCase(), each] as const);
  const type = String(entries.find(([key]) => key === "type")?.[1]).toLowerCase();
  const options = SAME[type];
  if (options === undefined) {
    const next =
      type === "extension"
        ? "; its commands were for a shell: write them as programs, and set the backend again"
        : "";
    notes.push(`Backend "${type}" becomes "udp": the overlay's MTU may change${next}`);
    return { Type: "udp" };
  }
  const known = new Map(options.map((option) => [option.toLowerCase(), option]));
  const taken: [string, unknown][] = [["Type", type]];
  for (const [key, each] of Object.entries(value)) {
    const name = known.get(key.toLowerCase());
    // 0 is what flannel calls its default.
    if (name !== undefined && !(name === "Port" && each === 0)) taken.push([name, each]);
    else if (name === undefined && key.toLowerCase() !== "type") {
      notes.push(`Backend option "${key}" is left behind`);
    }
  }
  return Object.fromEntries(taken);
}
