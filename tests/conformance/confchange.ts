/**
 * The commands of etcd-io/raft's confchange files: membership changes without any node.
 *
 * @module
 */
import { decodeIndex, type NodeId } from "../../src/base/ids.ts";
import {
  type ConfChangeOutcome,
  changeSimple,
  EMPTY_CONFIG,
  enterJoint,
  leaveJoint,
} from "../../src/control/raft/conf-change.ts";
import { Progress, progressTable } from "../../src/control/raft/progress.ts";
import type { ConfChangeSingle, ConfState } from "../../src/control/raft/types.ts";
import { type Stanza, toBoolean } from "./datadriven.ts";
import { describeConfig, describeError, describeProgressMap } from "./describe.ts";
import { parseChanges } from "./interaction.ts";

const LIMITS = { countMax: 10, sizeMaxBytes: Number.POSITIVE_INFINITY };

/** A runner for the stanzas of one file, in order. */
export function createConfChangeRunner(): (stanza: Stanza) => string {
  let config = EMPTY_CONFIG;
  let progress = new Map<NodeId, Progress>();
  let lastIndex = 0;
  return (stanza) => {
    // New members start at the end of a log that grows by one with every command.
    const start = { match: decodeIndex(0), next: decodeIndex(Math.max(lastIndex, 1)) };
    lastIndex++;
    const changes = parseChanges(stanza.input);
    if (stanza.command === "leave-joint" && changes.length > 0) {
      return "this command takes no input\n";
    }
    const result = run(stanza, config, changes);
    if (result === undefined) return "unknown command";
    if (!result.ok) return `${describeError(result.error)}\n`;
    const outcome: ConfChangeOutcome = result.value;
    config = outcome.config;
    progress = progressTable(
      config,
      progress,
      outcome.fresh,
      (isLearner) => new Progress({ ...start, isLearner, recentActive: true }, LIMITS),
    );
    const statuses = new Map([...progress].map(([node, each]) => [node, each.status()]));
    return `${describeConfig(config)}\n${describeProgressMap(statuses)}`;
  };
}

function run(stanza: Stanza, config: ConfState, changes: readonly ConfChangeSingle[]) {
  switch (stanza.command) {
    case "simple":
      return changeSimple(config, changes);
    case "enter-joint": {
      const autoLeave = stanza.args.find((arg) => arg.key === "autoleave")?.values.at(0);
      return enterJoint(config, changes, autoLeave !== undefined && toBoolean(autoLeave));
    }
    case "leave-joint":
      return leaveJoint(config);
    default:
      return undefined;
  }
}
