/**
 * What can be put on the wire: anything that carries packets between two namespaces.
 *
 * @module
 */
import type { PacketPair } from "../../../tests/lab/packet-pair.ts";
import type { LabProcess } from "../../../tests/lab/process.ts";
import type { ContainerPlan } from "./containers.ts";

/** One way to carry packets, with a pair of namespaces to itself. */
export interface Contender {
  /** As `--only` and the JSON name it. */
  readonly key: string;
  /** As tables name it. */
  readonly name: string;
  /** "limit": the wire itself; "kernel": what ours is measured by; "peer": others in user mode. */
  readonly kind: "limit" | "kernel" | "ours" | "peer";
  /** Debian's packages of its programs (program to package); none when absent. */
  readonly programs?: Readonly<Record<string, string>>;
  /** Starts it in both namespaces, with `wrap` in front of its commands. The pair ends them. */
  readonly start: (pair: PacketPair, wrap?: readonly string[]) => Promise<RunningContender>;
}

export interface RunningContender {
  /** Address of side b through it. */
  readonly target: string;
  /** Its programs: side a's, side b's; none where the kernel does it. */
  readonly processes: readonly LabProcess[];
  /** Where containers behind it would be; absent: it is measured without. */
  readonly containers?: ContainerPlan;
}
