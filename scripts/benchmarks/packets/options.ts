/**
 * The words after `scripts/bench packets`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { Contender } from "./contender.ts";
import type { WireName } from "./figures.ts";
import { VETH, VXLAN } from "./kernel.ts";
import { MEASURES } from "./measures.ts";
import { OURS_DEFAULT, OURS_SEALED, OURS_USER } from "./ours.ts";
import { NEBULA, TINC, WIREGUARD } from "./peers.ts";

const CONTENDERS: readonly Contender[] = [
  ...[VETH, VXLAN, OURS_DEFAULT, OURS_USER, OURS_SEALED],
  ...[WIREGUARD, NEBULA, TINC],
];
const WIRES: readonly WireName[] = ["real", "virtual"];
/** Measures that are not part of the rounds. */
const IDLE = "idle";
const OVERLOAD = "overload";
const ROUNDS_DEFAULT = 3;

export interface PacketOptions {
  readonly wires: readonly WireName[];
  readonly contenders: readonly Contender[];
  /** Keys of the measures to take. */
  readonly measures: ReadonlySet<string>;
  readonly roundCount: number;
  /** Of each transfer. */
  readonly seconds: number;
  /** Where the figures go. */
  readonly json: string | undefined;
  /** Figures of earlier runs, to be shown in place of a new one. */
  readonly from: readonly string[];
  /** Whether docs/PERFORMANCE.md and its chart are written anew. */
  readonly docs: boolean;
}

/** Reads `args`; throws on what it does not know. */
export function readOptions(args: readonly string[]): PacketOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      wire: { type: "string", default: "both" },
      rounds: { type: "string" },
      seconds: { type: "string", default: "1" },
      json: { type: "string" },
      from: { type: "string" },
      docs: { type: "boolean", default: false },
    },
  });
  const words = values.only?.split(",") ?? [];
  const wires = WIRES.filter((wire) => values.wire === "both" || values.wire === wire);
  if (wires.length === 0) throw new Error("--wire takes real, virtual or both");
  return {
    wires,
    ...select(words, values.quick),
    roundCount: count("--rounds", values.rounds ?? (values.quick ? "1" : String(ROUNDS_DEFAULT))),
    seconds: count("--seconds", values.seconds),
    json: values.json,
    from: values.from?.split(",") ?? [],
    docs: values.docs,
  };
}

/** `--only` names contenders, measures, or both; without any of a kind it is all of that kind. */
function select(words: readonly string[], quick: boolean) {
  const measureKeys = [...MEASURES.map(({ key }) => key), IDLE, OVERLOAD];
  const known = [...CONTENDERS.map(({ key }) => key), ...measureKeys];
  const unknown = words.filter((word) => !known.includes(word));
  if (unknown.length > 0) {
    throw new Error(`--only takes some of ${known.join(",")}, not ${unknown.join(",")}`);
  }
  const contenders = CONTENDERS.filter(({ key }) => words.includes(key));
  const chosen = measureKeys.filter((key) => words.includes(key));
  const inQuick = [...MEASURES.filter((each) => each.inQuick).map(({ key }) => key), IDLE];
  const standard = quick ? inQuick : measureKeys;
  return {
    contenders: contenders.length > 0 ? contenders : CONTENDERS,
    measures: new Set(chosen.length > 0 ? chosen : standard),
  };
}

function count(name: string, text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new Error(`${name} takes a whole number, not "${text}"`);
  return Number(text);
}
